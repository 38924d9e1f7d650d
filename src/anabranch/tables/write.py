"""Writing tables to files, whole or not at all."""

from __future__ import annotations

import csv
import gzip
import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from anabranch.atomic import replacing
from anabranch.tables.formats import table_format
from anabranch.tables.formulas import harmless
from anabranch.tables.sheet import Sheet, clock
from anabranch.tables.types import flat, is_text, type_under


def write_table(
    table: pa.Table,
    path: str | os.PathLike[str],
    *,
    sheet: Sheet | None = None,
    rows: pa.Array | None = None,
    escape_formulas: bool = False,
) -> None:
    """Write a table to a file, in the format that the end of its name says; see `read_table`.

    The file appears whole or not at all, and an old file of that name stays until then. NumPy files hold one type for all
    columns, and `.npy` none of their names.

    Args:
        table: what to write.
        path: of the file.
        sheet: of `read_sheet`, the CSV file of which the table was made: a CSV file is then written in the same way, and its
            cells whose values are as they were as they were written.
        rows: (rows), of which rows of that file; None for the same.
        escape_formulas: in CSV files, whether to put an apostrophe before texts that a spreadsheet would run, which begin
            with = + - or @.

    Raises:
        ValueError: the name ends like no known format, or the format cannot hold some column.
        FileNotFoundError: the folder does not exist.

    Example:
        >>> import pathlib, tempfile
        >>> import pyarrow
        >>> from anabranch.tables import read_table, write_table
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "rows.npz"
        >>> write_table(pyarrow.table({"a": [1.5, 2.5]}), path)
        >>> read_table(path).to_pydict()
        {'a': [1.5, 2.5]}
    """
    kind = table_format(path)
    with replacing(path) as temporary:
        try:
            if kind in ("csv", "csv.gz"):
                opened = temporary.open("wb") if kind == "csv" else _compressed(temporary)
                with opened as stream:
                    write_csv(table, stream, sheet, rows, escape_formulas)
            else:
                _WRITERS[kind](table, temporary)
        except pa.ArrowException as error:
            raise ValueError(f"{path}: {' '.join(str(error).split())}; choose another format") from error


def write_csv(
    table: pa.Table,
    stream: IO[bytes],
    sheet: Sheet | None = None,
    rows: pa.Array | None = None,
    escape_formulas: bool = False,
) -> None:
    """Write a table as CSV, with a line of column names, to an open stream.

    Durations, which CSV does not know, become text such as 1:30:00 or -0:00:02.5. The other arguments are those of
    `write_table`.
    """
    from pyarrow import csv as arrow_csv  # noqa: PLC0415 (each writer loads its own format)

    if sheet is not None:
        sheet.write(table, stream, rows, escape_formulas)
        return
    # Arrow puts every name in quotes, needed or not
    names = io.StringIO()
    words = pa.array(table.column_names, pa.string())
    csv.writer(names, lineterminator="\n").writerow((harmless(words) if escape_formulas else words).to_pylist())
    stream.write(names.getvalue().encode())
    for i, field in enumerate(table.schema):
        values = table.column(i)
        if pa.types.is_duration(field.type):
            values = clock(values)
        elif escape_formulas and is_text(type_under(field.type)):
            values = harmless(flat(values).cast(pa.string()))
        table = table.set_column(i, field.name, values)
    gaps_at_end = _gaps_at_end(table) if table.num_columns == 1 else 0
    some = table.slice(0, table.num_rows - gaps_at_end)
    arrow_csv.write_csv(some, stream, arrow_csv.WriteOptions(include_header=False, quoting_style="needed"))
    # blank lines at the end are no rows
    stream.write(b"NA\n" * gaps_at_end)


def _gaps_at_end(table: pa.Table) -> int:
    seen = pc.indices_nonzero(table.column(0).is_valid())
    return table.num_rows - (seen[-1].as_py() + 1 if len(seen) else 0)


@contextmanager
def _compressed(file: Path) -> Iterator[IO[bytes]]:
    # no name and no time in the header: the same table gives the same bytes
    with file.open("wb") as raw, gzip.GzipFile("", "wb", fileobj=raw, mtime=0) as opened:
        yield cast(IO[bytes], opened)


def _write_parquet(table: pa.Table, file: Path) -> None:
    from pyarrow import parquet  # noqa: PLC0415

    parquet.write_table(table, file)


def _write_arrow(table: pa.Table, file: Path) -> None:
    with pa.OSFile(str(file), "wb") as opened, pa.ipc.new_file(opened, table.schema) as writer:
        writer.write_table(table)


def _write_npy(table: pa.Table, file: Path) -> None:
    with file.open("wb") as opened:
        np.save(opened, _stack(table, "npy"))


def _write_npz(table: pa.Table, file: Path) -> None:
    with file.open("wb") as opened:
        np.savez(opened, x=_stack(table, "npz"), names=np.array(table.column_names))


def _stack(table: pa.Table, kind: str) -> NDArray[Any]:
    columns = [table.column(name).to_numpy() for name in table.column_names]
    for name, values in zip(table.column_names, columns, strict=True):
        if values.dtype.kind not in "fiub":
            raise ValueError(
                f"column {name!r} holds no numbers, which .{kind} files cannot hold; write .csv or .parquet"
            )
    return np.stack(columns, axis=1)


_WRITERS = {
    "parquet": _write_parquet,
    "arrow": _write_arrow,
    "npy": _write_npy,
    "npz": _write_npz,
}
