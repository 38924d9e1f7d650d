"""Variational inference: a density fitted to an unnormalised log-density, by its draws."""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from anabranch.checks import instance_of, positive_int, reference_tensor, seed_number
from anabranch.densities import Density
from anabranch.densities.log_weights import log_mean_weight
from anabranch.densities.tails import pareto_k
from anabranch.draws import drawing
from anabranch.objectives.variational import LogTarget, VariationalBound, check_posterior, values_of
from anabranch.training.diagnosis import NonFiniteError
from anabranch.training.fit import fit
from anabranch.training.history import Epoch, History
from anabranch.training.off_scale import ScaleWarning
from anabranch.training.optimiser import Factory
from anabranch.training.settings import drawn_seed
from anabranch.training.step import seed_at

# steps between two records of the loss
_RECORDED = 100
# draws scored at once
_AT_ONCE = 2**14
# draws on which the target is tried before the fit
_TRIED = 256
_FIT, _JUDGED, _FIRST = range(3)


@dataclass(frozen=True)
class Variational:
    r"""What a density is worth as a stand-in for an unnormalised one, by S draws of it and their weights w = p~(x) / q(x).

    Attributes:
        density: q.
        history: of the fit; its losses are bounds of -log Z, at the temperature of their time. None without a fit.
        log_normaliser: log of the mean weight, an estimate of log Z, nats.
        error: its standard error, nats; not to be trusted where `pareto_k` is above 0.7.
        lower_bound: the mean of log w, a lower bound of log Z, nats: log Z - KL(q || p).
        lower_bound_error: its standard error.
        effective: how many independent draws of p the S are worth, :math:`(\sum w)^2 / \sum w^2`.
        draws: S.
        pareto_k: the shape of the tail of the weights: below 0.5 they have a variance, above 0.7 neither log Z nor its error
            can be trusted, and q misses a part of p or has too light tails. It sees nothing of a mode where q never draws.
    """

    density: Density
    history: History | None
    log_normaliser: float
    error: float
    lower_bound: float
    lower_bound_error: float
    effective: float
    draws: int
    pareto_k: float

    @property
    def efficiency(self) -> float:
        """The share of the draws that they are worth, 1 where q is p."""
        return self.effective / self.draws

    def __str__(self) -> str:
        trust = "" if self.pareto_k <= 0.7 else "; above 0.7: log Z and its error cannot be trusted"
        return (
            f"log Z {self.log_normaliser:.4f} +- {self.error:.4f}, lower bound {self.lower_bound:.4f}; {self.draws:,} draws "
            f"are worth {self.effective:,.0f}; Pareto k {self.pareto_k:.2f}{trust}"
        )


