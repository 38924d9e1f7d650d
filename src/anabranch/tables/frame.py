"""Data frames of any library as Arrow tables."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from anabranch.tables.types import spelled_out


class TableError(ValueError):
    """Something in a table that stands in the way: a column, a row, or how many there are."""


def as_table(frame: Any) -> pa.Table:
    """Return `frame` as a `pyarrow.Table`, without a copy where that is possible.

    Args:
        frame: a data frame of pyarrow, pandas, polars or another library that narwhals reads; anything that has
            `__arrow_c_stream__`; or a 2-D NumPy array, whose columns are named x0, x1, ..., and whose masked cells are gaps.
            The index of a pandas frame is no column.

    Raises:
        ValueError: it is something else.
        TableError: it holds no rows, two columns have the same name, or one holds values of different types.

    Example:
        >>> import numpy, pandas
        >>> from anabranch.tables import as_table
        >>> as_table(pandas.DataFrame({"height": [1.7, 1.8]})).column_names
        ['height']
        >>> as_table(numpy.eye(2)).column_names
        ['x0', 'x1']
    """
    if isinstance(frame, pa.Table):
        return _checked(frame)
    if isinstance(frame, pa.RecordBatch):
        return _checked(pa.Table.from_batches([frame]))
    if isinstance(frame, np.ndarray):
        table = _of_array(frame)
    else:
        import narwhals  # noqa: PLC0415 (what is Arrow already does not need it)

        try:
            native = narwhals.from_native(frame, pass_through=True)
        except (narwhals.exceptions.NarwhalsError, ValueError) as error:  # a name that is there twice, for one
            raise _better(frame, error) from error
        if isinstance(native, narwhals.LazyFrame):
            native = native.collect()
        if isinstance(native, narwhals.DataFrame):
            table = _of_frame(frame, native)
        elif hasattr(frame, "__arrow_c_stream__"):
            table = pa.table(frame)
        else:
            raise ValueError(
                "table: expected a data frame (pandas, polars, pyarrow, ...) or a 2-D NumPy array, "
                f"got {type(frame).__name__}"
            )
    return _checked(table)


def _checked(table: pa.Table) -> pa.Table:
    table = without_index(table)
    check_names(table)
    for i, name in enumerate(table.column_names):
        column = table.column(i)
        plain = spelled_out(column)
        table = table if plain is column else table.set_column(i, name, plain)
    return table


def _of_array(x: NDArray[Any]) -> pa.Table:
    if x.ndim != 2:
        raise ValueError(f"table: expected an array of shape (rows, columns), got shape {x.shape}")
    names = [f"x{i}" for i in range(x.shape[1])]
    arrays = []
    for name, values, mask in zip(names, np.asarray(x).T, np.ma.getmaskarray(x).T, strict=True):
        if values.dtype.kind == "f":  # Arrow knows no long double and no foreign byte order; NaN is a gap
            wide = values.astype(np.float64 if values.dtype.itemsize > 8 else values.dtype.newbyteorder("="))
            arrays.append(pa.array(wide, mask=mask | np.isnan(wide)))
        elif values.dtype.kind in "iub":
            arrays.append(pa.array(values.astype(values.dtype.newbyteorder("=")), mask=mask))
        else:
            arrays.append(_array(name, [None if gap else v for v, gap in zip(values.tolist(), mask, strict=True)]))
    return pa.Table.from_arrays(arrays, names=names)


def _of_frame(frame: Any, native: Any) -> pa.Table:
    import narwhals  # noqa: PLC0415 (loaded already)

    if native.implementation.is_pandas():
        frame = _plain_pandas(frame)
        native = narwhals.from_native(frame)
    try:
        return native.to_arrow()
    except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
        raise _better(frame, error) from error


def _plain_pandas(frame: Any) -> Any:
    """A frame of pandas with words for names, and no sparse columns, which Arrow does not know."""
    if not all(isinstance(name, str) for name in frame.columns):
        frame = frame.set_axis([str(name) for name in frame.columns], axis=1)
    sparse = {name: kind.subtype for name, kind in frame.dtypes.items() if type(kind).__name__ == "SparseDtype"}
    return frame.astype(sparse) if sparse else frame


def _better(frame: Any, error: Exception) -> TableError:
    """What is wrong with a frame that Arrow does not take, with the column."""
    names = [str(name) for name in getattr(frame, "columns", [])]
    for name in names:
        if names.count(name) > 1:
            return TableError(
                f"column {name!r} is there {names.count(name)} times; give every column a name of its own"
            )
    for place, name in enumerate(names):
        try:
            _array(name, _listed(frame.iloc[:, place]) if hasattr(frame, "iloc") else frame[name].to_list())
        except TableError as found:
            return found
    return TableError(f"the table cannot be read ({' '.join(str(error).split())})")


def _listed(column: Any) -> list[Any]:
    """The values of a pandas column, gaps of all its kinds as None."""
    return [None if gap else value for value, gap in zip(column.tolist(), column.isna(), strict=True)]


def _array(name: str, values: list[Any]) -> pa.Array:
    """Values of one type as an Arrow array; None and NaN are gaps."""
    first: tuple[int, Any] | None = None
    for row, value in enumerate(values):
        if value is None or (isinstance(value, float) and np.isnan(value)):
            continue
        first = (row, value) if first is None else first
        numbers = all(isinstance(v, (int, float, np.number)) and not isinstance(v, bool) for v in (value, first[1]))
        if type(value) is not type(first[1]) and not numbers:
            raise TableError(
                f"column {name!r} holds values of different types, {type(first[1]).__name__} ({first[1]!r} in row "
                f"{first[0]}) and {type(value).__name__} ({value!r} in row {row}); make them of one type"
            )
    try:
        return pa.array(values, from_pandas=True)
    except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
        what = type(first[1]).__name__ if first else "nothing"
        raise TableError(
            f"column {name!r} holds {what}, which no column can be made of ({' '.join(str(error).split())})"
        ) from error


def without_index(table: pa.Table) -> pa.Table:
    """The table without the columns of which a pandas frame noted that they are its index, also in a file that it wrote."""
    return table.drop_columns(index_of_pandas(table.schema))


def index_of_pandas(schema: pa.Schema) -> list[str]:
    """The columns of which a pandas frame notes that they are its index, and that are there."""
    notes = json.loads((schema.metadata or {}).get(b"pandas", b"{}"))
    # an index that is a range is noted as one, and is no column
    return [name for name in notes.get("index_columns", []) if isinstance(name, str) and name in schema.names]


def check_names(table: pa.Table) -> None:
    """Raise TableError if two columns have the same name, or there are no rows."""
    check_distinct_names(table)
    if table.num_rows == 0 or table.num_columns == 0:
        raise TableError("the table holds no rows; give one that holds some")


def check_distinct_names(table: pa.Table) -> None:
    """Raise TableError if two columns have the same name."""
    seen: set[str] = set()
    for name in table.column_names:
        if name in seen:
            raise TableError(f"column {name!r} is there twice; give every column a name of its own")
        seen.add(name)
