"""Values so far from all others that they are no part of their distribution: fill values and slips."""

from __future__ import annotations

import warnings

import numpy as np
import pyarrow as pa

from anabranch.tables.columns.column import Float64, TableWarning

# so many different values on either side may be apart
_MOST = 3
# by so many times the range of the rest: if each has as many rows as a frequent value, and otherwise
_OF_FREQUENT, _OF_RARE = 10.0, 100.0
FREQUENT = 10


def apart(values: Float64) -> Float64:
    """The different values (few) that lie further from the rest than the rest is wide, many times.

    Args:
        values: (n), no gaps.

    Example:
        >>> import numpy as np
        >>> from anabranch.tables.columns.apart import apart
        >>> apart(np.r_[np.linspace(0.0, 90.0, 500), 1e30])
        array([1.e+30])
    """
    distinct, counts = np.unique(values, return_counts=True)
    low, high = 0, len(distinct)
    moved = True
    while moved and high - low > 3:
        moved = False
        for way in (1, -1):
            for j in range(1, min(_MOST, high - low - 3) + 1):
                inner = slice(low, high - j) if way > 0 else slice(low + j, high)
                rest = distinct[inner]
                outer = slice(high - j, high) if way > 0 else slice(low, low + j)
                # in halves, which do not overflow
                width = 0.5 * rest[-1] - 0.5 * rest[0]
                gap = abs(0.5 * distinct[outer][0 if way > 0 else -1] - 0.5 * rest[-1 if way > 0 else 0])
                often = bool((counts[outer] >= FREQUENT).all())
                more = counts[inner].sum() > counts[outer].sum()
                if width > 0 and gap > (_OF_FREQUENT if often else _OF_RARE) * width and (often or more):
                    low, high = (low, high - j) if way > 0 else (low + j, high)
                    moved = True
                    break
    return np.concatenate([distinct[:low], distinct[high:]])


def warn_of_apart(name: str, values: pa.Array, numbers: Float64, far: Float64) -> None:
    """Name the values that are apart and rare, with the first row of each.

    Args:
        name: of the column.
        values: the column.
        numbers: (rows), the same as numbers; NaN for a gap.
        far: what `apart` gave.
    """
    for value in far:
        rows = np.flatnonzero(numbers == value)
        if len(rows) < FREQUENT:
            row = int(rows[0])
            warnings.warn(
                f"column {name!r}: the value {values[row]} in row {row} (rows count from 0) is far from all others; it is "
                "set apart, with a probability of its own, and no statistics are taken of it: correct it, or leave a gap "
                "there",
                TableWarning,
                stacklevel=2,
            )
