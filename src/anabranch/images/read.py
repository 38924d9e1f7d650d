"""Reading images from files, and telling such files from tables."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anabranch.array_files import ARRAYS, DAMAGED, read_arrays
from anabranch.images.collection import Images, as_images
from anabranch.images.folder import IMAGE_FILES, read_folder

_DIMENSIONS = (3, 4)


def holds_images(path: str | os.PathLike[str]) -> bool:
    """Whether a file or a folder holds images, and no table: image files, or an array of 3 or 4 dimensions.

    An archive `.npz` holds a table if its array `x` has another number of dimensions. What cannot be read holds no images.

    Raises:
        ValueError: a folder that holds PNG files and Parquet files, or nothing.
    """
    path = Path(path)
    if path.is_dir():
        images = any(file.suffix.lower() in IMAGE_FILES for file in (*path.iterdir(), *path.glob("*/*")))
        tables = next(path.glob("**/*.parquet"), None)
        if images and tables is not None:
            raise ValueError(f"{path}: expected PNG images or Parquet files, got both; separate them into two folders")
        if not images and next(path.iterdir(), None) is None:
            raise ValueError(f"{path}: expected a folder of PNG images or of Parquet files, got an empty one")
        return images
    if path.suffix.lower() in IMAGE_FILES:
        return True
    try:
        shapes = _shapes(path)
    except DAMAGED:
        return False
    some = [shape for shape in shapes.values() if len(shape) in _DIMENSIONS]
    return len(shapes["x"]) in _DIMENSIONS if "x" in shapes else bool(some)


def read_images(path: str | os.PathLike[str], array: str | None = None, labels: str | None = None) -> Images:
    """Read images from a folder of PNG files, or from an array in a `.npy` or `.npz` file. Nothing is unpickled.

    Args:
        path: of the folder or file.
        array: of an archive, the name of the array that holds the images; by default "x", or the only one that has 3 or 4
            dimensions. `as_images` says which dimension is which.
        labels: of an archive, the name of the array with a label for each image.

    Raises:
        FileNotFoundError: there is no such file or folder.
        ValueError: it holds no images, or some that cannot be taken together. One line, which names the file.

    Warns:
        ImageWarning: what could be read in another way too, or was left out.

    Example:
        >>> import numpy, pathlib, tempfile
        >>> from anabranch.images import read_images
        >>> file = pathlib.Path(tempfile.mkdtemp()) / "digits.npz"
        >>> numpy.savez(file, x=numpy.zeros((20, 8, 8)), y=numpy.arange(20) % 10)
        >>> images = read_images(file, labels="y")
        >>> len(images), images.size, images.labels[:3]
        (20, (8, 8), array([0, 1, 2]))
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file or folder")
    archive = path.suffix.lower() == ".npz"
    for name, value in (("array", array), ("labels", labels)):
        if value is not None and not archive:
            what = "a folder" if path.is_dir() else f"a {path.suffix or 'nameless'} file"
            raise ValueError(f"{path}: {name}: expected for .npz files alone, got {what}")
    if path.is_dir():
        return read_folder(path)
    if path.suffix.lower() not in ARRAYS:
        instead = "; name the folder that holds it" if path.suffix.lower() in IMAGE_FILES else ""
        raise ValueError(
            f"{path}: expected images, a folder of PNG files or an array in a .npy or .npz file, got {path.name!r}{instead}"
        )
    arrays = read_arrays(path)
    found, given = _chosen(path, arrays, array), None
    if labels is not None:
        if labels not in arrays:
            raise ValueError(f"{path}: labels: expected one of its arrays, {', '.join(arrays)}, got {labels!r}")
        given = arrays[labels]
    try:
        return as_images(found, given)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _chosen(path: Path, arrays: dict[str, NDArray[Any]], name: str | None) -> NDArray[Any]:
    if name is not None:
        if name not in arrays:
            raise ValueError(f"{path}: array: expected one of its arrays, {', '.join(arrays)}, got {name!r}")
        return arrays[name]
    if len(arrays) == 1 or "x" in arrays:
        return arrays["x"] if "x" in arrays else next(iter(arrays.values()))
    some = [key for key, value in arrays.items() if value.ndim in _DIMENSIONS]
    if len(some) != 1:
        raise ValueError(
            f"{path}: expected an array named 'x' or a single one of 3 or 4 dimensions, got "
            f"{', '.join(some) or 'none'}; name the array of the images"
        )
    return arrays[some[0]]


def _shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """The shapes of the arrays in a file, of which nothing else is read."""
    if path.suffix.lower() == ".npy":
        with path.open("rb") as opened:
            return {"": _shape(opened)}
    if path.suffix.lower() != ".npz":
        return {}
    shapes = {}
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            if name.endswith(".npy"):
                with archive.open(name) as opened:
                    shapes[name.removesuffix(".npy")] = _shape(opened)
    return shapes


def _shape(opened: Any) -> tuple[int, ...]:
    version = np.lib.format.read_magic(opened)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape: tuple[int, ...] = read(opened)[0]
    return shape
