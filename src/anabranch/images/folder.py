"""A folder of PNG files: images read from it, and images written to one."""

from __future__ import annotations

import os
import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from anabranch.atomic import replacing_folder
from anabranch.images.collection import Bytes, Images, ImageWarning
from anabranch.images.contact_sheet import contact_sheet
from anabranch.images.png import read_png, require_pillow, write_png

# written beside images, and never read as one of them
SHEET = "contact-sheet.png"
IMAGE_FILES = (".png", ".jpg", ".jpeg", ".gif", ".bmp", ".tif", ".tiff", ".webp")


def png_files(folder: Path) -> list[Path]:
    """The PNG files in a folder, by name, without hidden ones and the contact sheet."""
    return sorted(file for file in _files(folder) if file.suffix.lower() == ".png" and file.name != SHEET)


def read_folder(folder: Path) -> Images:
    """The images of the PNG files in a folder, in the order of their names.

    They are all grey, or all red, green and blue. Palettes are turned into greys if all their images are grey and no other
    image is in colour, else into colours. Hidden files and `contact-sheet.png`, which `write_folder` writes, are left out.

    Raises:
        ValueError: there are none, one that cannot be read, or two that differ in size or in their channels. One line, which
            names the files.

    Warns:
        ImageWarning: files of other kinds are there too.
    """
    require_pillow()
    files = png_files(folder)
    others = sorted(file.name for file in _files(folder) if file.suffix.lower() != ".png")
    pictures = [name for name in others if Path(name).suffix.lower() in IMAGE_FILES]
    if pictures:
        raise ValueError(f"{folder}: expected PNG images alone, got {pictures[0]} too; save such images as PNG")
    if not files:
        raise ValueError(_nothing(folder))
    if others:
        number = f"{len(others)} files that are no images were" if len(others) > 1 else "one file that is no image was"
        warnings.warn(f"{number} left out: {', '.join(others[:3])}", ImageWarning, stacklevel=3)
    read = [read_png(file) for file in files]
    first = read[0][0].shape
    for file, (picture, _) in zip(files, read, strict=True):
        if picture.shape[:2] != first[:2]:
            raise ValueError(
                f"{folder}: expected images of one size, got {files[0].name} of {_size(first)} and {file.name} of "
                f"{_size(picture.shape)} pixels; scale or cut them to one size"
            )
    coloured = [picture.ndim == 3 for picture, _ in read]
    if any(coloured):
        grey = [picture.ndim == 2 and not either for picture, either in read]
        if any(grey):
            raise ValueError(
                f"{folder}: expected images that are all grey or all in colour, got {files[grey.index(True)].name} in grey "
                f"and {files[coloured.index(True)].name} in colour; save them all alike"
            )
        read = [(_in_colour(picture), either) for picture, either in read]
    x = np.stack([picture for picture, _ in read])
    return Images(np.ascontiguousarray(np.moveaxis(x, -1, 1)) if x.ndim == 4 else x, tuple(file.name for file in files))


def write_folder(pictures: Bytes, folder: str | os.PathLike[str], labels: Any = None) -> None:
    """Write images to PNG files in a new folder, and a contact sheet of the first 100 to `contact-sheet.png`.

    They are named image-1.png, image-2.png, ..., with as many digits as the last one has, and with labels image-1-LABEL.png.
    The folder appears whole or not at all. One that exists must be empty.

    Args:
        pictures: (n, H, W) or (n, H, W, 3).
        folder: where to.
        labels: one for each image.

    Raises:
        ValueError: Pillow is missing, there are no images, or the folder holds files.
        FileNotFoundError: the folder above it does not exist.
    """
    require_pillow()
    digits = len(str(len(pictures)))
    ends = [""] * len(pictures) if labels is None else [f"-{_in_a_name(str(label))}" for label in labels]
    names = [f"image-{i:0{digits}}{end}.png" for i, end in enumerate(ends, 1)]
    with replacing_folder(folder) as temporary:
        for name, picture in zip(names, pictures, strict=True):
            write_png(picture, temporary / name)
        write_png(contact_sheet(pictures), temporary / SHEET)


def _files(folder: Path) -> list[Path]:
    return [file for file in folder.iterdir() if file.is_file() and not file.name.startswith(".")]


def _nothing(folder: Path) -> str:
    inside = sorted(inner.name for inner in folder.iterdir() if inner.is_dir() and any(inner.glob("*.png")))
    if inside:
        return f"{folder}: expected PNG images, got none, but {inside[0]} inside it has some; name that folder"
    return f"{folder}: expected PNG images, got a folder that holds none"


def _in_a_name(label: str) -> str:
    """A label without signs that names of files cannot hold, or that lead elsewhere."""
    return re.sub(r"[^\w.+-]", "_", label)[:60]


def _size(shape: tuple[int, ...]) -> str:
    return f"{shape[1]} x {shape[0]}"


def _in_colour(picture: Bytes) -> Bytes:
    return picture if picture.ndim == 3 else np.repeat(picture[..., None], 3, axis=-1)
