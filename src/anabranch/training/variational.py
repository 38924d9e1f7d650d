"""Variational inference: a density fitted to an unnormalised log-density, by its draws."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from typing import Literal

import torch

from anabranch.checks import instance_of, positive_int, seed_number
from anabranch.densities import Density
from anabranch.draws import drawing
from anabranch.objectives.variational import LogTarget, VariationalBound, check_posterior
from anabranch.training.diagnosis import NonFiniteError
from anabranch.training.fit import fit
from anabranch.training.history import Epoch
from anabranch.training.judgement import Variational, judged
from anabranch.training.off_scale import ScaleWarning
from anabranch.training.optimiser import Factory
from anabranch.training.settings import drawn_seed
from anabranch.training.step import seed_at
from anabranch.training.target_faults import explained, try_target

# steps between two records of the loss, and the most numbers in the rows that stand for the bounds of so many steps
_RECORDED = 100
_MOST_NUMBERS = 2**25
# draws on which the target is tried before the fit
_TRIED = 256
_FIT, _JUDGED, _FIRST = range(3)


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
    r"""Fit a density q to an unnormalised log-density log p~ by draws of q, and judge how well q stands in for p.

    The fit minimises the reverse divergence KL(q || p). With `draws` above 1 it maximises the importance-weighted bound. The
    loop is that of `fit`, and the objective is over draws of q (`objectives.VariationalBound`) in place of rows. There are
    no validation rows, since every step has fresh draws. The fit keeps the weights of the last step.

    A step is quick if q samples in one pass: `flows.iaf`, `flows.planar`, `flows.sylvester` and coupling flows do. Their
    layers act around 0. If the target lies far from there, put a trainable shift and scale in front of them
    (`Elementwise(Affine(), D)` as the first block), and set `anneal`.

    Args:
        density: q, whose likelihood is exact and whose draws are differentiable, without a context. It is changed in place.
        log_target: log p~, a differentiable function of x (rows, *event) that gives (rows), nats. x has the device and the
            dtype of q. Where p~ is 0 the function gives -inf; a fit ends with an error if q draws there.
        draws, gradient, anneal, coldness: as in `VariationalBound`.
        steps: number of steps, rounded to a whole number of epochs. An epoch is about a hundred steps, or fewer if an event
            has so many numbers that the rows of a hundred would take much memory.
        minutes: the fit ends after so many minutes even if steps are left.
        batch_size: number of bounds in one step, of `draws` draws each.
        learning_rate, weight_decay, warmup, clip, optimizer, average, device, callback, progress: as in `fit`.
        samples: S, the number of draws that judge q after the fit.
        seed: of all draws; None takes a seed from PyTorch's global generator.
        checkpoint, checkpoint_seconds: as in `fit`; a checkpoint knows log_target by its code.

    Returns:
        The density with its history, log Z with its error, the effective sample size and Pareto k.

    Raises:
        ValueError: a density that cannot be fitted by its draws; a target of another shape than (rows), or not finite at the
            first draws; after the fit, a target that is 0 at every draw.
        NonFiniteError: the target, or its gradient, became NaN or infinite during the fit. The message names the point, and
            the density has the last good weights.

    Warns:
        UnsettledWarning: the time ended before the annealing did.
        MissedTargetWarning: after the fit the target is 0 at more than 99 % of the draws.

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
    recorded = max(1, min(_RECORDED, _MOST_NUMBERS // (batch_size * density.event_shape.numel())))
    epochs = max(1, round(steps / recorded))
    rows = batch_size * round(steps / epochs)
    with torch.no_grad(), drawing(seed_at(seed, _FIRST)):
        # the fit reads none of these rows, but a layer that sets itself from the first batch sets itself from draws
        first = density.sample((min(rows, 4 * batch_size),))
    try_target(density, log_target, first[:_TRIED])
    first = first.repeat(-(-rows // len(first)), *[1] * (first.dim() - 1))[:rows]
    with warnings.catch_warnings():
        # q may begin far from mean 0 and deviation 1; that is no fault of the data, of which there are none
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
            raise explained(error, objective) from error
    return judged(density, log_target, samples, seed_at(seed, _JUDGED), history)
