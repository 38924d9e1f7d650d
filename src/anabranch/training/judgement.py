"""How well a density stands in for an unnormalised one, judged by its draws."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass

import torch
from torch import Tensor

from anabranch.checks import instance_of, positive_int
from anabranch.densities import Density
from anabranch.densities.log_weights import log_mean_weight
from anabranch.densities.tails import pareto_k
from anabranch.draws import drawing
from anabranch.objectives.variational import LogTarget, check_posterior, values_of
from anabranch.training.history import History
from anabranch.training.target_faults import expect_numbers

# draws scored at once
_AT_ONCE = 2**14
# the share of draws within the support of the target below which a result is a warning
_LEAST_SHARE = 0.01
# the effective draws below which nobody can tell a tail: one weight may carry the mean
_LEAST_DRAWS = 20


class MissedTargetWarning(UserWarning):
    """A density nearly all of whose draws lie where the target is 0."""


@dataclass(frozen=True)
class Variational:
    r"""How well a density q stands in for an unnormalised one, by S draws of q and their weights w = p~(x) / q(x).

    Attributes:
        density: q.
        history: of the fit; its losses are upper bounds of -log Z, of the annealed target while a fit anneals it. None
            without a fit.
        log_normaliser: log of the mean weight, an estimate of log Z, nats.
        error: its standard error, nats; not to be trusted where `pareto_k` is above 0.7.
        lower_bound: the mean of log w, nats. Its expectation is log Z - KL(q || p), a lower bound of log Z.
        lower_bound_error: its standard error.
        effective: the effective sample size, :math:`(\sum w)^2 / \sum w^2`: about so many independent draws of p are worth
            as much as the S draws of q.
        draws: S.
        pareto_k: the shape of the tail of the weights. Below 0.5 the weights have a finite variance. Above 0.7 neither
            log Z nor its error can be trusted: q misses a part of p, or its tails are too light. It is infinite where fewer
            than 20 draws carry the mean. A mode where q never draws leaves no trace in it.
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
        """Effective sample size over draws, 1 where q is p."""
        return self.effective / self.draws

    def __str__(self) -> str:
        trust = "" if self.pareto_k <= 0.7 else "; above 0.7: log Z and its error cannot be trusted"
        return (
            f"log Z {self.log_normaliser:.4f} +- {self.error:.4f}, lower bound {self.lower_bound:.4f}; {self.draws:,} draws "
            f"are worth {self.effective:,.0f}; Pareto k {self.pareto_k:.2f}{trust}"
        )


def judge_variational(
    density: Density, log_target: LogTarget, samples: int = 20_000, generator: torch.Generator | int | None = None
) -> Variational:
    """How well a density stands in for an unnormalised one: the judgement with which `fit_variational` ends.

    Args:
        density: q, exact, without a context.
        log_target: log p~, a function of x (rows, *event) that gives (rows), nats.
        samples: S.
        generator: of the draws, as of `Density.sample`.

    Raises:
        ValueError: a density whose likelihood is not exact, or one with a context; a target that gives another shape than
            (rows), NaN or +inf; a target that is 0 at every draw.

    Warns:
        MissedTargetWarning: the target is 0 at more than 99 % of the draws.

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
    return judged(density, log_target, samples, generator, None)


def judged(
    density: Density,
    log_target: LogTarget,
    samples: int,
    generator: torch.Generator | int | None,
    history: History | None,
) -> Variational:
    """The judgement, of a density that was checked, with the history of its fit."""
    parts = []
    was_training = density.training
    density.eval()
    try:
        with torch.no_grad(), drawing(generator):
            for begin in range(0, samples, _AT_ONCE):
                x, log_q = density.sample_and_log_prob((min(_AT_ONCE, samples - begin),))
                log_p = values_of(log_target, x)
                expect_numbers(x, log_p, log_q, "a draw of the density")
                parts.append((log_p - log_q).double().cpu())
    finally:
        density.train(was_training)
    log_w = torch.cat(parts)
    _expect_some(log_w)
    log_z, error = log_mean_weight(log_w)
    share = torch.softmax(log_w, dim=0)
    # minus infinity where the target is 0 at a draw
    bound = float(log_w.mean())
    effective = float(1 / share.square().sum())
    if bool((log_w == log_w[0]).all()):
        k = -math.inf
    else:
        # beside the largest weight the others may be 0 in floats, a tail of equal values
        k = math.inf if effective < _LEAST_DRAWS else pareto_k((log_w - log_w.max()).exp())
    return Variational(
        density=density,
        history=history,
        log_normaliser=float(log_z),
        error=float(error),
        lower_bound=bound,
        lower_bound_error=float(log_w.std() / math.sqrt(samples)) if math.isfinite(bound) else 0.0,
        effective=effective,
        draws=samples,
        pareto_k=k,
    )


def _expect_some(log_w: Tensor) -> None:
    """Expect weights above 0, and warn if nearly all are 0.

    Raises:
        ValueError: all weights are 0, so that nothing is known of log Z.
    """
    inside = int((~log_w.isneginf()).sum())
    if inside == 0:
        raise ValueError(
            f"log_target: expected a target above 0 at some of {len(log_w):,} draws of the density, got -inf at all of "
            "them; choose a density that draws within the support of the target, or mend the function"
        )
    if inside < _LEAST_SHARE * len(log_w):
        warnings.warn(
            f"log_target is -inf at all but {inside:,} of {len(log_w):,} draws of the density: log Z and its error rest on "
            "these alone; choose a density that draws within the support of the target",
            MissedTargetWarning,
            stacklevel=4,
        )
