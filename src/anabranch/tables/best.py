"""The single best value for a gap of a table, in the unit of its column."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor

from anabranch.checks import one_of
from anabranch.densities import Density
from anabranch.models import AnyOrder
from anabranch.queries import impute_weighted
from anabranch.queries.impute import PROPOSALS, impute
from anabranch.queries.impute_any_order import Middle, best_guess
from anabranch.queries.impute_weighted import completes
from anabranch.tables.columns import Angle, Boolean, Categorical, Column, Ordinal
from anabranch.tables.columns.column import Float64

_BISECTIONS = 80


def best_rows(
    density: Density, parts: Sequence[Column], x: Tensor, context: Tensor | None = None, best: bool | str = True
) -> Float64:
    """Encoded rows whose gaps hold what is least wrong in the columns' own units, given what was observed of the row.

    For categories and truth values the most probable one. For numbers and times the value of the column next to the mean,
    least in squared error, or the median, least in absolute error. The mean is that of the values, not of their encoding,
    which for a logarithm would be the geometric one; of angles it is the direction of the mean vector. With `AnyOrder` it is
    taken over levels, atoms and, of the rest, 129 quantiles, the outermost those of 0.03 % and 99.97 %, so that it is finite
    for tails too heavy to have a mean.

    Args:
        density: any that `queries.impute` fills, of the encoded columns.
        parts: the columns.
        x: (rows, columns), NaN for a gap, in the density's dtype.
        context: (rows, context features), of a density that takes one.
        best: True or "mean", or "median".

    Returns:
        (rows, columns), float64; what was observed as it is.

    Example:
        >>> import torch
        >>> import anabranch as ab
        >>> from anabranch.tables.best import best_rows
        >>> from anabranch.tables.columns import Categorical, Positive
        >>> parts = [Positive("price", loc=0.0, scale=1.0), Categorical("cut", ["fair", "ideal"])]
        >>> density = ab.models.AnyOrder([part.family() for part in parts], hidden=8)
        >>> best_rows(density, parts, torch.tensor([[torch.nan, 1.0]])).shape
        (1, 2)
    """
    kind = one_of("best", "mean" if best is True else best, ("mean", "median"))
    middles = [middle_of(part, kind) for part in parts]
    with torch.no_grad():
        if isinstance(density, AnyOrder):
            guess = best_guess(density, x, kind, context, middles)
        elif completes(density, x, context):
            guess = impute_weighted.best_rows(density, x, context, kind, PROPOSALS, middles)[0]
        else:
            guess = impute(density, x, best=kind, context=context)
    result = guess.cpu().numpy().astype(np.float64)
    for i, part in enumerate(parts):
        # a value that the column can have
        result[:, i] = part.encode(part.decode(result[:, i]))
    return np.where(x.isnan().cpu().numpy(), result, x.cpu().numpy().astype(np.float64))


def middle_of(part: Column, kind: str) -> Middle | None:
    """What stands in the gaps of a column, if that is not what its family says of the encoded numbers."""
    if isinstance(part, Categorical | Boolean):
        return None
    if isinstance(part, Angle):
        return partial(direction, part, kind)
    if kind == "mean":
        return partial(mean_in, part)
    return _median_level if isinstance(part, Ordinal) else None


def _median_level(z: Tensor, p: Tensor) -> Tensor:
    """The median of levels z in order that have probabilities p, both (n, levels): (n,)."""
    half = (p.cumsum(dim=-1) < 0.5).sum(dim=-1, keepdim=True).clamp(max=z.shape[-1] - 1)
    return z.gather(-1, half).squeeze(-1)


def mean_in(part: Column, z: Tensor, p: Tensor) -> Tensor:
    """z of the value of the column next to the mean of the values z that have probabilities p, both (n, some): (n,)."""
    values, weights = (numbers.cpu().numpy().astype(np.float64) for numbers in (z, p))
    mean = (weights * _numbers(part, values.ravel()).reshape(values.shape)).sum(axis=-1) / weights.sum(axis=-1)
    nearest = _nearest(partial(_numbers, part), mean, values.min(-1), values.max(-1))
    # bisection ends at the border between two points of a lattice, which float32 may take for the other side
    return torch.from_numpy(part.encode(part.decode(nearest))).to(z)


def direction(part: Angle, kind: str, z: Tensor, p: Tensor) -> Tensor:
    """The direction of the mean vector of angles z that have probabilities p, both (n, some): (n,).

    Or for "median" the one of them from which the others are least far around the circle.
    """
    if kind == "median":
        away = (z.unsqueeze(-1) - z.unsqueeze(-2)).remainder(2 * math.pi)
        around = torch.minimum(away, 2 * math.pi - away)
        place = (around @ p.unsqueeze(-1)).squeeze(-1).argmin(dim=-1, keepdim=True)
        middle = z.gather(-1, place).squeeze(-1)
    else:
        middle = torch.atan2((p * z.sin()).sum(dim=-1), (p * z.cos()).sum(dim=-1)).remainder(2 * math.pi)
    # a value that the column can have
    return torch.from_numpy(part.encode(part.decode(middle.cpu().numpy().astype(np.float64)))).to(z)


def _nearest(back: Callable[[Float64], Float64], wanted: Float64, low: Float64, high: Float64) -> Float64:
    """z between low and high where `back`, which rises, comes nearest to what is wanted, by bisection."""
    for _ in range(_BISECTIONS):
        middle = 0.5 * (low + high)
        below = back(middle) < wanted
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    nearer = np.abs(back(low) - wanted) < np.abs(back(high) - wanted)
    return np.where(nearer, low, high)


def _numbers(part: Column, z: Float64) -> Float64:
    """The values of z (n) as float64; times as ticks."""
    values = part.decode(z)
    if pa.types.is_temporal(values.type):
        values = values.cast(pa.int32() if values.type.bit_width == 32 else pa.int64()).cast(pa.int64())
    numbers: NDArray[np.float64] = values.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    return numbers
