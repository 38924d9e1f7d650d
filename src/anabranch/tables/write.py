"""Writing tables to files, whole or not at all."""

from __future__ import annotations

import csv
import gzip
import io
import os
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from anabranch.atomic import replacing
from anabranch.tables.formats import table_format


def write_table(table: pa.Table, path: str | os.PathLike[str]) -> None:
    """Write a table to a file, in the format that the end of its name says; see `read_table`.

    The file appears whole or not at all, and an old file of that name stays until then. NumPy files hold one type for all
    columns, and `.npy` none of their names.

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
            _WRITERS[kind](table, temporary)
        except pa.ArrowException as error:
            raise ValueError(f"{path}: {' '.join(str(error).split())}; choose another format") from error


def write_csv(table: pa.Table, stream: IO[bytes]) -> None:
    """Write a table as comma-separated text, with a line of column names, to an open stream.

    Durations, which CSV does not know, become text such as 1:30:00 or -0:00:02.5.
    """
    from pyarrow import csv as arrow_csv  # noqa: PLC0415 (each writer loads its own format)

    # Arrow puts every name in quotes, needed or not
    names = io.StringIO()
    csv.writer(names, lineterminator="\n").writerow(table.column_names)
    stream.write(names.getvalue().encode())
    for i, field in enumerate(table.schema):
        if pa.types.is_duration(field.type):
            table = table.set_column(i, field.name, _clock(table.column(i)))
    arrow_csv.write_csv(table, stream, arrow_csv.WriteOptions(include_header=False, quoting_style="needed"))


def _clock(values: pa.ChunkedArray) -> pa.Array:
    """Durations as hours, minutes, seconds and all decimals that they have."""
    digits = _DECIMALS[values.type.unit]

    def text(ticks: int | None) -> str | None:
        if ticks is None:
            return None
        seconds, rest = divmod(abs(ticks), 10**digits)
        decimals = f".{rest:0{digits}d}".rstrip("0") if rest else ""
        return f"{'-' * (ticks < 0)}{seconds // 3600}:{seconds // 60 % 60:02d}:{seconds % 60:02d}{decimals}"

    return pa.array([text(ticks) for ticks in values.cast(pa.int64()).to_pylist()], pa.string())


def _write_csv(table: pa.Table, file: Path) -> None:
    with file.open("wb") as opened:
        write_csv(table, opened)


def _write_csv_gz(table: pa.Table, file: Path) -> None:
    # no name and no time in the header: the same table gives the same bytes
    with file.open("wb") as raw, gzip.GzipFile("", "wb", fileobj=raw, mtime=0) as opened:
        write_csv(table, cast(IO[bytes], opened))


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


_DECIMALS = {"s": 0, "ms": 3, "us": 6, "ns": 9}
_WRITERS = {
    "csv": _write_csv,
    "csv.gz": _write_csv_gz,
    "parquet": _write_parquet,
    "arrow": _write_arrow,
    "npy": _write_npy,
    "npz": _write_npz,
}
