"""Data frames whose columns are of any kind as a density sees them: by a schema."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from numpy.typing import NDArray
from torch import Tensor

from anabranch.estimators.encoding import Encoding, Float64
from anabranch.estimators.frames import Frames
from anabranch.families import Family
from anabranch.queries.impute_any_order import Middle
from anabranch.tables import Column, Schema, TableError
from anabranch.tables.best import middle_of
from anabranch.tables.columns import Boolean, Categorical
from anabranch.tables.types import is_number, is_text

# of more declared categories those are taken that rows have, as of text
_MOST_DECLARED = 1_000


class SchemaEncoding(Encoding):
    r"""Columns of any kind by `tables.Schema`: each value one number, of the family that its column has.

    What kind a column is of is read off the rows of the fit (`tables.Schema.infer`). Categories that a frame declares (a
    pandas categorical, a polars enumeration, an Arrow dictionary; up to 1,000) are all known, whether or not a row has them,
    and so are both truth values. A number or text that is in every row has probability 1.

    Args:
        schema: of the columns.
        frames: the kind of the frames.

    Example:
        >>> import pandas
        >>> from anabranch.estimators.schema_encoding import SchemaEncoding
        >>> frame = pandas.DataFrame({"carat": [0.5, None, 1.25], "cut": ["Fair", "Ideal", "Fair"]})
        >>> encoding = SchemaEncoding.of(frame)
        >>> encoding.read(frame)[:, 1]
        array([0., 1., 0.])
        >>> encoding.write(encoding.read(frame)).equals(frame)
        True
    """

    def __init__(self, schema: Schema, frames: Frames) -> None:
        super().__init__()
        self.schema = schema
        self.frames = frames

    @classmethod
    def of(
        cls,
        frame: Any,
        rows: NDArray[np.bool_] | None = None,
        kinds: Mapping[str, str | Column] | None = None,
    ) -> Self:
        """The encoding of a frame.

        Args:
            frame: of pandas, polars or pyarrow.
            rows: (rows), which of them to read; all by default.
            kinds: of some columns, by name, in place of what their values say.

        Raises:
            TableError: a column of no kind: gaps only, mixed values, names of rows; it is named. Every column is constant.
        """
        frames = Frames.of(frame)
        table = frames.table(frame)
        table = table if rows is None else table.filter(pa.array(rows))
        known = {
            name: kind for name in frames.columns if (kind := _known(name, table.column(name), frames)) is not None
        }
        schema = Schema.infer(table, kinds={**known, **(kinds or {})})
        if all(isinstance(part, Categorical) and len(part.levels) == 1 for part in schema.parts):
            raise TableError(
                f"X: expected a column that changes, got one and the same row in all {table.num_rows} samples"
            )
        return cls(schema, frames)

    def read(self, rows: Any) -> Float64:
        """x (rows, columns) of a frame, NaN for gaps.

        Raises:
            TableError: a value that its column cannot hold, such as a category that was not fitted; it names both.
        """
        return self.schema.encode(self.frames.table(rows))[0]

    def encode(self, x: Float64) -> Float64:
        """x, which is encoded already."""
        return x

    def log_det(self, z: Float64) -> Float64:
        """log |dz/dx| (rows) over the columns that have a density."""
        return self.schema.log_det(z)

    def decode(self, z: Float64) -> Float64:
        """z."""
        return z

    def write(self, x: Float64, like: Any = None, gaps: NDArray[np.bool_] | None = None) -> Any:
        """A frame of the library and types of the fit's."""
        table = self.schema.decode(x)
        if like is None or gaps is None:
            return self.frames.frame(table)
        own = self.frames.table(like)
        columns = []
        for i, name in enumerate(table.column_names):
            values = own.column(name)
            if gaps[:, i].any():
                filled = table.column(name)
                values = pc.if_else(pa.array(gaps[:, i]), filled, values.cast(filled.type))
            columns.append(values)
        return self.frames.frame(pa.table(columns, names=table.column_names), getattr(like, "index", None))

    def off_constant(self, x: Float64) -> NDArray[np.bool_]:
        """No row: `read` refuses another value in a column that never changed."""
        return np.zeros(len(x), dtype=bool)

    def unit(self, names: Sequence[str]) -> str:
        """The schema's."""
        del names
        return self.schema.unit

    def families(self) -> list[Family] | None:
        """The schema's, new ones."""
        return self.schema.families()

    def middles(self, strategy: str) -> list[Middle | None] | None:
        """The mean or median of numbers and dates, in the column's own unit; the most probable of categories."""
        return [middle_of(part, strategy) for part in self.schema.parts]

    def tensor(self, z: Float64) -> Tensor:
        """z in float32, in which values beside an atom stay beside it."""
        return self.schema.tensor(z, torch.float32)


def _known(name: str, column: Any, frames: Frames) -> Column | None:
    """The column of which the frame says what it can hold, or that holds one value alone; None for the others."""
    levels = frames.levels(name)
    if 0 < len(levels) <= _MOST_DECLARED:
        return Categorical(name, levels, frames.categories[name]["type"])
    if pa.types.is_boolean(column.type):
        return None if column.null_count == len(column) else Boolean(name)
    if not (is_text(column.type) or is_number(column.type)):
        return None
    seen = column.unique().drop_null()
    if pa.types.is_floating(seen.type):
        seen = pc.filter(seen, pc.invert(pc.is_nan(seen)))
    if len(seen) == 1 and isinstance(seen[0].as_py(), (str, int, float)):
        return Categorical(name, seen.to_pylist(), str(seen.type))
    return None
