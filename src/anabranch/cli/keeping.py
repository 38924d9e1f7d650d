"""What a fit came to is not lost: not to a full disk, not to Ctrl-C."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import anabranch as ab
from anabranch.cli.errors import complain


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
    """Write the model that an exception of `fit_table` carries, if it carries one, beside the file of the finished model.

    Returns:
        where it is; None if there is none.
    """
    model = getattr(error, "model", None)
    if model is None:
        return None
    note = "the best weights so far of a fit that did not end; it has no report"
    return save_somewhere(model, interrupted_path(output), {"table": table, "note": note})
