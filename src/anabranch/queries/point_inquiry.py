"""Questions given single values, answered by the function of each question: in closed form where there is one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from anabranch.checks import reference_tensor
from anabranch.densities import Density, at_context
from anabranch.queries.columns import others, tensor_like
from anabranch.queries.conditional import conditional
from anabranch.queries.drawn_inquiry import DrawnInquiry
from anabranch.queries.estimate import Estimate
from anabranch.queries.expectation import expected
from anabranch.queries.log_prob_at import log_prob_at
from anabranch.queries.marginal import marginal
from anabranch.queries.probability import probability
from anabranch.queries.quantile import quantile
from anabranch.queries.region import Values
from anabranch.queries.sampling import Sampling, seed_of


class PointInquiry:
    """Answers given single values. `Inquiry` and `DrawnInquiry` have the same methods, and take sets of values too.

    Args:
        density: any density over vectors but an `AnyOrder`.
        context: (context features,), for a density that takes one.
        samples: draws to begin with, where an answer takes any.
        seed: of the draws; None takes one from torch's global generator.
        tolerance: largest standard error wanted.
        sampling: `proposals`, `chains` and `moves` of `conditional`.

    Example:
        >>> import anabranch as ab
        >>> from anabranch.queries import Interval
        >>> from anabranch.queries.point_inquiry import PointInquiry
        >>> inquiry = PointInquiry(ab.densities.Normal.standard(2))
        >>> inquiry.probability({0: Interval(low=0.0)}, {1: Interval(2.0, 2.0)}).value
        tensor(0.5000, dtype=torch.float64)
    """

    def __init__(
        self,
        density: Density,
        context: Any = None,
        samples: int = 10_000,
        seed: int | None = 0,
        tolerance: float | None = None,
        sampling: Sampling | None = None,
    ) -> None:
        self.density, self.context = density, context
        self.seed = seed_of(seed)
        self.sampling: Sampling = sampling or {}
        self._options: dict[str, Any] = {
            "context": context,
            "tolerance": tolerance,
            "samples": samples,
            "seed": self.seed,
            **self.sampling,
        }

    def probability(self, region: Mapping[int, Values], given: Mapping[int, Values]) -> Estimate:
        """P(x in region | given)."""
        return probability(self.density, dict(region), points_of(given), **self._options)

    def mean(self, f: Callable[[Tensor], Tensor], columns: list[int], given: Mapping[int, Values]) -> Estimate:
        """E[f(x) | given] of a function of rows (n, D) -> (n, ...)."""
        return expected(self.density, f, points_of(given), **self._options)

    def moment(self, column: int, squared: bool, given: Mapping[int, Values]) -> Estimate:
        """The mean of a column, or its variance."""
        f = "variance" if squared else "mean"
        return expected(self.density, f, points_of(given), columns=column, **self._options)

    def seen(self, column: int) -> tuple[float, float] | None:
        """None: nothing is known of what a column was fitted to."""
        return None

    def quantile(self, column: int, levels: Tensor, given: Mapping[int, Values]) -> Estimate:
        """Quantiles of a column, for levels (k)."""
        return quantile(self.density, column, levels.tolist(), points_of(given), **self._options)

    def log_density(self, at: Mapping[int, float], given: Mapping[int, Values]) -> Estimate:
        """log p(x_at | given), nats."""
        points = points_of(given)
        remaining = conditional(self.density, points, self.context, seed=self.seed, **self.sampling)
        rest = others(points, self.density.event_shape[0])
        draws = self.sampling.get("proposals", 1024)
        wanted = marginal(remaining, [rest.index(i) for i in at], proposals=draws, seed=self.seed)
        return log_prob_at(wanted, tensor_like(list(at.values()), reference_tensor(self.density)))

    def near(self, given: Mapping[int, Values]) -> float:
        """The share of all rows that are near what is given."""
        return DrawnInquiry(at_context(self.density, self.context), seed=self.seed).near(given)


def points_of(given: Mapping[int, Values]) -> dict[int, float]:
    """The single values among what is given."""
    return {i: values.point for i, values in given.items() if values.point is not None}
