"""Arrays that commands read and write: .npy and .npz files."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anabranch.array_files import ARRAYS, read_arrays
from anabranch.atomic import replacing
from anabranch.cli.files import check_not_read, check_output


def read_array(path: Path) -> NDArray[Any]:
    """The array of a .npy file, or of a .npz file the one named x, or the only one. Nothing is unpickled.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: another file, or damaged, or of several arrays none of which is named x.
    """
    arrays = read_arrays(path)
    name = "x" if "x" in arrays or len(arrays) != 1 else next(iter(arrays))
    if name not in arrays:
        raise ValueError(f"{path}: expected an array named 'x', got arrays named {', '.join(arrays) or 'nothing'}")
    return arrays[name]


def check_array_output(path: Path | None, **read: Path | None) -> None:
    """Raise ValueError unless an array can be written there: to .npy, to .npz, or to a pipe, which None is.

    Nor may it be one of the files that are `read`, by name.
    """
    if path is None:
        return
    if path.suffix not in ARRAYS:
        raise ValueError(f"{path}: expected a .npy or .npz file, since the model is one of arrays, got {path.name!r}")
    check_output(path)
    check_not_read(path, "the array", **read)


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
