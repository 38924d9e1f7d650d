"""Arrays that commands read and write: .npy and .npz files."""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anabranch.atomic import replacing


def read_array(path: Path) -> NDArray[Any]:
    """The array of a .npy file, or of a .npz file the one named x, or the only one. Nothing is unpickled.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: another file, or damaged, or of several arrays none of which is named x.
    """
    _check_suffix(path)
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file")
    try:
        with path.open("rb") as opened:
            found = np.load(opened, allow_pickle=False)
            if not isinstance(found, np.lib.npyio.NpzFile):
                return np.asarray(found)
            name = "x" if "x" in found.files or len(found.files) != 1 else found.files[0]
            if name not in found.files:
                raise ValueError(f"expected an array named 'x', got arrays named {', '.join(found.files)}")
            return np.asarray(found[name])
    except (ValueError, EOFError, OSError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path}: {' '.join(str(error).split())}") from error


def check_array_output(path: Path | None) -> None:
    """Raise ValueError unless an array can be written there: to .npy, to .npz, or to a pipe, which None is."""
    if path is not None:
        _check_suffix(path)


def write_array(x: NDArray[Any], path: Path | None) -> None:
    """Write an array, in a .npz file by the name x; to standard output as a .npy file."""
    if path is None:
        np.save(sys.stdout.buffer, x, allow_pickle=False)
        sys.stdout.buffer.flush()
        return
    with replacing(path) as temporary, temporary.open("wb") as opened:
        if path.suffix == ".npy":
            np.save(opened, x, allow_pickle=False)
        else:
            np.savez(opened, x=x)


def _check_suffix(path: Path) -> None:
    if path.suffix not in (".npy", ".npz"):
        raise ValueError(f"{path}: expected a .npy or .npz file, since the model is one of arrays, got {path.name!r}")
