"""Arrays in .npy and .npz files. Nothing is unpickled."""

from __future__ import annotations

import lzma
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

ARRAYS = (".npy", ".npz")
# what NumPy, zipfile and the decompressors raise at a file that is damaged, encrypted, or none of theirs
DAMAGED = (
    *(OSError, ValueError, EOFError, KeyError, RuntimeError, SyntaxError),
    *(struct.error, zlib.error, lzma.LZMAError, zipfile.BadZipFile, tokenize.TokenError),
)


def read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """The arrays of a `.npz` file by their names, or the array of a `.npy` file by the name "".

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: another suffix, or the file is damaged or holds pickled objects. One line, which names the file.

    Example:
        >>> import numpy, pathlib, tempfile
        >>> from anabranch.array_files import read_arrays
        >>> file = pathlib.Path(tempfile.mkdtemp()) / "digits.npz"
        >>> numpy.savez(file, x=numpy.zeros((20, 8, 8)), y=numpy.arange(20))
        >>> {name: array.shape for name, array in read_arrays(file).items()}
        {'x': (20, 8, 8), 'y': (20,)}
    """
    kind = path.suffix.lower()
    if kind not in ARRAYS:
        raise ValueError(f"{path}: expected an array, a .npy or .npz file, got {path.name!r}")
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file")
    try:
        with damage_told(), path.open("rb") as opened:
            content = np.load(opened, allow_pickle=False)
            if kind == ".npz" and isinstance(content, np.ndarray):
                raise ValueError("a single array; rename it to end in .npy")
            if kind == ".npy" and not isinstance(content, np.ndarray):
                raise ValueError("an archive of arrays; rename it to end in .npz")
            return {"": content} if kind == ".npy" else {name: content[name] for name in content.files}
    except PermissionError:
        raise
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: not a readable {kind} file, or damaged ({' '.join(str(error).split())})") from error


@contextmanager
def damage_told() -> Iterator[None]:
    """Around what reads arrays: a damaged file is a ValueError or an OSError, whatever it breaks."""
    try:
        yield
    except DAMAGED as error:
        # NumPy takes every file that is none of its own for a pickle, and says how to open it
        if "allow_pickle" in str(error):
            raise ValueError("it holds pickled objects, or no array") from error
        if isinstance(error, OSError | ValueError):
            raise
        raise ValueError(str(error)) from error
