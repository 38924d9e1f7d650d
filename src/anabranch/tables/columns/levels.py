"""Columns of levels: what categories, ordered numbers and truth values have in common."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from anabranch.families import Family, Levels
from anabranch.tables.columns.column import Column, Float64
from anabranch.tables.columns.reading import UnseenError
from anabranch.tables.frame import TableError
from anabranch.tables.types import flat, is_text

# levels of which one is looked for that is nearly what came
_COMPARED = 1000


class OfLevels(Column):
    """One of some values, each with a probability: z is its number, 0, 1, ...

    Args:
        name: of the column.
        type: the Arrow type that `decode` gives back.
        levels: the values.
    """

    discrete = True

    def __init__(self, name: str, type: str, levels: Sequence[Any]) -> None:
        super().__init__(name, type)
        self.levels = list(levels)
        self._set = pa.array(self.levels, self.arrow_type)
        if not len(self._set) or self._set.null_count or len(self._set.unique()) < len(self._set):
            raise ValueError(f"levels: expected some, different from each other and no gaps, got {shown(self.levels)}")

    def encode(self, values: pa.Array) -> Float64:
        values = plain(flat(values))
        own = self._cast(values)
        found = pc.index_in(own, value_set=self._set)
        unseen = pc.and_(own.is_valid(), found.is_null()).to_numpy(zero_copy_only=False)
        if unseen.any():
            self._refuse(values, unseen)
        return np.array(found.cast(pa.float64()).fill_null(np.nan))

    def decode(self, z: Float64) -> pa.Array:
        gaps = np.isnan(z)
        number = np.clip(np.round(np.where(gaps, 0.0, z)), 0, len(self.levels) - 1).astype(np.int64)
        return self._set.take(pa.array(number, mask=gaps))

    def log_det(self, z: Float64) -> Float64:
        return np.zeros_like(z)

    def family(self) -> Family:
        return Levels(len(self.levels))

    @property
    def description(self) -> str:
        return f"{len(self.levels):,} levels: {shown(self.levels)}"

    def _cast(self, values: pa.Array) -> pa.Array:
        if values.type == self.arrow_type or pa.types.is_null(values.type):
            return values.cast(self.arrow_type)
        same = is_text(values.type) == is_text(self.arrow_type)
        boolean = pa.types.is_boolean(values.type) or pa.types.is_boolean(self.arrow_type)
        if same and not boolean:
            try:
                # floats of 32 bits and the 64-bit ones that were written of them are the same level
                return values.cast(self.arrow_type, safe=not pa.types.is_float32(self.arrow_type))
            except pa.ArrowException:
                # some value that the type does not hold is no level: find it below
                whole = self._set.cast(values.type, safe=False)
                self._refuse(values, pc.and_(values.is_valid(), pc.invert(pc.is_in(values, whole))).to_numpy(False))
        raise TableError(
            f"column {self.name!r}: expected values of type {self.type_name}, got {values.type}; convert them"
        )

    def _refuse(self, values: pa.Array, unseen: Any) -> None:
        rows = np.flatnonzero(unseen)
        value = values[int(rows[0])].as_py()
        where = f" in row {rows[0]} (rows count from 0; {len(rows)} of {len(values)} rows)" * (len(values) > 1)
        near = difflib.get_close_matches(str(value), [str(level) for level in self.levels[:_COMPARED]], n=1)
        meant = f"; did you mean {near[0]!r}?" if near else ""
        raise UnseenError(
            f"column {self.name!r}: {value!r}{where} is none of the {len(self.levels):,} values that were fitted "
            f"({shown(self.levels)}); correct it, leave a gap (null) there, or fit to rows that have it{meant}",
            unseen,
        )


def plain(values: pa.Array) -> pa.Array:
    """Values of which equal ones are equal: NaN as a gap, -0.0 as 0.0, floats of 16 bits as of 32, which Arrow can sort."""
    if not pa.types.is_floating(values.type):
        return values
    values = values.cast(pa.float32()) if pa.types.is_float16(values.type) else values
    return pc.add(pc.if_else(pc.is_nan(values), None, values), pa.scalar(0.0, values.type))


def shown(levels: Sequence[Any], most: int = 5) -> str:
    """Levels in a few words."""
    words = ", ".join(repr(level)[:40] if isinstance(level, str) else str(level) for level in levels[:most])
    return words + (", ..." if len(levels) > most else "")
