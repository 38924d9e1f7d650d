"""Wild values: a few numbers so far from all others of their column that they would decide a fit by themselves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from anabranch.tables.columns.column import Float64

# of fewer rows than this nobody can say what is usual
_LEAST_ROWS = 20.0
# the wild values of a column are in so small a share of the rows at most, and so many different ones in one row at least
_SHARE, _DIFFERENT_SHARE = 0.05, 0.01
# the nearest of them is so many deviations of the others from their median,
_FARTHEST_USUAL = 10.0
# and so many times as far as the furthest of the others,
_TIMES = 4.0
# and the tail of the others would reach it with this probability at most
_IMPROBABLE = 1e-4
# the tail: so large a share of the others, in so many rows at least; and it is never taken for thinner than this index
_TAIL_SHARE, _TAIL_ROWS, _THINNEST = 0.05, 10.0, 10.0


@dataclass(frozen=True)
class Usual:
    r"""Between which numbers the values of columns are usual: beyond them lie wild values.

    Of one column, d is the distance from the median. The m largest are wild if the nearest of them, at d', is more than 10
    root mean squares of the others' distances, four times as far as the furthest of them, and if the tail of those hardly
    reaches so far: with d'' the largest of the others, and a tail like a power whose index the K largest of them tell,

    .. math:: P(d > d') = \Big(1 + \frac{\log(d' / d'')}{\sum_{k \le K} \log(d_k / d_{K+1})}\Big)^{-K} < 10^{-4},

    the predictive probability under a Pareto tail of unknown index. So one value of 999999 among heights is wild, and the
    largest of a column with heavy tails is not. They are 5 % of the rows at most, and different ones no more than 1 %; of
    fewer than 20 rows none is. Source: Hill, 1975, "A simple general approach to inference about the tail of a
    distribution", for the tail's index.

    Attributes:
        low, high: (columns), minus and plus infinity where no value is wild.

    Example:
        >>> import numpy as np
        >>> from anabranch.tables.wild import Usual
        >>> x = np.random.default_rng(0).normal(size=(100, 2))
        >>> x[7, 1] = 999_999.0
        >>> np.argwhere(Usual.of(x).wild(x))
        array([[7, 1]])
    """

    low: Float64
    high: Float64

    @classmethod
    def of(cls, x: Float64, weights: Float64 | None = None) -> Usual:
        """What is usual among rows (rows, columns; NaN for gaps), each of which counts by its weight (rows), above 0."""
        w = np.ones(len(x)) if weights is None else weights
        ends = [_ends(column[seen], w[seen]) for column in x.T for seen in (np.isfinite(column),)]
        return cls(np.array([low for low, _ in ends]), np.array([high for _, high in ends]))

    @property
    def everything(self) -> bool:
        """Whether no column has a wild value."""
        return bool(np.isinf(self.low).all())

    def wild(self, x: Float64) -> NDArray[np.bool_]:
        """Which values (rows, columns) are wild; a gap is none."""
        return np.asarray((x < self.low) | (x > self.high))


def warning_of(
    names: Sequence[str], x: Float64, wild: NDArray[np.bool_], numbers: NDArray[np.int64], follows: str
) -> str:
    """Wild values in one line: column, row and value of the first three, and what follows from it.

    Args:
        names: of the columns.
        x: (rows, columns).
        wild: (rows, columns), which of them are wild.
        numbers: (rows), the numbers of the rows in the data, -1 where that is not known.
        follows: what is done about them.
    """
    rows = np.flatnonzero(wild.any(axis=1))
    order = np.argsort(numbers[rows], kind="stable")
    cells = [(int(i), int(j)) for i in rows[order][:3] for j in np.flatnonzero(wild[i])][:3]
    places = [f"row {numbers[i]}" if numbers[i] >= 0 else "a row" for i, _ in cells]
    said = ", ".join(f"column {names[j]!r} holds {x[i, j]:g} in {at}" for (i, j), at in zip(cells, places, strict=True))
    more = int(wild.sum()) - len(cells)
    return (
        f"{said}{f' and {more} more such values' if more else ''} (rows count from 0), far beyond all others; {follows}; "
        "correct or remove such values, or make gaps of them"
    )


def _ends(values: Float64, weights: Float64) -> tuple[float, float]:
    """Beyond which values of a column (rows) are wild."""
    total = float(weights.sum())
    if total < _LEAST_ROWS:
        return -np.inf, np.inf
    # halves, whose differences cannot overflow
    order = np.argsort(values)
    middle = float(values[order[_place(weights[order], total / 2)]]) / 2
    distance = np.abs(values / 2 - middle)
    order = np.argsort(distance, kind="stable")
    distance, counts = distance[order], weights[order]
    # more of the distances have a larger mean square: what is no further than these are is no further than all others are
    nearest = slice(0, _place(counts, (1 - _SHARE) * total) + 1)
    unit = _root_mean_square(distance[nearest], counts[nearest])
    if not distance[-1] > _FARTHEST_USUAL * unit:
        return -np.inf, np.inf
    distance, first = np.unique(distance, return_index=True)
    counts = np.add.reduceat(counts, first)
    beyond = np.append(np.cumsum(counts[::-1])[::-1][1:], 0.0)
    # the last usual distance is one of these; the first of them leaves the largest group beyond it
    allowed = (beyond > 0) & (beyond <= max(_SHARE * total, 1.0)) & (distance > 0)
    allowed &= np.arange(len(distance), 0, -1) - 1 <= max(1, int(_DIFFERENT_SHARE * total))
    for i in np.flatnonzero(allowed).tolist():
        usual, held = distance[: i + 1], counts[: i + 1]
        nearest_wild = float(distance[i + 1])
        apart = max(_FARTHEST_USUAL * _root_mean_square(usual, held), _TIMES * float(usual[-1]))
        if nearest_wild > apart and _improbable(usual, held, nearest_wild):
            half = float(np.sqrt(usual[-1]) * np.sqrt(nearest_wild))
            with np.errstate(over="ignore"):
                return 2 * (middle - half), 2 * (middle + half)
    return -np.inf, np.inf


def _improbable(distance: Float64, counts: Float64, further: float) -> bool:
    """Whether it is improbable that values whose distances (ascending) are these come with one so much further out."""
    held = np.cumsum(counts[::-1])[::-1]
    wanted = min(max(_TAIL_ROWS, _TAIL_SHARE * held[0]), held[0] / 2)
    # the tail begins behind the last place from which on there are so many rows; a distance of 0 is in no tail
    start = max(int(np.searchsorted(-held, -wanted, side="right")) - 1, int(np.searchsorted(distance, 0.0, "right")))
    after = slice(start + 1, None) if start + 1 < len(distance) else slice(start, None)
    tail, rows = distance[after], counts[after]
    size = float(rows.sum())
    excess = max(float(rows @ (np.log(tail) - np.log(distance[start]))), size / _THINNEST)
    ratio = np.log(further) - np.log(float(distance[-1]))
    return bool(-size * np.log1p(ratio / excess) < np.log(_IMPROBABLE))


def _place(weights: Float64, wanted: float) -> int:
    """Where the sum of weights comes to this much."""
    return min(int(np.searchsorted(np.cumsum(weights), wanted * (1 - 1e-12))), len(weights) - 1)


def _root_mean_square(distance: Float64, counts: Float64) -> float:
    """Of distances, ascending, without overflow."""
    unit = float(distance[-1])
    return unit * float(np.sqrt(counts @ (distance / unit) ** 2 / counts.sum())) if unit > 0 else 0.0
