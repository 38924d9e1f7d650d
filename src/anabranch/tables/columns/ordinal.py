"""Columns of a few numbers in order."""

from __future__ import annotations

import bisect
import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from anabranch.tables.columns.column import Float64, Rows
from anabranch.tables.columns.levels import OfLevels, plain, shown
from anabranch.tables.columns.reading import check_number, read_floats
from anabranch.tables.columns.written import read_number
from anabranch.tables.frame import TableError

# up to so many whole numbers from the least to the largest, all of them are levels, seen or not
_FILLED = 32


class Ordinal(OfLevels):
    """A few numbers in order, such as grades or numbers of rooms, each with a probability of its own.

    Args:
        name: of the column.
        levels: the numbers, ascending.
        type: the Arrow type that `decode` gives back.

    Raises:
        ValueError: numbers that do not rise.

    Example:
        >>> import pyarrow
        >>> from anabranch.tables.columns import Ordinal
        >>> Ordinal("grade", [1, 2, 5]).encode(pyarrow.array([5, 1]))
        array([2., 0.])
    """

    kind = "ordinal"

    def __init__(self, name: str, levels: Sequence[float], type: str = "int64") -> None:
        super().__init__(name, type, levels)
        if any(one >= other for one, other in zip(self.levels[:-1], self.levels[1:], strict=True)):
            raise ValueError(f"levels: expected rising numbers, got {shown(self.levels)}")

    @classmethod
    def infer(cls, name: str, values: pa.Array, rows: Rows | None = None) -> Self:
        """The different values; of whole numbers close together also those between."""
        check_number(name, values)
        if not pa.types.is_integer(values.type):
            read_floats(name, values)  # no infinities
        values = plain(values)
        distinct = values.unique().drop_null()
        if not len(distinct):
            raise TableError(f"column {name!r} is empty, it holds gaps only; leave it out")
        levels = distinct.take(pc.sort_indices(distinct)).to_pylist()
        if all(level == int(level) for level in levels) and levels[-1] - levels[0] < _FILLED:
            kind = type(levels[0])
            levels = [kind(level) for level in range(int(levels[0]), int(levels[-1]) + 1)]
        return cls(name, levels, str(values.type))

    def cut(self, value: Any, included: bool) -> tuple[float, bool]:
        number = read_number(self.name, value)
        side = bisect.bisect_right if included else bisect.bisect_left
        # as written: a float of 32 bits that is the nearest to 0.1 stands for 0.1
        narrow = {"float": np.float32, "halffloat": np.float16}.get(self.type_name, lambda level: level)
        place = side([Fraction(str(narrow(level))) for level in self.levels], number) - 1
        return (float(place), True) if place >= 0 else (-math.inf, False)

    def context(self, z: Float64) -> Float64:
        return (2 * z / max(1, len(self.levels) - 1) - 1)[:, None]

    def from_context(self, context: Float64) -> Float64:
        return np.round((context[:, 0] + 1) / 2 * max(1, len(self.levels) - 1))
