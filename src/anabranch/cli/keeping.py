"""What a fit came to is not lost: not to a full disk, not to Ctrl-C."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import typer

import anabranch as ab
from anabranch.cli.errors import BAD_INPUT, INTERRUPTED, NOT_WRITTEN, complain
from anabranch.training import NonFiniteError


def interrupted_path(output: Path) -> Path:
    """Where the best weights so far of an unfinished fit are written: model.safetensors, model.interrupted.safetensors."""
    return output.with_name(f"{output.stem}.interrupted{output.suffix}")


def save_somewhere(model: Any, path: Path, metadata: dict[str, Any]) -> Path | None:
    """Write a model to its file, or, where that is refused, to one in the folder for temporary files, and say so.

    Returns:
        where it is; None if it is nowhere.
    """
    try:
        ab.save(model, path, metadata=metadata)
    except OSError as error:
        reason = f"{path} cannot be written ({error.strerror or error})"
    else:
        return path
    name = ""
    try:
        handle, name = tempfile.mkstemp(prefix=f"{path.stem}-", suffix=path.suffix)
        os.close(handle)
        ab.save(model, name, metadata=metadata)
    except OSError as error:
        if name:
            Path(name).unlink(missing_ok=True)
        complain(f"{reason}, nor can the folder {tempfile.gettempdir()} ({error.strerror or error}); the model is lost")
        return None
    complain(f"{reason}; the model is in {name}: move it from there")
    return Path(name)


def rescue(error: BaseException, output: Path, table: str) -> Path | None:
    """Write the model that an exception of a fit carries, if it carries one, beside the file of the finished model.

    Returns:
        where it is; None if there is none.
    """
    model = getattr(error, "model", None)
    if model is None:
        return None
    note = "the best weights so far of a fit that did not end; it has no report"
    return save_somewhere(model, interrupted_path(output), {"table": table, "note": note})


@contextmanager
def unfinished(output: Path, table: str, checkpoint: Path | None) -> Iterator[None]:
    """Around a fit: write what one that does not end has come to, if anything, and say where it is.

    With one line, where that is all to say.
    """
    try:
        yield
    except BaseException as error:
        if isinstance(error, (KeyboardInterrupt, SystemExit)) and checkpoint is not None and checkpoint.exists():
            complain(f"the same command goes on from {checkpoint}")
        path = rescue(error, output, table)
        if path is None:
            raise
        where = f"the best weights so far are in {path}, a model for every command (--keep: a report too)"
        if isinstance(error, KeyboardInterrupt):
            complain(f"interrupted; {where}")
            raise typer.Exit(INTERRUPTED) from None
        if isinstance(error, (NonFiniteError, ValueError)):
            complain(f"{error}; {where}")
            raise typer.Exit(BAD_INPUT) from None
        complain(where)
        raise


def show_and_save(model: Any, output: Path, metadata: dict[str, Any], show: Callable[[], None]) -> None:
    """Print what a fit came to, and write its model to its file, or to another one if that is refused."""
    try:
        # before the file, which may not be writable any more; and the file whatever becomes of what is printed
        with suppress(KeyboardInterrupt):
            show()
            sys.stdout.flush()
    finally:
        written = save_somewhere(model, output, metadata)
        if written == output:
            complain(f"wrote {output}")
    if written != output:
        raise typer.Exit(NOT_WRITTEN)
