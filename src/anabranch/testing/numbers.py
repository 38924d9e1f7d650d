"""The numbers by which the suite knows a density: of its samples, exact or bounds."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from torch import Tensor

from anabranch.densities import Density
from anabranch.testing.expectations import expect_close
from anabranch.transforms import Transform


def scored(density: Density) -> tuple[str, Callable[..., Tensor]]:
    """What a density says of x, and its name: log_prob, or lower_bound with the same draws at each call."""
    if density.likelihood == "exact":
        return "log_prob", density.log_prob
    return "lower_bound", partial(density.lower_bound, generator=0)


def unbiased(density: Density) -> Callable[[Tensor, Tensor | None], Tensor]:
    """log p(x); of a bound log w of a random w whose mean is p(x); of an estimate the mean of several draws.

    The exponential of that mean lies above p(x) in its mean, by a factor of about 1 + (squared error) / 2.
    """
    if density.likelihood == "estimate":
        return lambda x, context: density.estimate(x, context, samples=16)[0]
    return density.log_prob if density.likelihood == "exact" else density._log_weight


def solver_error(density: Density) -> float:
    """How far numbers may lie from exact ones, since a transform in it solves an equation by steps (`Transform.error`)."""
    return sum(part._error for part in density.modules() if isinstance(part, Transform))


def steps_by_values(density: Density) -> bool:
    """Whether values decide how many steps a transform in it takes, as of a solver or an estimate: it does not compile."""
    transforms = [part for part in density.modules() if isinstance(part, Transform)]
    return any(part.estimated or part.error > 0 for part in transforms)


def some_rows(density: Density, context: Tensor | None) -> Tensor:
    """Three rows or more: one for each context, or five."""
    return density.sample(() if context is not None else (5,), context)


def check_same_numbers(one: Density, other: Density, context: Tensor | None, what: str) -> None:
    """Two densities give the same numbers."""
    x = some_rows(one, context)
    expect_close(scored(other)[1](x, context), scored(one)[1](x, context), one, what, 0.0)


def guesses(density: Density) -> bool:
    """Whether a network guesses a hidden variable somewhere in it, so that its lower bound lies below log_prob."""
    return any(isinstance(part, Density) and part.variational for part in density.modules())
