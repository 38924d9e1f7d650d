"""Which columns of a table are modelled, and which are given."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from anabranch.tables.frame import TableError


def choose(table: pa.Table, columns: Sequence[str] | None, given: Sequence[str]) -> tuple[list[str], list[str]]:
    """The columns to model, all that are not given if none are named, and the given ones.

    Raises:
        TableError: a column that is missing, or named twice; none to model.
        ValueError: a string in place of a list of names.
    """
    given = _read_names("given", given)
    everything = [name for name in table.column_names if name not in given]
    chosen = everything if columns is None else _read_names("columns", columns)
    if not chosen:
        raise TableError("columns: expected some column to model, got none besides those given")
    for name in chosen:
        if name in given or chosen.count(name) > 1:
            where = "in both columns and given" if name in given else "named twice in columns"
            raise TableError(f"column {name!r} is {where}; name it once")
    check_present(table, [*chosen, *given], "but was asked for")
    return chosen, given


def check_present(table: pa.Table, names: Sequence[str], why: str) -> None:
    """Raise TableError if the table lacks some of these columns."""
    missing = [name for name in names if name not in table.column_names]
    if missing:
        have = ", ".join(map(repr, table.column_names[:20])) + (", ..." if table.num_columns > 20 else "")
        some = f"column {missing[0]!r}" if len(missing) == 1 else f"columns {', '.join(map(repr, missing))}"
        raise TableError(f"the table has no {some}, {why}; it has {have}")


def _read_names(name: str, names: Sequence[str]) -> list[str]:
    # a string is a sequence of names too, each of one letter
    if isinstance(names, str):
        raise ValueError(f"{name}: expected a list of names, got the string {names!r}; give [{names!r}]")
    return list(names)
