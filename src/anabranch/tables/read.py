"""Reading tables from files."""

from __future__ import annotations

import gzip
import io
import os
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from anabranch.tables.formats import table_format
from anabranch.tables.frame import TableError, check_names, without_index


def read_table(path: str | os.PathLike[str]) -> pa.Table:
    """Read a table from a file.

    - `.csv`, `.csv.gz`: comma-separated, in UTF-8, with a line of column names; empty fields, `NA`, `NaN`, `null` and
      others of Arrow's list are gaps, unless they are in quotes, which is text.
    - `.parquet`; `.arrow`, `.feather`, `.ipc`: files or streams.
    - `.npy`: a 2-D array, whose columns are named `column_0`, `column_1`, ...
    - `.npz`: a 2-D array `x` and, optionally, an array `names`. Nothing is unpickled.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it cannot be read as what its name says, holds no rows, or two of its columns share a name. One line,
            which names the file.

    Example:
        >>> from anabranch import datasets
        >>> from anabranch.tables import read_table
        >>> read_table(datasets.path("penguins")).column_names[:3]
        ['species', 'island', 'bill_length_mm']
    """
    file = Path(path)
    kind = table_format(file)
    if not file.exists():
        raise FileNotFoundError(f"{file}: no such file")
    if file.is_dir():
        raise ValueError(f"{file}: expected a table's file, got a folder")
    if file.stat().st_size == 0:
        raise ValueError(f"{file}: the file is empty")
    try:
        table = _READERS[kind](file)
    except _UnsuitableError as error:
        raise ValueError(f"{file}: {error}") from error
    except PermissionError:
        raise
    except (pa.ArrowException, ValueError, OSError, EOFError, KeyError, zlib.error, zipfile.BadZipFile) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"{file}: not a readable {kind} file, or damaged ({reason})") from error
    table = without_index(table)
    try:
        check_names(table)
    except TableError as error:
        raise ValueError(f"{file}: {error}") from error
    return table


class _UnsuitableError(ValueError):
    """The file could be read, but is no table of ours."""


def _read_csv(file: Path) -> pa.Table:
    return _parse_csv(file.read_bytes())


def _read_csv_gz(file: Path) -> pa.Table:
    with gzip.open(file) as opened:
        return _parse_csv(opened.read())


def _parse_csv(data: bytes) -> pa.Table:
    from pyarrow import csv  # noqa: PLC0415 (each reader loads its own format)

    # In a table of one column an empty line is a row with a gap; in others it is an accident.
    several = b"," in data.split(b"\n", 1)[0]
    data = data if several else data.rstrip(b"\r\n") + b"\n"
    table = csv.read_csv(
        io.BytesIO(data),
        read_options=csv.ReadOptions(use_threads=False),  # only one thread's messages name the row
        parse_options=csv.ParseOptions(ignore_empty_lines=several),
        convert_options=csv.ConvertOptions(strings_can_be_null=True, quoted_strings_can_be_null=False),
    )
    if all(_is_number(name) for name in table.column_names):
        raise _UnsuitableError("its first line looks like data; put a line with the names of the columns on top")
    if table.num_columns == 1 and any(mark in table.column_names[0] for mark in ";\t|"):
        raise _UnsuitableError("its columns seem to be separated by something else than commas; write it with commas")
    return table


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _read_parquet(file: Path) -> pa.Table:
    from pyarrow import parquet  # noqa: PLC0415

    # not parquet.read_table: that one takes folder names like "year=2020" for columns
    return parquet.ParquetFile(file).read()


def _read_arrow(file: Path) -> pa.Table:
    data = file.read_bytes()
    try:
        return pa.ipc.open_file(data).read_all()
    except pa.ArrowInvalid:
        return pa.ipc.open_stream(data).read_all()


def _read_npy(file: Path) -> pa.Table:
    with file.open("rb") as opened:
        return _table_of_array(np.load(opened, allow_pickle=False), None)


def _read_npz(file: Path) -> pa.Table:
    with file.open("rb") as opened:
        arrays = np.load(opened, allow_pickle=False)
        if not isinstance(arrays, np.lib.npyio.NpzFile):
            raise _UnsuitableError("a single array, not an archive of arrays; rename it to end in .npy")
        if "x" not in arrays.files:
            raise _UnsuitableError(f"expected a 2-D array named 'x', got arrays named {', '.join(arrays.files)}")
        return _table_of_array(arrays["x"], arrays["names"] if "names" in arrays.files else None)


def _table_of_array(x: NDArray[Any], names: NDArray[Any] | None) -> pa.Table:
    if x.ndim != 2 or x.dtype.kind not in "fiub":
        raise _UnsuitableError(f"expected a 2-D array of numbers (rows, columns), got shape {x.shape} of {x.dtype}")
    columns = [f"column_{i}" for i in range(x.shape[1])] if names is None else [str(name) for name in np.ravel(names)]
    if len(columns) != x.shape[1]:
        raise _UnsuitableError(f"expected a name for each of the {x.shape[1]} columns, got {len(columns)} names")
    # Arrow knows no long double and no foreign byte order
    own = x.astype(np.float64 if x.dtype.itemsize > 8 else x.dtype.newbyteorder("="), copy=False)
    return pa.Table.from_arrays([pa.array(own[:, i]) for i in range(x.shape[1])], names=columns)


_READERS = {
    "csv": _read_csv,
    "csv.gz": _read_csv_gz,
    "parquet": _read_parquet,
    "arrow": _read_arrow,
    "npy": _read_npy,
    "npz": _read_npz,
}
