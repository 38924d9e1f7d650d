"""Many images on one."""

from __future__ import annotations

import math

import numpy as np

from anabranch.images.collection import Bytes

# images on a sheet, at most
MOST = 100
# an image is made larger by a whole factor, up to about so many pixels
_SIDE = 56
_GAP = 4
# between images: neither black nor white, the ends of most images
_GREY = 128


def contact_sheet(pictures: Bytes, most: int = MOST) -> Bytes:
    """Images side by side, row after row, in about a square: (height, width) or (height, width, 3).

    Args:
        pictures: (n, H, W) or (n, H, W, 3); of small ones every pixel becomes a square.
        most: how many are shown, the first ones.

    Raises:
        ValueError: there are none.

    Example:
        >>> import numpy
        >>> from anabranch.images import contact_sheet
        >>> contact_sheet(numpy.zeros((10, 28, 28), dtype="uint8")).shape
        (184, 244)
    """
    if not len(pictures):
        raise ValueError("pictures: expected at least one, got none")
    pictures = pictures[:most]
    n, height, width = pictures.shape[:3]
    factor = max(1, _SIDE // max(height, width))
    pictures = pictures.repeat(factor, axis=1).repeat(factor, axis=2)
    columns = math.ceil(math.sqrt(n))
    rows = math.ceil(n / columns)
    height, width = height * factor + _GAP, width * factor + _GAP
    sheet = np.full((rows * height + _GAP, columns * width + _GAP, *pictures.shape[3:]), _GREY, dtype=np.uint8)
    for i, picture in enumerate(pictures):
        row, column = divmod(i, columns)
        top, left = row * height + _GAP, column * width + _GAP
        sheet[top : top + picture.shape[0], left : left + picture.shape[1]] = picture
    return sheet
