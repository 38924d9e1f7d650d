"""Columns of categories."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from anabranch.tables.columns.column import Float64, Rows
from anabranch.tables.columns.levels import OfLevels, plain, shown
from anabranch.tables.frame import TableError
from anabranch.tables.types import is_text

_MOST_LEVELS = 20_000


class Categorical(OfLevels):
    """Categories without order, mostly text; the empty text is one too, and no gap.

    A density conditioned on the column gets one number for each category, one of them 1.

    Args:
        name: of the column.
        levels: the categories, text, whole numbers or others of the type.
        type: the Arrow type that `decode` gives back.

    Example:
        >>> import pyarrow
        >>> from anabranch.tables.columns import Categorical
        >>> cut = Categorical("cut", ["Fair", "Ideal"])
        >>> cut.encode(pyarrow.array(["Ideal", None, "Fair"]))
        array([ 1., nan,  0.])
    """

    kind = "categorical"

    def __init__(self, name: str, levels: Sequence[Any], type: str = "string") -> None:
        super().__init__(name, type, levels)
        self.context_size = len(self.levels)

    @classmethod
    def infer(cls, name: str, values: pa.Array, rows: Rows | None = None) -> Self:
        """The different values in their order. As many as 20,000 are taken: a head of the model for each.

        Raises:
            TableError: more, or gaps only.
        """
        values = plain(values)
        distinct = values.unique().drop_null()
        if not len(distinct):
            raise TableError(f"column {name!r} is empty, it holds gaps only; leave it out")
        if len(distinct) > _MOST_LEVELS:
            raise TableError(
                f"column {name!r} holds {len(distinct):,} different values, and as categories at most {_MOST_LEVELS:,} are "
                "taken; group the rare ones, or leave it out"
            )
        ordered = distinct.take(pc.sort_indices(distinct))
        return cls(name, ordered.to_pylist(), str(values.type))

    def context(self, z: Float64) -> Float64:
        return (z[:, None] == np.arange(len(self.levels))).astype(np.float64)

    def from_context(self, context: Float64) -> Float64:
        return context.argmax(axis=1).astype(np.float64)

    @property
    def description(self) -> str:
        what = "texts" if is_text(self.arrow_type) else "values"
        return f"{len(self.levels):,} {what}: {shown(self.levels)}"
