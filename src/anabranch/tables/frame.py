"""Data frames of any library as Arrow tables."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa


class TableError(ValueError):
    """Something in a table that stands in the way: a column, a row, or how many there are."""


def as_table(frame: Any) -> pa.Table:
    """Return `frame` as a `pyarrow.Table`, without a copy where that is possible.

    Args:
        frame: a `pyarrow.Table`, or anything that has `__arrow_c_stream__`: a pandas, polars, duckdb, ... frame. The index
            of a pandas frame is no column.

    Raises:
        ValueError: it is something else.
        TableError: it holds no rows, or two columns have the same name.

    Example:
        >>> import pandas
        >>> from anabranch.tables import as_table
        >>> as_table(pandas.DataFrame({"height": [1.7, 1.8]})).column_names
        ['height']
    """
    if isinstance(frame, pa.Table):
        table = frame
    elif hasattr(frame, "__arrow_c_stream__"):
        table = pa.table(frame)
        table = table.drop_columns(_index_of_pandas(table.schema))
    else:
        raise ValueError(
            f"table: expected a pyarrow table, or a data frame that Arrow can read, got {type(frame).__name__}"
        )
    check_names(table)
    return table


def _index_of_pandas(schema: pa.Schema) -> list[str]:
    """The columns of which a pandas frame notes that they are its index."""
    notes = json.loads((schema.metadata or {}).get(b"pandas", b"{}"))
    # an index that is a range is noted as one, and is no column
    return [name for name in notes.get("index_columns", []) if isinstance(name, str)]


def check_names(table: pa.Table) -> None:
    """Raise TableError if two columns have the same name, or there are no rows."""
    seen: set[str] = set()
    for name in table.column_names:
        if name in seen:
            raise TableError(f"column {name!r} is there twice; give every column a name of its own")
        seen.add(name)
    if table.num_rows == 0 or table.num_columns == 0:
        raise TableError("the table holds no rows; give one that holds some")
