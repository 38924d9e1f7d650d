"""Draws, until a tolerance is met."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable

import torch
from torch import Tensor

from anabranch.checks import positive, positive_int
from anabranch.densities import Density
from anabranch.densities.tails import judged_terms
from anabranch.queries.estimate import Estimate, QueryWarning
from anabranch.queries.estimated_subset import EstimatedSubset
from anabranch.queries.provenance import Provenance, draws_of, provenance_of

_LEAST_EFFECTIVE = 100.0
_ROWS_AT_A_TIME = 2**14


def monte_carlo(
    name: str,
    density: Density,
    statistic: Callable[[Tensor, Provenance | None], Estimate],
    samples: int,
    tolerance: float | None,
    most: int,
) -> Estimate:
    """An estimate from draws; twice as many, and so on, until its standard error is within the tolerance.

    Args:
        name: of the query, for warnings.
        density: without a context.
        statistic: makes an estimate of all draws so far, (length, chains, columns), given their provenance. Chains are
            independent of each other, and where draws are all independent each is a chain of length one.
        samples: draws to begin with.
        tolerance: largest standard error wanted, or None to leave it at the first.
        most: draws not to go beyond.

    Warns:
        QueryWarning: an effective sample size below 100, or a tolerance not met.
    """
    samples, most = positive_int("samples", samples, least=2), positive_int("most", most, least=2)
    tolerance = None if tolerance is None else positive("tolerance", tolerance)
    draws = _Draws(density)
    drawn = draws.more(samples)
    while True:
        found = statistic(drawn, draws.provenance)
        count = drawn.shape[0] * drawn.shape[1]
        # NaN is never within it
        if tolerance is None or bool((found.standard_error <= tolerance).all()) or 2 * count > max(most, samples):
            break
        drawn = draws.more(count)
    if found.effective_samples.numel() and not found.heavy:
        least = float(found.effective_samples.min())
        if least < min(_LEAST_EFFECTIVE, samples):
            warnings.warn(
                f"{name}: {count:,} draws are worth {least:.0f} independent ones; raise samples, now {samples:,}, or moves",
                QueryWarning,
                stacklevel=4,
            )
    if tolerance is not None and not bool((found.standard_error <= tolerance).all()):
        worst = float(found.standard_error.max())
        warnings.warn(
            f"{name}: the standard error is {worst:.2g} after {count:,} draws, above the tolerance of {tolerance:g}; raise "
            f"most, now {most:,}, or the tolerance",
            QueryWarning,
            stacklevel=4,
        )
    return found


def mean_of(values: Tensor, judged: bool = False, provenance: Provenance | None = None) -> Estimate:
    """The mean over draws (length, chains, ...), its error by the spread of the means of chains.

    `judged` looks at the tails of the values (`tails.pareto_k`), for means that need not exist. `provenance` adds the
    error of what was drawn from.
    """
    length, chains = values.shape[:2]
    values = values.double()
    each = values.mean(dim=0)
    value = each.mean(dim=0)
    total = values.reshape(length * chains, *values.shape[2:]).var(dim=0)
    square, most = each.var(dim=0) / chains, float(length * chains)
    if provenance is not None:
        square = square + provenance.variance_of_sum((values - value).flatten(0, 1)) / most**2
        most = min(most, provenance.worth)
    error = square.sqrt()
    effective = (total / square).clamp(max=float(length * chains))
    # a constant is known from any number of draws
    varies = error > 1e-12 * value.abs()
    error, effective = torch.where(varies, error, 0.0), torch.where(varies, effective, most)
    k = None
    if judged:
        columns = values.reshape(length * chains, -1)
        k, left = judged_terms(columns - columns.median(dim=0).values, effective.reshape(-1))
        k, effective = k.reshape(value.shape), left.reshape(value.shape)
    return Estimate(value, error, effective, exact=False, pareto_k=k)


class _Draws:
    """All draws so far, (length, chains, columns)."""

    def __init__(self, density: Density) -> None:
        self.density = density
        self.walk = density.walk() if isinstance(density, EstimatedSubset) and density.observed else None
        self.all: Tensor | None = None
        self.origins: Tensor | None = None

    @property
    def provenance(self) -> Provenance | None:
        """Of all draws so far."""
        return None if self.all is None else provenance_of(self.density, self.origins, self.all[..., 0].numel())

    def more(self, wanted: int) -> Tensor:
        """Those, and so many more."""
        if isinstance(self.density, EstimatedSubset) and self.walk is not None:
            fresh, along = self.walk.states(math.ceil(wanted / self.density.chains)), 0
        else:
            sizes = [min(_ROWS_AT_A_TIME, wanted - begin) for begin in range(0, wanted, _ROWS_AT_A_TIME)]
            drawn, origins = draws_of(self.density, sizes)
            fresh, along = drawn.unsqueeze(0), 1
            if origins is not None:
                self.origins = origins if self.origins is None else torch.cat([self.origins, origins])
        self.all = fresh if self.all is None else torch.cat([self.all, fresh], dim=along)
        return self.all
