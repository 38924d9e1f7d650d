"""Reading tables from files."""

from __future__ import annotations

import os
import warnings
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from anabranch.array_files import damage_told
from anabranch.tables.columns import Column
from anabranch.tables.compressed import LIMIT, expanded
from anabranch.tables.dialect import UnsuitableError
from anabranch.tables.formats import table_format
from anabranch.tables.frame import TableError, check_names, without_index
from anabranch.tables.notes import summary
from anabranch.tables.parsing import parse
from anabranch.tables.reading import Reading
from anabranch.tables.schema import Schema
from anabranch.tables.sheet import Sheet


class ReadingWarning(UserWarning):
    """What was guessed about a file that could have been read in another way too."""


def read_table(
    path: str | os.PathLike[str],
    *,
    sep: str | None = None,
    decimal: str | None = None,
    na: Sequence[str] | None = None,
    encoding: str | None = None,
    dates: str | Mapping[str, str] | None = None,
    header: bool | None = None,
    kinds: Mapping[str, str | Column] | Schema | None = None,
    limit: int = LIMIT,
) -> pa.Table:
    """Read a table from a file.

    - `.csv`, `.csv.gz`: fields with commas, semicolons, tabs or bars between, below a line of names. Empty fields and the
      words of `hints.GAPS` (`NA`, `n/a`, `None`, `-`, `?`, ...) are gaps. What is not plain is guessed: decimal commas,
      groups of thousands, signs of currencies and units, dates; codes with zeros in front are text. See docs/tables.md.
    - `.parquet`; `.arrow`, `.feather`, `.ipc`: files or streams.
    - `.npy`: a 2-D array, whose columns are named `column_0`, `column_1`, ...
    - `.npz`: a 2-D array `x` and, optionally, an array `names`. Nothing is unpickled.

    Args:
        path: of the file.
        sep: what separates the fields of a CSV file.
        decimal: its decimal mark, "." or ",".
        na: the words for gaps, in place of the list.
        encoding: of its text, in Python's word.
        dates: "day-first", "month-first", "none" (leave them as they are), or a format of strptime; for all columns, or by
            name.
        header: whether the first line holds the names of the columns.
        kinds: for some columns, by name, the word for their kind, or a `Column`; or the schema of a model. What is declared
            categorical is read as text, as it is written.
        limit: bytes to which a compressed file may expand.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it cannot be read as what its name says, holds no rows, or two of its columns share a name. One line,
            which names the file.

    Warns:
        ReadingWarning: what was guessed about a CSV file, and how to say otherwise.

    Example:
        >>> from anabranch import datasets
        >>> from anabranch.tables import read_table
        >>> read_table(datasets.path("penguins")).column_names[:3]
        ['species', 'island', 'bill_length_mm']
    """
    columns = {part.name: part for part in (*kinds.parts, *kinds.given_parts)} if isinstance(kinds, Schema) else kinds
    reading = Reading(sep, decimal, na, encoding, dates, header, columns or {}, limit)
    table, sheet = read_sheet(path, reading)
    if sheet is not None and sheet.notes:
        said = summary(sheet.notes, lambda name: f"{name}=")
        warnings.warn(f"{os.fspath(path)}: {said}", ReadingWarning, stacklevel=2)
    return table


def read_sheet(path: str | os.PathLike[str], reading: Reading) -> tuple[pa.Table, Sheet | None]:
    """A table of a file, and of a CSV file what else was read, so that its cells can be written as they were.

    Raises:
        FileNotFoundError, ValueError: as for `read_table`.
    """
    file = Path(path)
    kind = table_format(file)
    if not file.exists():
        raise FileNotFoundError(f"{file}: no such file")
    if file.is_dir():
        raise ValueError(f"{file}: expected a table's file, got a folder")
    if file.stat().st_size == 0:
        raise ValueError(f"{file}: the file is empty")
    if kind not in _TEXTS and reading.of_csv:
        raise ValueError(f"{file}: {', '.join(reading.of_csv)}: expected for CSV files alone, got a {kind} file")
    sheet = None
    try:
        if kind in _TEXTS:
            sheet = parse(_TEXTS[kind](file, reading.limit), reading)
            table = sheet.table
        else:
            table = without_index(_READERS[kind](file))
    except UnsuitableError as error:
        raise ValueError(f"{file}: {error}") from error
    except PermissionError:
        raise
    except (pa.ArrowException, ValueError, OSError, EOFError, KeyError, zlib.error, zipfile.BadZipFile) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"{file}: not a readable {kind} file, or damaged ({reason})") from error
    try:
        check_names(table)
    except TableError as error:
        raise ValueError(f"{file}: {error}") from error
    return table, sheet


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
    with damage_told(), file.open("rb") as opened:
        return _table_of_array(np.load(opened, allow_pickle=False), None)


def _read_npz(file: Path) -> pa.Table:
    with damage_told(), file.open("rb") as opened:
        arrays = np.load(opened, allow_pickle=False)
        if not isinstance(arrays, np.lib.npyio.NpzFile):
            raise UnsuitableError("a single array, not an archive of arrays; rename it to end in .npy")
        if "x" not in arrays.files:
            raise UnsuitableError(f"expected a 2-D array named 'x', got arrays named {', '.join(arrays.files)}")
        return _table_of_array(arrays["x"], arrays["names"] if "names" in arrays.files else None)


def _table_of_array(x: NDArray[Any], names: NDArray[Any] | None) -> pa.Table:
    if x.ndim != 2 or x.dtype.kind not in "fiub":
        raise UnsuitableError(f"expected a 2-D array of numbers (rows, columns), got shape {x.shape} of {x.dtype}")
    columns = [f"column_{i}" for i in range(x.shape[1])] if names is None else [str(name) for name in np.ravel(names)]
    if len(columns) != x.shape[1]:
        raise UnsuitableError(f"expected a name for each of the {x.shape[1]} columns, got {len(columns)} names")
    # Arrow knows no long double and no foreign byte order
    own = x.astype(np.float64 if x.dtype.itemsize > 8 else x.dtype.newbyteorder("="), copy=False)
    return pa.Table.from_arrays([pa.array(own[:, i]) for i in range(x.shape[1])], names=columns)


_TEXTS: dict[str, Callable[[Path, int], bytes]] = {"csv": lambda file, limit: file.read_bytes(), "csv.gz": expanded}
_READERS = {
    "parquet": _read_parquet,
    "arrow": _read_arrow,
    "npy": _read_npy,
    "npz": _read_npz,
}