def fit_variational(
    density: Density,
    log_target: LogTarget,
    *,
    draws: int = 1,
    gradient: Literal["total", "path"] = "total",
    anneal: float = 0.0,
    coldness: float = 0.01,
    steps: int = 5_000,
    minutes: float | None = None,
    batch_size: int = 256,
    learning_rate: float = 2e-3,
    weight_decay: float = 0.0,
    warmup: float = 0.05,
    clip: float = 5.0,
    optimizer: Factory | None = None,
    average: float = 0.0,
    samples: int = 20_000,
    seed: int | None = None,
    device: str | torch.device | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    checkpoint_seconds: float = 60.0,
    callback: Callable[[Epoch], bool | None] | None = None,
    progress: bool = True,
) -> Variational:
    r"""Fit a density q to an unnormalised log-density log p~ by the draws of q, and say what it is worth.

    It minimises the reverse divergence KL(q || p), or with `draws` above 1 the importance-weighted bound, by the loop of
    `fit`: an objective over draws (`objectives.VariationalBound`) in place of rows. The weights of the last step are kept;
    there are no validation rows, for every step has draws of its own.

    Flows that sample in one pass are the quick ones: `flows.iaf`, `flows.planar`, `flows.sylvester`, coupling flows. Their
    layers act around 0: a trainable place and scale in front of them (`Elementwise(Affine(), D)`, the first block), and
    `anneal`, help q to find a target that lies far from where q starts.

    Args:
        density: q, changed in place: exact, reparameterized, without a context.
        log_target: log p~, a function of x (rows, *event), on the device and in the dtype of q, that gives (rows), nats; it
            is differentiated by x. Where p~ is 0 it gives -inf, and then q must not draw there.
        draws, gradient, anneal, coldness: as in `VariationalBound`.
        steps: of the fit, about so many: every epoch of it has equally many.
        minutes: at most so long; whichever ends first.
        batch_size: bounds in one step, of `draws` draws each.
        learning_rate, weight_decay, warmup, clip, optimizer, average, device, callback, progress: as in `fit`.
        samples: S, draws that judge q in the end.
        seed: of all that is drawn; None draws one from PyTorch's global generator.
        checkpoint, checkpoint_seconds: as in `fit`; log_target is told by its code.

    Returns:
        the density with its history, log Z with its error, effective sample size and Pareto k.

    Raises:
        ValueError: a density that cannot be fitted by its draws; a target that gives no (rows), or a NaN or an infinity
            where q begins.
        NonFiniteError: the target, or its gradient, became NaN or infinite on the way; the message names the point, and the
            density has the last good weights.

    Warns:
        UnsettledWarning: the time ended before the annealing did.

    Example:
        >>> import torch
        >>> import anabranch as ab
        >>> q = ab.densities.Normal(torch.zeros(2), learnable=True)
        >>> def log_target(x):
        ...     return 1.5 - 0.5 * (x - 1).square().sum(dim=-1)
        >>> result = ab.fit_variational(q, log_target, steps=300, learning_rate=0.05, samples=2_000, seed=0)
        >>> abs(result.log_normaliser - 3.338) < 0.02, result.pareto_k < 0.7  # 1.5 + log(2 pi)
        (True, True)
    """
    instance_of("density", density, Density)
    check_posterior(density)
    objective = VariationalBound(log_target, draws, gradient, anneal, coldness)
    samples = positive_int("samples", samples, least=100)
    steps, batch_size = positive_int("steps", steps), positive_int("batch_size", batch_size)
    seed = drawn_seed() if seed is None else seed_number(seed)
    epochs = max(1, round(steps / _RECORDED))
    rows = batch_size * round(steps / epochs)
    with torch.no_grad(), drawing(seed_at(seed, _FIRST)):
        # not read, but that what a layer sets from a first batch of data is set from draws
        first = density.sample((min(rows, 4 * batch_size),))
    _try(density, objective, first[:_TRIED])
    first = first.repeat(-(-rows // len(first)), *[1] * (first.dim() - 1))[:rows]
    with warnings.catch_warnings():
        # that q may begin far from mean 0 and deviation 1 says nothing of the fit
        warnings.simplefilter("ignore", ScaleWarning)
        try:
            history = fit(
                density,
                first,
                objective=objective,
                validation=0,
                epochs=epochs,
                minutes=minutes,
                batch_size=batch_size,
                learning_rate=learning_rate,
                weight_decay=weight_decay,
                warmup=warmup,
                clip=clip,
                optimizer=optimizer,
                average=average,
                patience=None,
                seed=seed,
                device=device,
                compile=False,
                graph=False,
                checkpoint=checkpoint,
                checkpoint_seconds=checkpoint_seconds,
                callback=callback,
                progress=progress,
            )
        except NonFiniteError as error:
            raise _explained(error, objective) from error
    return _judged(density, log_target, samples, seed_at(seed, _JUDGED), history)


def judge_variational(
    density: Density, log_target: LogTarget, samples: int = 20_000, generator: torch.Generator | int | None = None
) -> Variational:
    """What a density is worth as a stand-in for an unnormalised one, as `fit_variational` says it of its own.

    Args:
        density: q, exact, without a context.
        log_target: log p~, of x (rows, *event), (rows), nats.
        samples: S.
        generator: of the draws, as of `Density.sample`.

    Raises:
        ValueError: a density of which a bound is known, or with a context; a target that gives no (rows); NaN.

    Example:
        >>> import anabranch as ab
        >>> normal = ab.densities.Normal([0.0])
        >>> judged = ab.training.judge_variational(normal, normal.log_prob, 1_000, generator=0)
        >>> judged.log_normaliser, round(judged.effective)
        (0.0, 1000)
    """
    instance_of("density", density, Density)
    check_posterior(density, differentiable=False)
    samples = positive_int("samples", samples, least=100)
    return _judged(density, log_target, samples, generator, None)


def _judged(
    density: Density,
    log_target: LogTarget,
    samples: int,
    generator: torch.Generator | int | None,
    history: History | None,
) -> Variational:
    found = []
    was_training = density.training
    density.eval()
    with torch.no_grad(), drawing(generator):
        for begin in range(0, samples, _AT_ONCE):
            x, log_q = density.sample_and_log_prob((min(_AT_ONCE, samples - begin),))
            log_p = values_of(log_target, x)
            _expect_numbers(x, log_p, log_q, "a draw of the density")
            found.append((log_p - log_q).double().cpu())
    density.train(was_training)
    log_w = torch.cat(found)
    log_z, error = log_mean_weight(log_w)
    share = torch.softmax(log_w, dim=0)
    # minus infinity where the target is 0 at a draw
    bound = float(log_w.mean())
    k = -math.inf if bool((log_w == log_w[0]).all()) else pareto_k((log_w - log_w.max()).exp())
    return Variational(
        density=density,
        history=history,
        log_normaliser=float(log_z),
        error=float(error),
        lower_bound=bound,
        lower_bound_error=float(log_w.std() / math.sqrt(samples)) if math.isfinite(bound) else 0.0,
        effective=float(1 / share.square().sum()),
        draws=samples,
        pareto_k=k,
    )


def _try(density: Density, objective: VariationalBound, x: Tensor) -> None:
    """Ask the target and its gradient at a few draws before the fit.

    Raises:
        ValueError: it gives anything else than finite numbers there, or is not differentiable.
    """
    like = reference_tensor(density)
    x = (x if like is None else x.to(like.device)).clone().requires_grad_()
    with torch.enable_grad():
        log_p = values_of(objective.log_target, x)
        _expect_numbers(x, log_p, None, "a draw of the density as it begins", finite=True)
        if not log_p.requires_grad:
            raise ValueError(
                "log_target: expected a function that PyTorch can differentiate by x, got values without gradients; "
                "compute it by functions of torch on x itself"
            )
        (slope,) = torch.autograd.grad(log_p.sum(), x)
    if (said := _bad_slope(x, slope)) is not None:
        raise ValueError(f"log_target: {said}")


def _explained(error: NonFiniteError, objective: VariationalBound) -> NonFiniteError:
    """What was not finite in the last step: the target, its gradient, or the density itself."""
    if objective.last is None:
        return error
    x, log_q, log_p = (value.flatten(0, 1) for value in objective.last)
    kept = f"at step {error.step}; the density has the last good weights"
    try:
        _expect_numbers(x, log_p, log_q, "a draw of the density", finite=True)
    except ValueError as found:
        return NonFiniteError(f"{found} ({kept})", error.step, None, error.layer)
    x = x.clone().requires_grad_()
    with torch.enable_grad():
        (slope,) = torch.autograd.grad(values_of(objective.log_target, x).sum(), x)
    if (said := _bad_slope(x, slope)) is not None:
        return NonFiniteError(f"log_target: {said} ({kept})", error.step, None, "log_target")
    return error


def _expect_numbers(x: Tensor, log_p: Tensor, log_q: Tensor | None, what: str, finite: bool = False) -> None:
    """Raise ValueError where log p~ or log q is no number, or where asked not finite, with the point."""
    if log_q is not None and not bool(torch.isfinite(log_q).all()):
        where = int((~torch.isfinite(log_q)).int().argmax())
        raise ValueError(
            f"density: expected a finite log q, got {log_q[where].item()} at {what}, x = {_written(x[where])}; "
            "lower the learning rate"
        )
    bad = ~torch.isfinite(log_p) if finite else log_p.isnan() | log_p.isposinf()
    if not bool(bad.any()):
        return
    where = int(bad.int().argmax())
    value = log_p[where].item()
    advice = (
        "p~ is 0 there and the divergence infinite: choose a density that draws within the support of the target alone"
        if value == -math.inf
        else "mend the function there, or choose a density that does not draw there"
    )
    raise ValueError(f"log_target: expected finite numbers, got {value} at {what}, x = {_written(x[where])}; {advice}")


def _bad_slope(x: Tensor, slope: Tensor) -> str | None:
    """Where the gradient of the target is not finite, in words."""
    bad = ~torch.isfinite(slope).flatten(1).all(dim=-1)
    if not bool(bad.any()):
        return None
    where = int(bad.int().argmax())
    return f"expected a finite gradient by x, got {_written(slope[where])} at x = {_written(x[where])}"


def _written(event: Tensor) -> str:
    """The numbers of an event, the first of many."""
    numbers = [f"{number:.6g}" for number in event.detach().flatten()[:6].tolist()]
    return "[" + ", ".join([*numbers, *(["..."] if event.numel() > 6 else [])]) + "]"
