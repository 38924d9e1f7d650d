"""Columns of whole numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from anabranch.arrays import LARGEST_EXACT
from anabranch.families.curve import Tail
from anabranch.tables.columns.column import Rows
from anabranch.tables.columns.ends import Bounds
from anabranch.tables.columns.lattice_shape import Shape
from anabranch.tables.columns.reading import check_number, read_floats, refuse
from anabranch.tables.columns.stepped import Stepped
from anabranch.tables.types import type_of


class Integer(Stepped):
    """Whole numbers, of an integer type of any width or whole floats, each with a probability.

    Args:
        name: of the column.
        origin, loc, scale, bend: z = (n - origin - loc) / scale, bent as in `Continuous`.
        type: the Arrow type that `decode` gives back.
        low, high: the least and largest there can be, None for what the type holds.
        atoms: numbers that have a probability of their own, beside what the lattice gives them.
        low_tail, high_tail, widest: as in `Continuous`.

    Example:
        >>> import pyarrow
        >>> from anabranch.tables.columns import Integer
        >>> rooms = Integer("rooms", origin=3, scale=2.0, low=0, type="int8")
        >>> rooms.decode(rooms.encode(pyarrow.array([0, 5, None], "int8"))).to_pylist()
        [0, 5, None]
    """

    kind = "integer"

    def __init__(
        self,
        name: str,
        origin: int = 0,
        loc: float = 0.0,
        scale: float = 1.0,
        bend: float = 0.0,
        type: str = "int64",
        low: int | None = None,
        high: int | None = None,
        atoms: Sequence[int] = (),
        low_tail: Tail | None = None,
        high_tail: Tail | None = None,
        widest: float | None = None,
    ) -> None:
        super().__init__(name, type, origin, loc, scale, bend, 1, low, high, atoms, low_tail, high_tail, widest)
        if not (pa.types.is_integer(self.arrow_type) or pa.types.is_floating(self.arrow_type)):
            raise ValueError(f"type: expected an integer or floating type, got {type!r}")

    @classmethod
    def infer(cls, name: str, values: pa.Array, rows: Rows | None = None, ends: Bounds | None = None) -> Self:
        """With these ends, or those that the values show; then never below 0 if none of the values is."""
        n, gaps = _read(name, values)
        kind = str(values.type) if not pa.types.is_decimal(values.type) else "double"
        stated = None if ends is None else cls(name, type=kind)._stated(ends)
        return cls(name, type=kind, **Shape(name, n, gaps, rows, ends=stated, values=values).options)

    @property
    def _steps_of(self) -> str:
        return "whole numbers"

    def _shown(self, n: int) -> str:
        return str(n)

    def _limits(self) -> tuple[int, int]:
        if pa.types.is_integer(self.arrow_type):
            limits = np.iinfo(self.arrow_type.to_pandas_dtype())
            return int(limits.min), int(limits.max)
        return -LARGEST_EXACT, LARGEST_EXACT

    def _wholes(self, values: pa.Array) -> tuple[NDArray[np.integer], NDArray[np.bool_]]:
        return _read(self.name, values)

    def _values(self, n: NDArray[np.integer], gaps: NDArray[np.bool_]) -> pa.Array:
        dtype = self.arrow_type.to_pandas_dtype()
        if self.type_name == "halffloat":
            return pa.array(n.astype(np.float64), mask=gaps).cast(pa.float16(), safe=False)
        return pa.array(n.astype(dtype), type_of(self.type_name), mask=gaps)


def _read(name: str, values: pa.Array) -> tuple[NDArray[np.integer], NDArray[np.bool_]]:
    """Whole numbers as int64, or uint64 where that is their type, and which are gaps."""
    check_number(name, values)
    if pa.types.is_integer(values.type):
        gaps = values.is_null().to_numpy(zero_copy_only=False)
        wide = np.uint64 if pa.types.is_uint64(values.type) else np.int64
        filled = values.fill_null(0).to_numpy(zero_copy_only=False).astype(wide)
        return filled, gaps
    x = read_floats(name, values)
    gaps = np.isnan(x)
    with np.errstate(invalid="ignore"):
        refuse(
            name, "whole numbers", values, ~gaps & (x != np.round(x)), "round it, or take it as 'continuous' (kinds=)"
        )
        refuse(name, "whole numbers up to 2^53", values, np.abs(x) > LARGEST_EXACT, "take it as 'continuous' (kinds=)")
    return np.where(gaps, 0.0, x).astype(np.int64), gaps
