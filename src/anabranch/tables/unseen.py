"""Values that a table's model was not fitted to, and what is made of them."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from anabranch.arrays import LARGEST_EXACT
from anabranch.checks import one_of
from anabranch.tables.columns import Column, TableWarning
from anabranch.tables.columns.reading import UnseenError
from anabranch.tables.schema import Schema
from anabranch.tables.types import flat, is_number, is_text

MODES = ("error", "null", "-inf")


@dataclass(frozen=True)
class Unseen:
    """Which values of a table its model's columns cannot hold.

    Categories and levels that were not fitted, numbers beyond a bound or of more decimals, words among numbers.

    Attributes:
        columns: of each column that has any, (rows), which of its values.
        rows: how many rows the table has.
    """

    columns: Mapping[str, NDArray[np.bool_]]
    rows: int

    @property
    def any_in_row(self) -> NDArray[np.bool_]:
        """Which rows (rows) have one."""
        return np.any([np.zeros(self.rows, dtype=bool), *self.columns.values()], axis=0)

    def cells(self, names: tuple[str, ...]) -> NDArray[np.bool_]:
        """Which cells (rows, columns) of these columns are."""
        none = np.zeros(self.rows, dtype=bool)
        return np.stack([self.columns.get(name, none) for name in names], axis=1)


def set_aside(schema: Schema, table: pa.Table, mode: str) -> tuple[pa.Table, Unseen]:
    """A table without the values that its model's columns cannot hold, and which these were.

    Args:
        schema: the columns.
        table: with them.
        mode: "error" leaves them there, for `Schema.encode` to refuse; "null" puts gaps in their place; so does "-inf", for
            rows that are impossible, but in a given column, which gets another of its values there.

    Raises:
        ValueError: another mode.
        UnseenError: a given column holds one with "null", or nothing else.

    Warns:
        TableWarning: there are some: how many in each column, with the first of them.
    """
    if one_of("unseen", mode, MODES) == "error":
        return table, Unseen({}, table.num_rows)
    found: dict[str, NDArray[np.bool_]] = {}
    first: list[str] = []
    for part in (*schema.parts, *schema.given_parts):
        if part.name not in table.column_names:
            continue  # `encode` says so
        values = flat(table.column(part.name))
        known, new, error = _known(part, values)
        if error is None:
            continue
        if part.name in schema.given:
            if mode == "null" or known.null_count == len(known):
                raise error
            known = known.fill_null(pc.drop_null(known)[0])
        found[part.name] = new
        row = int(np.flatnonzero(new)[0])
        count = int(new.sum())
        first.append(f"{count:,} in column {part.name!r} ({values[row].as_py()!r} in row {row})")
        table = table.set_column(table.column_names.index(part.name), part.name, known)
    if found:
        follows = "they are taken for gaps" if mode == "null" else "their rows are given probability 0"
        warnings.warn(
            f"values that the model was not fitted to: {', '.join(first)}; rows count from 0; {follows}",
            TableWarning,
            stacklevel=4,
        )
    return table, Unseen(found, table.num_rows)


def _known(part: Column, values: pa.Array) -> tuple[pa.Array, NDArray[np.bool_], UnseenError | None]:
    """Values with gaps for those the column cannot hold, which these are, and what is wrong with the first."""
    new = np.zeros(len(values), dtype=bool)
    error: UnseenError | None = None
    if is_number(part.arrow_type) and is_text(values.type):
        values, new = _numbers(values)
        if new.any():
            row = int(np.flatnonzero(new)[0])
            error = UnseenError(f"column {part.name!r} holds text in row {row}, where numbers are expected", new)
    # each round finds what one check refuses
    while True:
        try:
            part.encode(values.cast(part.arrow_type) if pa.types.is_null(values.type) else values)
        except UnseenError as found:
            error = error or found
            new = new | found.unseen
            values = pc.if_else(pa.array(found.unseen), pa.scalar(None, values.type), values)
        else:
            return values, new, error


def _numbers(words: pa.Array) -> tuple[pa.Array, NDArray[np.bool_]]:
    """The numbers that words are, and which are none; the words, where a number is not one that floats hold."""
    numbers: list[float | None] = []
    for word in words.to_pylist():
        try:
            numbers.append(None if word is None else float(word))
        except ValueError:
            numbers.append(None)
    read = pa.array(numbers, pa.float64())
    if bool(pc.any(pc.greater(pc.abs(read), float(LARGEST_EXACT))).as_py()):
        return words, np.zeros(len(words), dtype=bool)
    return read, pc.and_(words.is_valid(), read.is_null()).to_numpy(zero_copy_only=False)
