"""The file formats of tables, told apart by the ends of file names."""

from __future__ import annotations

import os

FORMATS = {
    ".csv": "csv",
    ".csv.gz": "csv.gz",
    ".parquet": "parquet",
    ".arrow": "arrow",
    ".feather": "arrow",
    ".ipc": "arrow",
    ".npy": "npy",
    ".npz": "npz",
}


def table_format(path: str | os.PathLike[str]) -> str:
    """The format of a table's file: "csv", "csv.gz", "parquet", "arrow", "npy" or "npz".

    Raises:
        ValueError: the name ends like none of them.

    Example:
        >>> from anabranch.tables.formats import table_format
        >>> table_format("run 2/Rows.CSV.gz")
        'csv.gz'
    """
    name = os.fspath(path).lower()
    for ending in sorted(FORMATS, key=len, reverse=True):
        if name.endswith(ending):
            return FORMATS[ending]
    raise ValueError(f"{path}: expected a table, a file whose name ends in one of {', '.join(FORMATS)}")
