"""Columns of truth values."""

from __future__ import annotations

from typing import Self

import pyarrow as pa

from anabranch.tables.columns.column import Rows
from anabranch.tables.columns.levels import OfLevels
from anabranch.tables.frame import TableError


class Boolean(OfLevels):
    """True and false, each with a probability.

    Args:
        name: of the column.

    Example:
        >>> import pyarrow
        >>> from anabranch.tables.columns import Boolean
        >>> Boolean("smoker").encode(pyarrow.array([True, False, None]))
        array([ 1.,  0., nan])
    """

    kind = "boolean"

    def __init__(self, name: str) -> None:
        super().__init__(name, "bool", [False, True])

    @classmethod
    def infer(cls, name: str, values: pa.Array, rows: Rows | None = None) -> Self:
        if not pa.types.is_boolean(values.type):
            raise TableError(f"column {name!r} holds {values.type}, where true and false are expected")
        return cls(name)

    @property
    def description(self) -> str:
        return "true or false"
