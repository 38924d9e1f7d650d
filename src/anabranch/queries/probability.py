"""Probabilities of regions."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping
from typing import Unpack

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from anabranch.densities import Density, DistributionFunction, at_context
from anabranch.densities.reordered import given as given_columns
from anabranch.draws import drawing
from anabranch.queries.columns import check_density, others, read_columns, read_observed, tensor_like
from anabranch.queries.conditional import conditional
from anabranch.queries.estimate import Estimate, QueryWarning
from anabranch.queries.inquiry import Inquiry
from anabranch.queries.monte_carlo import mean_of, monte_carlo
from anabranch.queries.provenance import Provenance
from anabranch.queries.region import Interval, Region, Values, disjoint, inside, read_region, single_values
from anabranch.queries.sampling import Sampling

# fewer draws than this in a region say little of its probability
_LEAST_HITS = 10


def probability(
    density: Density,
    region: Region | Callable[[Tensor], Tensor],
    given: Mapping[int, float] | None = None,
    *,
    context: Tensor | ArrayLike | None = None,
    tolerance: float | None = None,
    samples: int = 10_000,
    most: int = 1_000_000,
    seed: int | None = None,
    **sampling: Unpack[Sampling],
) -> Estimate:
    r"""P(x in region | given), with its standard error.

    Values of one column, an interval or several, are exact where its distribution function is known: for Gaussian mixtures,
    closed forms, and products and mixtures of them. Values that have a probability, such as categories, are conditioned on
    first, so P(x_0 > 3, x_1 = 2) is exact for them too. Of an `AnyOrder` it is a share of weighted rows of its joint
    (`Inquiry`), exact for the categories that come first in its order. Everything else is a share of draws; its standard
    error is that of (hits + 1) in (draws + 2), so that no hit at all does not pass for certainty.

    Args:
        density: any density over vectors.
        region: from numbers of columns to an `Interval`, (low, high) with both ends, a number alone, or several intervals
            as `AnyOf`; or a function that takes rows (n, D), what was observed in its place, and gives (n) booleans.
        given, context, tolerance, samples, most, seed, sampling: as of `expectation`.

    Raises:
        ValueError: as `conditional`; a region that is none.

    Warns:
        QueryWarning: fewer than 10 draws in the region; too few effective samples; a tolerance that was not met.

    Example:
        >>> import anabranch as ab
        >>> mixture = ab.densities.GaussianMixture([[0.0, 1.0], [4.0, 2.0]])
        >>> print(ab.queries.probability(mixture, {0: (0.0, 4.0)}))
        0.499968 (exact)
        >>> above = ab.queries.probability(mixture, lambda x: x[:, 1] > x[:, 0], given={0: 1.5}, seed=0)
        >>> abs(float(above.value) - 0.3475) < 0.02
        True
    """
    features = check_density(density)
    observed, values = read_observed(given, density)
    fixed = at_context(density, context)
    if Inquiry.takes(fixed) and isinstance(region, Mapping):
        intervals = read_region(region)
        if intervals:
            read_columns(intervals, features)
        inquiry = Inquiry(fixed, samples, seed, tolerance, most)
        return inquiry.probability(intervals, single_values(given))
    remaining = conditional(density, given or {}, context, **sampling)
    rest = others(observed, features)
    factor = 1.0
    if isinstance(region, Mapping):
        intervals = read_region(region)
        if intervals:
            read_columns(intervals, features)
        if any(values.empty for values in intervals.values()):
            return Estimate.closed(torch.zeros((), dtype=torch.float64))
        intervals = {i: values for i, values in intervals.items() if not values.everything}
        for i in set(intervals) & set(observed):
            if not bool(intervals.pop(i).contains(values[observed.index(i)])):
                return Estimate.closed(torch.zeros((), dtype=torch.float64))
        factor, remaining, rest, observed, values = _points_first(remaining, intervals, rest, observed, values)
        if factor == 0 or not intervals:
            return Estimate.closed(torch.tensor(factor, dtype=torch.float64))
        only = next(iter(intervals))
        known = _distribution_function(remaining, rest.index(only)) if len(intervals) == 1 else None
        if known is not None:
            p = factor * within(known, intervals[only])
            return Estimate.closed(torch.tensor(p, dtype=torch.float64))
    elif not callable(region):
        raise ValueError(f"region: expected intervals by column, or a function of rows, got {type(region).__name__}")

    def statistic(drawn: Tensor, provenance: Provenance | None) -> Estimate:
        full = drawn.new_empty(*drawn.shape[:-1], features)
        full[..., rest] = drawn
        full[..., observed] = values.to(drawn)
        if isinstance(region, Mapping):
            hits = inside(intervals, full)
        else:
            flat = region(full.reshape(-1, features))
            if not isinstance(flat, Tensor) or flat.dtype != torch.bool or flat.shape != (full[..., 0].numel(),):
                got = (flat.dtype, tuple(flat.shape)) if isinstance(flat, Tensor) else type(flat).__name__
                raise ValueError(f"region: expected a function that gives a boolean for each row, got {got}")
            hits = flat.reshape(full.shape[:-1])
        return _share(hits, factor, provenance)

    with drawing(seed):
        found = monte_carlo("probability", remaining, statistic, samples, tolerance, most)
    n = float(found.effective_samples)
    hits = float(found.value) / factor * n
    if hits < _LEAST_HITS:
        warnings.warn(
            f"probability: about {hits:.0f} of {n:,.0f} effective draws fell in the region, so its probability is hardly "
            f"known; raise samples, now {samples:,}",
            QueryWarning,
            stacklevel=2,
        )
    return found


def within(known: DistributionFunction, values: Values) -> float:
    """P(X in values)."""
    return min(1.0, sum(_within_run(known, run) for run in disjoint(values)))


def _within_run(known: DistributionFunction, run: Interval) -> float:
    if run.point is not None:
        return mass_at(known, run.point)
    ends = torch.tensor([run.low, run.high], dtype=torch.float64)
    left, right = known.below(ends)
    low = 0.0 if run.low == -math.inf else float((left if run.low_included else right)[0])
    high = 1.0 if run.high == math.inf else float((right if run.high_included else left)[1])
    return max(0.0, high - low)


def mass_at(known: DistributionFunction, number: float) -> float:
    """P(X = number)."""
    left, right = known.below(torch.tensor([number], dtype=torch.float64))
    nearest = float(known.nearest(torch.tensor([number], dtype=torch.float64)))
    # what is off a lattice has no probability, though the distribution function is told of its nearest point
    return max(0.0, float(right - left)) if abs(nearest - number) <= 1e-6 * (1 + abs(number)) else 0.0


def _points_first(
    density: Density, intervals: dict[int, Values], rest: list[int], observed: list[int], values: Tensor
) -> tuple[float, Density, list[int], list[int], Tensor]:
    """Condition on columns of which one value is asked for, while its probability is known: their product comes first.

    They are taken out of `intervals`.
    """
    factor = 1.0
    for column in [i for i, interval in intervals.items() if interval.point is not None]:
        point = intervals[column].point
        known = _distribution_function(density, rest.index(column))
        if known is None or point is None:
            continue
        factor *= mass_at(known, point)
        del intervals[column]
        if factor == 0 or not intervals:
            break
        value = tensor_like([point], values)
        found = density.conditional([rest.index(column)], value)
        if found is None:
            raise ValueError(f"region: expected a conditional given column {column}, got none")
        density = found
        rest = [i for i in rest if i != column]
        observed, values = [*observed, column], torch.cat([values, value])
    return factor, density, rest, observed, values


def _distribution_function(density: Density, place: int) -> DistributionFunction | None:
    one = given_columns(density, [place])
    return None if one is None else one.distribution_function()


def _share(hits: Tensor, factor: float, provenance: Provenance | None) -> Estimate:
    found = mean_of(hits.double(), provenance=provenance)
    n = float(found.effective_samples)
    smooth = (float(found.value) * n + 1) / (n + 2)
    error = torch.maximum(found.standard_error, found.value.new_tensor(math.sqrt(smooth * (1 - smooth) / (n + 2))))
    return Estimate(factor * found.value, factor * error, found.effective_samples, exact=False)
