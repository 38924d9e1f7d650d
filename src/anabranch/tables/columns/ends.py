"""Where a column ends: at a natural bound, or where the values pile up to one."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from anabranch.tables.columns.column import Float64
from anabranch.tables.columns.written import read_number
from anabranch.tables.frame import TableError

# where counts, clocks, calendars, shares and directions end
NATURAL = (0, 1, 100, 1000, 360, 24, 60, 12, 7, 10, 365, 366, 31, 23, 59, 359, 255, 53, 52)
# a point of a lattice with so many rows is compared with the points before it, how many of them
_ROWS_OF_ONE, _BEFORE = 8, 3
# rows that would lie beyond if there were no end, and none does: at a natural number, and elsewhere
_MISSING_NATURAL, _MISSING = 2.0, 12.0
# shares of the rows next to an end, of which the two smallest with so many rows are looked at
_SHARES, _LEAST = (0.2, 0.1, 0.05, 0.02, 0.01, 0.005), 40
# the largest distance from within is twice the mean at an even edge; three times at a wedge's, log(rows) in an exponential
# tail; and hardly more than once where the rows are a heap of their own
_EVEN, _WEDGE, _HEAP = 2.5, 3.0, 1.3
# of such tails fewer than e^-7 look like edges
_SELDOM = 7.0
# an end lies at the roundest number within so many mean distances of neighbours from the last value
_REACH = 8.0

# the ends that a user states, as numbers or in words, None for none
Bounds = tuple[Any, Any]
# where an end is, between the extreme value and the furthest place that there could be an end
Round = Callable[[float, float], float]


class Ends(NamedTuple):
    """The least and largest value that there can be, None where there is no end."""

    low: float | None = None
    high: float | None = None


def ends_of(values: Float64) -> Ends:
    """The ends of real numbers (n): their caps, and where they pile up to an edge, at the roundest number nearby.

    Never below 0 where none of the values is, and 0 is no further from them than they are from each other.

    Args:
        values: (n), no gaps, of all rows.

    Example:
        >>> import numpy as np
        >>> from anabranch.tables.columns.ends import ends_of
        >>> rng = np.random.default_rng(0)
        >>> ends_of(rng.uniform(0, 360, 2000)), ends_of(rng.normal(size=2000))
        (Ends(low=0.0, high=360.0), Ends(low=None, high=None))
        >>> ends_of(rng.exponential(size=2000))
        Ends(low=0.0, high=None)
    """
    found = [_edge(-values), _edge(values)]
    if found[0] is not None and _fades_in_logarithms(values):
        found[0] = None
    low, high = (
        None if one is None else roundest(sign * one[0], sign * one[1])
        for sign, one in zip((-1.0, 1.0), found, strict=True)
    )
    low = 0.0 if low is None and 0 <= values.min() <= np.ptp(values) else low
    return Ends(low, high)


def ends_of_lattice(
    m: Float64, natural: Callable[[float], bool], round_to: Round, fine: Float64, zero: float = 0.0
) -> Ends:
    """The same of whole numbers: an end too where a point has as many rows as others and the next would have none.

    Args:
        m: (n), whole, no gaps, of all rows.
        natural: whether such a number is one where counts, clocks or shares end.
        round_to: the whole number that is the roundest, as a value, between two.
        fine: m spread within their cells.
        zero: where 0 is, minus infinity where it has no meaning.

    Example:
        >>> import numpy as np
        >>> from anabranch.tables.columns.ends import ends_of_lattice, is_natural, roundest
        >>> rng = np.random.default_rng(0)
        >>> day = rng.integers(1, 32, 3000).astype(float)
        >>> ends_of_lattice(day, is_natural, roundest, day + rng.random(3000) - 0.5)
        Ends(low=1.0, high=31.0)
        >>> count = rng.poisson(4.0, 3000).astype(float)
        >>> ends_of_lattice(count, is_natural, roundest, count + rng.random(3000) - 0.5)
        Ends(low=0.0, high=None)
    """
    ends: list[float | None] = []
    for sign in (-1.0, 1.0):
        last = float((sign * m).max())
        end = last if _is_end(sign * m, natural(sign * last)) else None
        edge = None if end is not None else _edge(sign * fine)
        edge = None if sign < 0 and _fades_in_logarithms(fine - zero) else edge
        if edge is not None:
            # the furthest whole number, of places half a step off
            end = sign * round_to(sign * last, sign * max(last, math.floor(edge[1] - 0.5)))
        ends.append(None if end is None else sign * end + 0.0)
    return Ends(*ends)


def _is_end(m: Float64, natural: bool) -> bool:
    """Whether the largest of whole numbers is an end; at a natural number less will do."""
    distinct, counts = np.unique(m, return_counts=True)
    rows = int(counts[-1])
    if rows < _ROWS_OF_ONE or len(distinct) < 2:
        return False
    # how fast points lose rows on the way there, so many fall on the next one
    before = int(counts[-1 - _BEFORE : -1].max())
    return rows * rows / before >= (_MISSING_NATURAL if natural else _MISSING)


def _edge(values: Float64) -> tuple[float, float] | None:
    """Between where and where an upper edge of values lies, if there is one."""
    most = float(values.max())
    n = len(values)
    counts = [int(share * n) for share in _SHARES]
    counts = [k for k in counts if k >= _LEAST]
    if not counts:
        return None
    ordered = np.sort(values)
    room = 0.0
    largest, smallest = counts[-2:][0], counts[-1]
    for k in (largest, smallest, smallest // 2):
        inside = ordered[n - k - 1]
        width, mean = most - inside, float((ordered[n - k :] - inside).mean())
        ratio = width / mean if mean > 0 else np.inf
        if not _HEAP < ratio <= (_EVEN if k >= smallest else _WEDGE):
            return None
        if k == largest and k * math.exp(-ratio) < _SELDOM:
            return None
        room = _REACH * width / k if k >= smallest else room
    return most, most + room


def ends_beside(values: Float64, atoms: Sequence[float], kind: str) -> Ends:
    """The ends of real numbers (n), of which some are atoms: a cap, or else where the others end.

    Args:
        values: (n), no gaps, of all rows.
        atoms: values that have a probability.
        kind: the type, "float", "double" or "halffloat", that holds them.
    """
    others = values[~np.isin(values, atoms)]
    low, high = ends_of(others) if len(others) else Ends()
    least, most = float(values.min()), float(values.max())
    # an atom may lie beyond the edge of the others
    low = least if least in atoms else None if low is None else min(low, least)
    high = most if most in atoms else None if high is None else max(high, most)
    held = {"float": "f4", "halffloat": "f2"}.get(kind, "f8")
    low, high = (None if end is None else float(np.array(end, dtype=held)) for end in (low, high))
    return Ends(low, high) if low is None or high is None or low < high else Ends()


def stated(name: str, ends: Bounds) -> Ends:
    """The ends of real numbers that a user states."""
    low, high = (None if end is None else float(read_number(name, end)) for end in ends)
    return checked(name, low, high)


def within(value: float, low: float | None, high: float | None) -> bool:
    """Whether a value is not beyond an end."""
    return (low is None or low <= value) and (high is None or value <= high)


def checked(name: str, low: float | None, high: float | None) -> Ends:
    """Ends that a user stated.

    Raises:
        TableError: they are in the wrong order.
    """
    if low is not None and high is not None and not low < high:
        raise TableError(f"column {name!r}: expected a least value below the largest, got {low:g}..{high:g}")
    return Ends(low, high)


def _fades_in_logarithms(values: Float64) -> bool:
    """Whether numbers above 0 have a lower tail after all: what is an edge far from 0 is one of the logarithms too."""
    least = float(values.min())
    return 0 < least < np.inf and _edge(-np.log(values)) is None


def is_natural(value: float) -> bool:
    """Whether counts, clocks, calendars or shares end at a number."""
    return abs(value) in NATURAL


def roundest(near: float, far: float) -> float:
    """The number with the fewest digits between two, or a natural one.

    Example:
        >>> from anabranch.tables.columns.ends import roundest
        >>> roundest(359.93, 361.0), roundest(97.31, 97.9), roundest(0.1, -0.2)
        (360.0, 97.5, 0.0)
    """
    low, high = min(near, far), max(near, far)
    if low <= 0 <= high:
        return 0.0
    if is_natural(near):
        return float(near)
    for number in NATURAL:
        value = math.copysign(number, low)
        if low <= value <= high:
            return float(value)
    if high <= low:
        return float(low)
    size = 10.0 ** math.ceil(math.log10(max(abs(low), abs(high))))
    while size > 0:
        for step in (size, size / 2):
            multiple = math.ceil(low / step) * step
            if multiple <= high:
                return float(round(multiple, 1 - math.floor(math.log10(step))))
        size /= 10
    return float(high)
