"""How much two columns of any kinds tell of each other."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from anabranch.tables.columns import Column
from anabranch.tables.columns.column import Float64
from anabranch.tables.columns.levels import OfLevels

_BINS = 10


def bins_of(column: Column, z: Float64, like: Float64) -> NDArray[np.int64]:
    """The bin of every encoded value (n), -1 for a gap: levels, the rarest together, or tenths of `like` (m)."""
    seen = like[np.isfinite(like)]
    known = np.isfinite(z)
    if isinstance(column, OfLevels):
        counts = np.bincount(seen.astype(np.int64), minlength=len(column.levels))
        place = np.full(len(column.levels), _BINS - 1)
        frequent = np.argsort(-counts, kind="stable")[: _BINS - 1 if len(counts) > _BINS else _BINS]
        place[frequent] = np.arange(len(frequent))
        return np.where(known, place[np.where(known, z, 0).astype(np.int64)], -1)
    inner = np.unique(np.quantile(seen, np.arange(1, _BINS) / _BINS)) if len(seen) else np.empty(0)
    return np.where(known, np.searchsorted(inner, z, side="left"), -1).astype(np.int64)


def mutual_information(a: NDArray[np.int64], b: NDArray[np.int64]) -> float:
    r"""I(a; b) = sum p(a, b) log p(a, b) / (p(a) p(b)), nats, of bins in 0, ..., 9; rows with a gap (-1) are left out.

    Less the bias of as many rows, (A - 1)(B - 1) / 2n for A and B bins that occur, and never below 0.
    Source: Miller, 1955.

    Example:
        >>> import numpy
        >>> from anabranch.report.dependence import mutual_information
        >>> coin = numpy.arange(1000) % 2
        >>> round(mutual_information(coin, coin), 3)  # log 2, less the bias
        0.693
    """
    both = (a >= 0) & (b >= 0)
    n = int(both.sum())
    if n < 2:
        return 0.0
    joint = np.bincount(a[both] * _BINS + b[both], minlength=_BINS * _BINS).reshape(_BINS, _BINS) / n
    rows, across = joint.sum(axis=1), joint.sum(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = np.where(joint > 0, joint * np.log(joint / (rows[:, None] * across)), 0.0)
    bias = ((rows > 0).sum() - 1) * ((across > 0).sum() - 1) / (2 * n)
    return max(0.0, float(terms.sum() - bias))


def all_pairs(
    parts: Sequence[Column], data: Float64, drawn: Float64, modelled: int
) -> list[tuple[int, int, float, float]]:
    """Every pair of columns, with the mutual information of data and of draws, both binned alike.

    Args:
        parts: the columns.
        modelled: how many of them, the first; the others are given, and pairs of these are left out.
        data, drawn: (rows, columns), encoded, NaN for gaps.
    """
    a = [bins_of(part, data[:, i], data[:, i]) for i, part in enumerate(parts)]
    b = [bins_of(part, drawn[:, i], data[:, i]) for i, part in enumerate(parts)]
    return [
        (i, j, mutual_information(a[i], a[j]), mutual_information(b[i], b[j]))
        for i in range(modelled)
        for j in range(i + 1, len(parts))
    ]
