"""Quantiles of a column."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Unpack

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from anabranch.checks import read_tensor
from anabranch.densities import Density, at_context
from anabranch.densities.reordered import given as given_columns
from anabranch.draws import drawing
from anabranch.queries.columns import check_density, others, read_columns, read_observed
from anabranch.queries.conditional import conditional
from anabranch.queries.estimate import Estimate
from anabranch.queries.inquiry import Inquiry
from anabranch.queries.monte_carlo import mean_of, monte_carlo
from anabranch.queries.provenance import Provenance
from anabranch.queries.region import single_values
from anabranch.queries.sampling import Sampling


def quantile(
    density: Density,
    column: int,
    levels: float | Sequence[float] | Tensor,
    given: Mapping[int, float] | None = None,
    *,
    context: Tensor | ArrayLike | None = None,
    tolerance: float | None = None,
    samples: int = 10_000,
    most: int = 1_000_000,
    seed: int | None = None,
    **sampling: Unpack[Sampling],
) -> Estimate:
    r"""The smallest q with P(x_column <= q | given) >= level, for each level.

    Exact where the column's distribution function is known, as in `probability`. Otherwise an order statistic of draws; its
    standard error is half the distance between those one standard error of the share of draws below and above.

    Args:
        density: any density over vectors.
        column: whose quantiles.
        levels: numbers between 0 and 1.
        given, context, tolerance, samples, most, seed, sampling: as of `expectation`.

    Returns:
        an `Estimate` in float64, of the shape of levels.

    Raises:
        ValueError: as `conditional`; levels that are not between 0 and 1; a column that was observed.

    Warns:
        QueryWarning: too few effective samples, or a tolerance that was not met.

    Example:
        >>> import anabranch as ab
        >>> mixture = ab.densities.GaussianMixture([[0.0, 1.0], [4.0, 2.0]])
        >>> print(ab.queries.quantile(mixture, 0, [0.25, 0.5]))
        [-7.93614e-05, 2] (exact)
    """
    features = check_density(density)
    (column,) = read_columns([column], features)
    u = read_tensor("levels", levels, None).detach().double().cpu()
    if not bool(((u > 0) & (u < 1)).all()):
        raise ValueError(f"levels: expected numbers between 0 and 1, got {u.tolist()}")
    observed, _ = read_observed(given, density)
    if column in observed:
        raise ValueError(f"column: expected one that was not observed, got {column}")
    fixed = at_context(density, context)
    if Inquiry.takes(fixed):
        inquiry = Inquiry(fixed, samples, seed, tolerance, most)
        found = inquiry.quantile(column, u.reshape(-1), single_values(given))
        return found.shaped(u.shape)
    remaining = conditional(density, given or {}, context, **sampling)
    place = others(observed, features).index(column)
    one = given_columns(remaining, [place])
    if one is not None:
        known = one.distribution_function()
        if known is not None:
            return Estimate.closed(known.quantile(u.reshape(-1)).reshape(u.shape))
        remaining, place = one, 0

    def statistic(drawn: Tensor, provenance: Provenance | None) -> Estimate:
        return _statistic(drawn[..., place], u, provenance)

    with drawing(seed):
        return monte_carlo("quantile", remaining, statistic, samples, tolerance, most)


def _statistic(x: Tensor, u: Tensor, provenance: Provenance | None) -> Estimate:
    """Quantiles of draws (length, chains)."""
    x = x.double().cpu()
    ordered = x.flatten().sort().values
    n = len(ordered)

    def at(share: Tensor) -> Tensor:
        return ordered[(share * n).ceil().long().sub(1).clamp(0, n - 1)]

    flat = u.reshape(-1)
    value = at(flat)
    below = mean_of((x.unsqueeze(-1) <= value).double(), provenance=provenance)
    # where chains agree by accident: at least the error of as many independent draws
    share = torch.maximum(below.standard_error, (flat * (1 - flat) / n).sqrt())
    error = 0.5 * (at(flat + share) - at(flat - share))
    return Estimate(
        value.reshape(u.shape), error.reshape(u.shape), below.effective_samples.reshape(u.shape), exact=False
    )
