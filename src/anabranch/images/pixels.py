"""What images hold: their size, their channels, and the levels of a pixel."""

from __future__ import annotations

from typing import Self

import numpy as np
import torch

from anabranch.checks import one_of, positive_int
from anabranch.described import Described
from anabranch.families import Bernoulli, Channels, DiscretizedLogistics, Family, Levels, SubPixels
from anabranch.images.collection import Bytes, Images

# up to so many levels each has a probability of its own; more are one scale of brightness
FEW = 17
_BYTE = 255
# levels of a channel, at most
MOST_LEVELS = _BYTE + 1


class Pixels(Described):
    """Size, channels and levels of images. Level i of 0, ..., count - 1 is stored as the number round(i top / (count - 1)).

    Args:
        height, width: of an image.
        channels: 1 of grey images, 3 of red, green and blue.
        count: how many levels a channel has, from 2 to 256.
        top: the number as which the last level is stored: count - 1 in arrays of levels, 255 in PNG files.

    Raises:
        ValueError: sizes or numbers of levels that cannot be.

    Example:
        >>> import numpy
        >>> from anabranch.images import Pixels
        >>> print(Pixels(28, 28, 1, 2, 255))
        28 x 28 pixels, grey, black or white (stored as 0 and 255)
        >>> Pixels(1, 2, 1, 4, 255).levels(numpy.array([[[85, 255]]], dtype="uint8"))
        array([[[1, 3]]], dtype=uint8)
    """

    def __init__(self, height: int, width: int, channels: int = 1, count: int = 256, top: int | None = None) -> None:
        super().__init__()
        self.height, self.width = positive_int("height", height), positive_int("width", width)
        self.channels = int(one_of("channels", str(channels), ("1", "3")))
        self.count = positive_int("count", count, least=2)
        if self.count > MOST_LEVELS:
            raise ValueError(f"count: expected at most {MOST_LEVELS} levels, got {self.count}")
        self.top = self.count - 1 if top is None else positive_int("top", top, least=self.count - 1)
        if self.top > _BYTE:
            raise ValueError(f"top: expected a number up to 255, got {top}")

    @classmethod
    def of(cls, images: Images, count: int | None = None) -> Self:
        """What images hold.

        With `count` levels these are stored as 0, ..., count - 1, or, if larger numbers are there, as numbers spread
        evenly from 0 to 255. Without it the levels are 0, ..., m for a largest number m up to 16. If it is larger, they are
        as few as 17 at most spread evenly from 0 to 255 if these are all the numbers that are there; else they are 256.

        Raises:
            ValueError: numbers that are none of so many levels; all pixels are equal.
        """
        seen = np.flatnonzero(np.bincount(images.x.ravel(), minlength=_BYTE + 1))
        if len(seen) == 1:
            raise ValueError(f"images: expected pixels that differ, got {seen[0]} everywhere")
        most = int(seen[-1])
        if count is None:
            counts = [most + 1] if most < FEW else [k for k in range(2, FEW + 1) if np.isin(seen, _spread(k)).all()]
            count = counts[0] if counts else _BYTE + 1
        result = cls(*images.size, images.channels, count, count - 1 if most < count else _BYTE)
        result.levels(images)
        return result

    @property
    def event_shape(self) -> torch.Size:
        """(H, W), or (3, H, W) of images in colour."""
        return torch.Size([self.height, self.width] if self.channels == 1 else [3, self.height, self.width])

    @property
    def dimensions(self) -> int:
        """How many numbers an image has."""
        return self.event_shape.numel()

    def levels(self, images: Images | Bytes, spread: bool = False) -> Bytes:
        """The levels of images, (n, *event), as the density takes them.

        Args:
            images: as they were stored, of this size.
            spread: whether numbers spread evenly from 0 to 255 will do too: those of PNG files that were written.

        Raises:
            ValueError: another size or other channels; a number that is no level. It names the image.
        """
        images = images if isinstance(images, Images) else Images(images)
        if (images.channels, *images.size) != (self.channels, self.height, self.width):
            raise ValueError(f"images: expected {self._form()}, got {_form(*images.size, images.channels)}")
        for top in [self.top, _BYTE] if spread else [self.top]:
            table = np.full(_BYTE + 1, _BYTE, dtype=np.uint8)
            known = np.zeros(_BYTE + 1, dtype=bool)
            stored = _spread(self.count, top)
            table[stored], known[stored] = np.arange(self.count), True
            bad = ~known[images.x]
            if not bad.any():
                return table[images.x]
        number = int(bad.reshape(len(images), -1).any(axis=1).argmax())
        value = images.x[number][bad[number]].flat[0]
        raise ValueError(f"images: expected {self._levels()}, got {value} in {images.name(number)}")

    def stored(self, levels: Bytes) -> Bytes:
        """Levels as the numbers that they were stored as."""
        return _spread(self.count, self.top)[levels]

    def shown(self, levels: Bytes) -> Bytes:
        """Levels as brightness, from 0 to 255."""
        return _spread(self.count)[levels]

    def family(self) -> Family | Channels:
        """The distribution of a channel, or of the three channels of a pixel, whose levels are one scale of brightness."""
        if self.few:
            return Bernoulli() if self.count == 2 else Levels(self.count)
        return DiscretizedLogistics(self.count) if self.channels == 1 else SubPixels(self.count)

    @property
    def few(self) -> bool:
        """Whether each level has a probability of its own."""
        return self.count <= FEW

    def __str__(self) -> str:
        return f"{self._form()}, {self._levels()}"

    def _form(self) -> str:
        return _form(self.height, self.width, self.channels)

    def _levels(self) -> str:
        if self.count == 2:
            return f"black or white (stored as 0 and {self.top})"
        evenly = "" if self.top == self.count - 1 else ", spread evenly"
        return f"{self.count} levels (stored as 0 to {self.top}{evenly})"


def _spread(count: int, top: int = _BYTE) -> Bytes:
    """The numbers as which levels are stored."""
    return np.round(np.arange(count) * (top / (count - 1))).astype(np.uint8)


def _form(height: int, width: int, channels: int) -> str:
    return f"{width} x {height} pixels, {'grey' if channels == 1 else 'in colour'}"
