"""Questions to a model of a table, in the names and units of its columns."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from numpy.typing import NDArray

from anabranch.queries import Answer, Interval, QuestionError, ask, parse
from anabranch.queries.questions import Asked
from anabranch.tables.columns import Boolean, Categorical, Column, Continuous, Integer, Rounded
from anabranch.tables.columns.column import Float64
from anabranch.tables.frame import TableError
from anabranch.tables.schema import Schema


class SchemaColumns:
    """A schema's modelled columns, as `queries.Columns`.

    Args:
        schema: the columns.

    Example:
        >>> import pyarrow
        >>> from anabranch.tables import Schema
        >>> from anabranch.tables.questions import SchemaColumns
        >>> table = pyarrow.table({"rooms": [1, 2, 2, 3, 7], "heating": ["gas", "oil", "gas", "gas", "oil"]})
        >>> columns = SchemaColumns(Schema.infer(table))
        >>> columns.encode(1, "oil"), columns.interval(0, "<", "2.5") == columns.interval(0, "<=", "2")
        (1.0, True)
    """

    def __init__(self, schema: Schema) -> None:
        self.schema = schema
        self.names = list(schema.columns)
        self._parts = schema.parts

    def number(self, name: str) -> int:
        """The column of that name."""
        if name not in self.names:
            raise KeyError(name)
        return self.names.index(name)

    def encode(self, column: int, value: float | str) -> float:
        """A value of the column."""
        z = float(self._parts[column].encode(self._parts[column].read(value))[0])
        if np.isnan(z):
            raise TableError(f"column {self.names[column]!r}: expected a value, got a gap")
        return z

    def interval(self, column: int, relation: str, value: float | str) -> Interval:
        """The column's values on one side of any number or time, or at one of its values."""
        if relation in ("=", "!="):
            return Interval.of(relation, self.encode(column, value))
        z, lower = self._parts[column].cut(value, relation in ("<=", ">"))
        return Interval.of(("<=" if lower else "<") if relation[0] == "<" else (">" if lower else ">="), z)

    def decode(self, column: int, x: NDArray[np.float64]) -> NDArray[Any]:
        """Numbers, words, or times: those with a zone as its clocks show them."""
        return as_numpy(self._parts[column].decode(np.asarray(x, dtype=np.float64)))

    def levels(self, column: int) -> list[float] | None:
        """Of categories and truth values; what has an order has quantiles too."""
        part = self._parts[column]
        return [float(k) for k in range(len(part.levels))] if isinstance(part, (Boolean, Categorical)) else None

    def affine(self, column: int) -> tuple[float, float] | None:
        """Of real numbers and lattices that are not bent."""
        part = self._parts[column]
        if isinstance(part, Continuous) and part.straight:
            return part.loc, part.scale
        if isinstance(part, (Integer, Rounded)) and part.straight:
            unit = 10.0**-part.digits if isinstance(part, Rounded) else 1.0
            return unit * (part.origin + part.loc), unit * part.scale
        return None

    def log_det(self, column: int, x: float) -> float:
        """Of a continuous column's value; 0 where it has a probability."""
        return float(self._parts[column].log_det(np.array([x]))[0])


def ask_table(schema: Schema, density: Any, question: str, like: torch.Tensor | None, **options: Any) -> Answer:
    """Answer a question; what is given of the columns on which the density is conditioned becomes its context."""
    asked = Asked(question, parse(question))
    if not schema.given:
        return ask(density, asked, SchemaColumns(schema), **options)
    beside = tuple(one for one in asked.question.given if one.column.text in schema.given)
    own = {one.column.text: one.first for one in beside}
    for condition in beside:
        if condition.single is None:
            raise QuestionError(
                f"expected = for {condition.column.text!r}, on which the model is conditioned, got {condition.text}",
                asked.text,
                condition.column.position,
            )
    lacking = [name for name in schema.given if name not in own]
    if lacking:
        raise QuestionError(
            f"expected what is given of {lacking[0]!r} too, since the model is of the other columns given it: "
            f"| {lacking[0]} = ...",
            asked.text,
            len(asked.text),
        )
    pieces = []
    for part in schema.given_parts:
        one = own[part.name]
        try:
            pieces.append(part.context(part.encode(part.read(one.value.text))))
        except TableError as error:
            raise QuestionError(str(error), asked.text, one.value.position) from error
    rest = tuple(one for one in asked.question.given if one.column.text not in schema.given)
    context = torch.as_tensor(np.concatenate(pieces, axis=1)[0])
    context = context.to(torch.get_default_dtype()) if like is None else context.to(like)
    asked = Asked(asked.text, replace(asked.question, given=rest), beside)
    return ask(density, asked, SchemaColumns(schema), context=context, **options)


def as_numpy(values: pa.Array) -> NDArray[Any]:
    """Arrow values without gaps as numbers, words or NumPy's times."""
    kind = values.type
    if pa.types.is_time(kind):
        unit = kind.unit
        ticks = values.view(pa.int32() if pa.types.is_time32(kind) else pa.int64()).to_numpy(zero_copy_only=False)
        return cast("NDArray[Any]", ticks.astype(np.int64).astype(f"timedelta64[{unit}]"))
    if pa.types.is_timestamp(kind) and kind.tz is not None:
        values = pc.local_timestamp(values)
    if pa.types.is_decimal(kind):
        values = values.cast(pa.float64())
    found: NDArray[Any] = values.to_numpy(zero_copy_only=False)
    return found


def given_values(schema: Schema, values: dict[str, Any]) -> Float64:
    """The context (context_size,) of what is given, by name.

    Raises:
        TableError: a value is missing, or none that the column can hold.
    """
    lacking = [name for name in schema.given if values.get(name) is None]
    if lacking:
        raise TableError(f"column {lacking[0]!r}: expected its value, since the model's density is conditioned on it")
    return np.concatenate([_context(part, values[part.name]) for part in schema.given_parts])


def _context(part: Column, value: Any) -> Float64:
    return part.context(part.encode(part.read(value)))[0]
