"""PNG files, one image each, through Pillow."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anabranch.images.collection import Bytes

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
# kinds of colour in a file's header
_GREY, _PALETTE = 0, 3
_OPACITY = (4, 6)
# pixels of an image, at most: a model of more would take hours for one draw
MOST_PIXELS = 2**16


def require_pillow() -> None:
    """Raise ValueError, which says what to install, if Pillow is missing: for before what takes long."""
    try:
        import PIL.Image  # noqa: F401, PLC0415 (an extra)
    except ImportError as error:
        raise ValueError('PNG files need Pillow: pip install "anabranch[images]"') from error


def read_png(file: Path) -> tuple[Bytes, bool]:
    """The image of a file.

    Returns:
        (H, W) of a grey image, black and white as 0 and 255; (H, W, 3) of red, green and blue, and of a palette of colours;
        and whether it has a palette of greys, so that it could be one in colour too.

    Raises:
        ValueError: it is no PNG image, is damaged, has 16 bits a channel, an opacity, several frames or too many pixels. One
            line, which names the file.
    """
    from PIL import Image  # noqa: PLC0415 (an extra)

    with file.open("rb") as opened:
        head = opened.read(33)
    if len(head) < 33 or head[:8] != _SIGNATURE or head[12:16] != b"IHDR":
        what = "the file is empty" if not head else "it begins like none"
        raise ValueError(f"{file}: expected a PNG image, but {what}; remove it from the folder, or save it as PNG")
    width, height, depth, colour = struct.unpack(">IIBB", head[16:26])
    if depth == 16:
        raise ValueError(f"{file}: expected 8 bits a channel at most, got 16; save it with 8")
    if width * height > MOST_PIXELS:
        raise ValueError(
            f"{file}: expected at most {MOST_PIXELS:,} pixels an image, got {width} x {height}; make the images smaller, "
            "or cut them into parts"
        )
    try:
        with Image.open(file, formats=["PNG"]) as image:
            image.load()
            if colour in _OPACITY or "transparency" in image.info:
                raise ValueError(
                    f"{file}: expected grey, or red, green and blue, got an opacity too (mode {image.mode}); remove it, "
                    f"such as with Pillow's Image.convert({'L' if colour in (_GREY, 4) else 'RGB'!r})"
                )
            frames = getattr(image, "n_frames", 1)
            if frames > 1:
                raise ValueError(f"{file}: expected one image, got {frames} frames; save them one by one")
            return _pixels(image, colour)
    except (OSError, SyntaxError, EOFError, struct.error) as error:
        raise ValueError(f"{file}: not a readable PNG image, or damaged ({' '.join(str(error).split())})") from error


def _pixels(image: Any, colour: int) -> tuple[Bytes, bool]:
    if colour == _GREY:
        values: NDArray[Any] = np.asarray(image)
        return (values.astype(np.uint8) * 255 if values.dtype == bool else values), False
    values = np.asarray(image.convert("RGB"))
    grey = colour == _PALETTE and bool((values == values[..., :1]).all())
    return (np.ascontiguousarray(values[..., 0]) if grey else values), grey


def write_png(picture: Bytes, file: Path) -> None:
    """Write an image, (H, W) or (H, W, 3), to a file; one of 0 and 255 alone with one bit a pixel."""
    from PIL import Image  # noqa: PLC0415 (an extra)

    image = Image.fromarray(picture)
    black_and_white = picture.ndim == 2 and bool(((picture == 0) | (picture == 255)).all())
    (image.convert("1", dither=Image.Dither.NONE) if black_and_white else image).save(file, format="PNG")
