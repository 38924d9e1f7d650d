"""Columns of numbers that were rounded to some decimals."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction
from typing import Any, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from anabranch.arrays import LARGEST_EXACT
from anabranch.checks import positive_int
from anabranch.families.curve import Tail
from anabranch.tables.columns.column import Rows
from anabranch.tables.columns.ends import Bounds
from anabranch.tables.columns.lattice_shape import Shape, digits_of
from anabranch.tables.columns.reading import check_number, read_floats, refuse
from anabranch.tables.columns.stepped import Stepped
from anabranch.tables.frame import TableError


class Rounded(Stepped):
    """Numbers n / 10^digits with whole n, each with a probability: measurements written down to so many decimals.

    Args:
        name: of the column.
        digits: how many decimals.
        origin, loc, scale, bend: z = (n - origin - loc) / scale, bent as in `Continuous`.
        type: "double", "float" or a decimal type, what `decode` gives back.
        low, high: the least and largest n there can be, None for what the type holds.
        atoms: n that have a probability of their own, beside what the lattice gives them.
        low_tail, high_tail, widest: as in `Continuous`.

    Example:
        >>> import pyarrow
        >>> from anabranch.tables.columns import Rounded
        >>> bill = Rounded("bill", digits=1, origin=400, scale=50.0)
        >>> bill.decode(bill.encode(pyarrow.array([39.1, None]))).to_pylist()
        [39.1, None]
    """

    kind = "rounded"

    def __init__(
        self,
        name: str,
        digits: int,
        origin: int = 0,
        loc: float = 0.0,
        scale: float = 1.0,
        bend: float = 0.0,
        type: str = "double",
        low: int | None = None,
        high: int | None = None,
        atoms: Sequence[int] = (),
        low_tail: Tail | None = None,
        high_tail: Tail | None = None,
        widest: float | None = None,
    ) -> None:
        super().__init__(name, type, origin, loc, scale, bend, 1, low, high, atoms, low_tail, high_tail, widest)
        self.digits = positive_int("digits", digits, least=0)
        if not (self.type_name in ("double", "float") or pa.types.is_decimal(self.arrow_type)):
            raise ValueError(f"type: expected 'double', 'float' or a decimal type, got {type!r}")

    @classmethod
    def infer(cls, name: str, values: pa.Array, rows: Rows | None = None, ends: Bounds | None = None) -> Self:
        """With as many decimals as the values have, 6 at most, and ends as `Integer`."""
        check_number(name, values)
        if pa.types.is_decimal(values.type):
            digits: int | None = max(0, values.type.scale)
        else:
            x = read_floats(name, values)
            digits = digits_of(x[~np.isnan(x)], single=pa.types.is_float32(values.type))
        if digits is None:
            raise TableError(
                f"column {name!r}: expected numbers of at most 6 decimals, got others; take it as 'continuous'"
            )
        kind = str(values.type) if pa.types.is_decimal(values.type) or pa.types.is_float32(values.type) else "double"
        column = cls(name, digits, type=kind)
        n, gaps = column._wholes(values)
        stated = None if ends is None else column._stated(ends)
        shape = Shape(name, n, gaps, rows, ends=stated, unit=10.0**-digits, values=values)
        return cls(name, digits, type=kind, **shape.options)

    @property
    def _steps_of(self) -> str:
        return f"numbers of {self.digits} decimal{'s' * (self.digits != 1)}"

    def _shown(self, n: int) -> str:
        return f"{n / 10**self.digits:.{self.digits}f}"

    def _number(self, value: Any) -> Fraction:
        return super()._number(value) * 10**self.digits

    def _limits(self) -> tuple[int, int]:
        if pa.types.is_decimal(self.arrow_type):
            most = 10 ** min(self.arrow_type.precision, 18) - 1
            return -most, most
        return -LARGEST_EXACT, LARGEST_EXACT

    def _wholes(self, values: pa.Array) -> tuple[NDArray[np.integer], NDArray[np.bool_]]:
        check_number(self.name, values)
        remedy = "round it, or take it as 'continuous' (kinds=)"
        if pa.types.is_decimal(values.type):
            gaps = values.is_null().to_numpy(zero_copy_only=False)
            scaled = [0 if value is None else value.scaleb(self.digits) for value in values.to_pylist()]
            off = np.array([value != int(value) or abs(value) >= 2**62 for value in scaled], dtype=bool)
            refuse(self.name, self._steps_of, values, off, remedy)
            return np.array([int(value) for value in scaled], dtype=np.int64), gaps
        x = read_floats(self.name, values)
        gaps = np.isnan(x)
        ten = 10.0**self.digits
        n = np.round(np.where(gaps, 0.0, x) * ten)
        again = n / ten
        # a float of 32 bits is the one nearest to the decimal, whichever of the two types the table has now
        same = (again == x) | (again.astype(np.float32) == x)
        refuse(self.name, self._steps_of, values, ~gaps & ~(same & (np.abs(n) <= LARGEST_EXACT)), remedy)
        return n.astype(np.int64), gaps

    def _values(self, n: NDArray[np.integer], gaps: NDArray[np.bool_]) -> pa.Array:
        if pa.types.is_decimal(self.arrow_type):
            pairs = zip(n.tolist(), gaps.tolist(), strict=True)
            exact = [None if gap else Decimal(value).scaleb(-self.digits) for value, gap in pairs]
            return pa.array(exact, self.arrow_type)
        return pa.array(n / 10.0**self.digits, mask=gaps).cast(self.arrow_type, safe=False)
