"""Rows that show what the columns of a stream can hold: extremes, and every text for the first time."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from anabranch.tables.types import flat, is_number, is_text, is_time

# more different texts than this are no categories, and are refused when the schema is inferred
_MOST_TEXTS = 21_000
# and more different numbers than this are no levels
_MOST_LEVELS = 20


class Extremes:
    """Rows that hold the least and the largest of a column, or a text for the first time, as they pass."""

    def __init__(self) -> None:
        self.bounds: dict[tuple[str, str], tuple[Any, pa.Table]] = {}
        self.texts: dict[str, set[Any]] = {}
        self.first: list[pa.Table] = []

    def see(self, table: pa.Table) -> None:
        """Take note of the next rows."""
        new: set[int] = set()
        for name in table.column_names:
            values = flat(table.column(name))
            if is_text(values.type):
                new |= self._unseen(name, values, _MOST_TEXTS)
            elif is_number(values.type) or is_time(values.type):
                if not is_time(values.type):
                    new |= self._unseen(name, values, _MOST_LEVELS)
                self._bounds(name, values, table)
        if new:
            self.first.append(table.take(pa.array(sorted(new))))

    def _unseen(self, name: str, values: pa.Array, most: int) -> set[int]:
        """The first rows of values not seen before, as long as there are not more than so many."""
        seen = self.texts.setdefault(name, set())
        if len(seen) > most:
            return set()
        distinct = values.unique().drop_null().slice(0, most + 1)
        missing = [value for value in distinct if value.as_py() not in seen]
        seen.update(value.as_py() for value in missing)
        return {pc.index(values, value).as_py() for value in missing} - {-1}  # a NaN is found nowhere

    def _bounds(self, name: str, values: pa.Array, table: pa.Table) -> None:
        if pa.types.is_floating(values.type):
            values = pc.if_else(pc.is_nan(values), None, values)
        try:
            extremes = pc.min_max(values)
        except pa.ArrowNotImplementedError:
            return
        for end, better in (("min", pc.less), ("max", pc.greater)):
            value = extremes[end]
            if not value.is_valid:
                continue
            old = self.bounds.get((name, end))
            if old is None or better(value, old[0]).as_py():
                row = pc.index(values, value).as_py()
                # a copy of its own: a slice would keep the whole batch
                self.bounds[name, end] = value, table.take(pa.array([row]))

    def rows(self) -> list[pa.Table]:
        """The rows that show something, as tables; a row may be there more than once."""
        return [*(row for _, row in self.bounds.values()), *self.first]
