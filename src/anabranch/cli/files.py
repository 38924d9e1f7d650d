"""The files a command reads and writes."""

from __future__ import annotations

import sys
import tempfile
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

import anabranch as ab
from anabranch.atomic import file_behind
from anabranch.storage import read_metadata


class Unseen(StrEnum):
    """What `--unseen` may be."""

    ERROR = "error"
    NULL = "null"
    IMPOSSIBLE = "-inf"


if TYPE_CHECKING:
    import pyarrow

    from anabranch.tables import Sheet, TableModel

# bytes that any output takes
_LEAST_ROOM = 2**14


def check_output(path: Path) -> None:
    """See now, before any long work, that `path` will be writable.

    Raises:
        ValueError: its folder does not exist, cannot be written to or has no room, or it is a folder or a device itself. Of
            a symbolic link, the file that it points to counts.
    """
    if path.is_dir():
        raise ValueError(f"{path}: expected a file to write, got a folder")
    if path.exists() and not path.is_file():
        raise ValueError(f"{path}: expected a file to write, got a device or a pipe")
    try:
        folder = file_behind(path).parent
    except OSError as error:
        raise ValueError(str(error)) from error
    if not path.parent.is_dir():
        raise ValueError(f"{path}: the folder {path.parent} does not exist; create it first")
    if not folder.is_dir():
        raise ValueError(f"{path}: is a symbolic link into the folder {folder}, which does not exist; create it first")
    try:
        with tempfile.TemporaryFile(dir=folder) as trial:
            trial.write(bytes(_LEAST_ROOM))
    except OSError as error:
        raise ValueError(f"{path}: the folder {path.parent} cannot be written to ({error.strerror})") from error


def check_not_read(path: Path | None, made: str, **read: Path | None) -> None:
    """See that a command does not write over what it reads; `made` and the names of what is `read` are for the message.

    Raises:
        ValueError: `path` is one of those files, or an image or a Parquet file in one of those folders.
    """
    for name, other in read.items():
        if path is None or other is None or not (path.exists() and other.exists()):
            continue
        if path.samefile(other):
            raise ValueError(f"{path}: is the {name} itself; write {made} to another file")
        if other.resolve() in path.resolve().parents and _is_read_of_folders(path):
            raise ValueError(f"{path}: is read as a part of {other}; write {made} to another file")


def _is_read_of_folders(path: Path) -> bool:
    from anabranch.images.folder import IMAGE_FILES  # noqa: PLC0415 (slow to import)

    return path.suffix.lower() in (*IMAGE_FILES, ".parquet")


def check_table_output(path: Path | None, **read: Path | None) -> None:
    """The same for a table, whose name must also say its format; None is standard output.

    Raises:
        ValueError: as above, or the name ends like no known format, or it is one of the files that are `read`, by name.
    """
    from anabranch.tables.formats import table_format  # noqa: PLC0415 (pyarrow loads with it)

    if path is not None:
        table_format(path)
        check_output(path)
        check_not_read(path, "the result", **read)


def write_output(
    table: pyarrow.Table,
    path: Path | None,
    sheet: Sheet | None = None,
    rows: pyarrow.Array | None = None,
    escape_formulas: bool = False,
) -> None:
    """Write a table to its file, or to standard output as CSV; the other arguments are those of `tables.write_table`."""
    from anabranch.tables import write_table  # noqa: PLC0415
    from anabranch.tables.write import write_csv  # noqa: PLC0415

    if path is not None:
        write_table(table, path, sheet=sheet, rows=rows, escape_formulas=escape_formulas)
        return
    write_csv(table, sys.stdout.buffer, sheet, rows, escape_formulas)
    sys.stdout.buffer.flush()


def is_of_images(path: Path) -> bool:
    """Whether a file holds a model of images, by its header.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no model file.
    """
    name: str = read_metadata(path)["description"].get("class", "")
    return name == "anabranch.images.ImageModel"


def load_table_model(path: Path) -> TableModel:
    """The model of a table, in a file that `anabranch fit` wrote.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no model file, or holds a model that knows no columns.
    """
    from anabranch.tables import TableModel  # noqa: PLC0415

    if is_of_images(path):
        raise ValueError(
            f"{path}: expected a model of a table, got one of images, which 'score', 'sample', 'compress', 'decompress' and "
            "'info' take"
        )
    model = ab.load(path)
    if not isinstance(model, TableModel):
        raise ValueError(
            f"{path}: holds a {type(model).__name__}, which knows no columns; fit a table with 'anabranch fit'"
        )
    return model
