"""Images of one size as an array, with their names and labels."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

Bytes = NDArray[np.uint8]
_CHANNELS = (1, 3)


class ImageWarning(UserWarning):
    """What was read of images in one of several ways, and what makes a fit to them poorer than it need be."""


@dataclass(frozen=True)
class Images:
    """Images of one size.

    Attributes:
        x: (images, H, W) if they are grey, (images, 3, H, W) if they are red, green and blue; numbers as they were stored.
        names: of the files that they were read from, or None.
        labels: (images), whole numbers, texts or truth values; or None.
    """

    x: Bytes
    names: tuple[str, ...] | None = None
    labels: NDArray[Any] | None = None

    def __len__(self) -> int:
        return len(self.x)

    @property
    def channels(self) -> int:
        """1 of grey images, 3 of coloured ones."""
        return 1 if self.x.ndim == 3 else int(self.x.shape[1])

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return int(self.x.shape[-2]), int(self.x.shape[-1])

    @property
    def pictures(self) -> Bytes:
        """(images, H, W) or (images, H, W, 3), as programs that show pictures take them."""
        return self.x if self.channels == 1 else np.moveaxis(self.x, 1, -1)

    def name(self, number: int) -> str:
        """How an image is called in messages."""
        return f"image {number} (they count from 0)" if self.names is None else self.names[number]

    def take(self, index: NDArray[np.integer[Any]]) -> Images:
        """The images of these numbers."""
        names = None if self.names is None else tuple(self.names[i] for i in index)
        return Images(self.x[index], names, None if self.labels is None else self.labels[index])


def as_images(value: Images | Tensor | ArrayLike, labels: Any = None) -> Images:
    """Images of an array: (n, H, W), grey; or (n, H, W, C) or (n, C, H, W), where C is 1 (grey) or 3 (red, green, blue).

    Of four dimensions the last one holds the channels if it has 1 or 3 numbers, else the second one. Where both could, the
    last one is taken, and a warning says so.

    Args:
        value: whole numbers from 0 to 255 of any dtype, or truth values; `Images` are handed on.
        labels: one for each image, whole numbers, texts or truth values.

    Raises:
        ValueError: another shape, no images, no numbers, or numbers that are no levels from 0 to 255: fractions, NaN.

    Warns:
        ImageWarning: the shape could be read in another way too.

    Example:
        >>> import numpy
        >>> from anabranch.images import as_images
        >>> images = as_images(numpy.zeros((10, 8, 6, 3)))
        >>> images.x.shape, images.size, images.channels
        ((10, 3, 8, 6), (8, 6), 3)
    """
    if isinstance(value, Images):
        return value if labels is None else replace(value, labels=_read_labels(labels, len(value)))
    array = np.asarray(value.detach().cpu() if isinstance(value, Tensor) else value)
    if array.ndim not in (3, 4):
        raise ValueError(
            "images: expected an array (images, height, width) or (images, height, width, channels), "
            f"got shape {array.shape}"
        )
    if array.dtype.kind not in "biuf":
        raise ValueError(f"images: expected numbers, got an array of {array.dtype}")
    if len(array) == 0:
        raise ValueError(f"images: expected some, got none (shape {array.shape})")
    if 0 in array.shape:
        raise ValueError(f"images: expected at least one pixel each, got shape {array.shape}")
    array = _channels_first(array)
    return Images(_as_bytes(array), None, None if labels is None else _read_labels(labels, len(array)))


def _channels_first(x: NDArray[Any]) -> NDArray[Any]:
    """(images, H, W) or (images, 3, H, W)."""
    if x.ndim == 3:
        if x.shape[2] in (3, 4) and min(x.shape[:2]) >= 8:
            warnings.warn(
                f"shape {x.shape} is read as {x.shape[0]} grey images of {x.shape[1]} x {x.shape[2]} pixels; one image "
                f"in colour would be (1, {x.shape[0]}, {x.shape[1]}, {x.shape[2]})",
                ImageWarning,
                stacklevel=3,
            )
        return x
    last, second = x.shape[3] in _CHANNELS, x.shape[1] in _CHANNELS
    if not (last or second):
        raise ValueError(
            "images: expected 1 channel (grey) or 3 (red, green, blue) in the last dimension or in the second, "
            f"got shape {x.shape}; leave out other channels, such as opacity"
        )
    if last and second:
        warnings.warn(
            f"shape {x.shape} is read as (images, height, width, channels); if the channels come second, move them to "
            "the end with numpy.moveaxis(x, 1, -1)",
            ImageWarning,
            stacklevel=3,
        )
    x = np.moveaxis(x, -1, 1) if last else x
    return x[:, 0] if x.shape[1] == 1 else x


def _as_bytes(x: NDArray[Any]) -> Bytes:
    """Whole numbers from 0 to 255.

    Raises:
        ValueError: there are others; it names the first of them, and says what to do.
    """
    if x.dtype.kind == "b" or x.dtype == np.uint8:
        return np.ascontiguousarray(x, dtype=np.uint8)
    if x.dtype.kind == "f":
        _refuse(x, ~np.isfinite(x), "finite numbers", "remove or fill such images")
        fractions = x != np.floor(x)
        if fractions.any():
            scaled = "turn them to levels with (255 * x).round().astype('uint8')"
            unit = bool(x.min() >= 0 and x.max() <= 1)
            instead = scaled if unit else "scale them to 0 to 255 and round them"
            _refuse(x, fractions, "whole numbers from 0 to 255, levels of brightness", instead)
    _refuse(x, (x < 0) | (x > 255), "whole numbers from 0 to 255", "scale them to that range")
    return np.ascontiguousarray(x.astype(np.uint8))


def _refuse(x: NDArray[Any], bad: NDArray[np.bool_], expected: str, instead: str) -> None:
    if not bad.any():
        return
    which = bad.reshape(len(x), -1).any(axis=1)
    number = int(which.argmax())
    value = x[number][bad[number]].flat[0]
    raise ValueError(
        f"images: expected {expected}, got {value:.6g} in image {number} (they count from 0; {int(which.sum())} of "
        f"{len(x)} images hold such numbers); {instead}"
    )


def _read_labels(labels: Any, count: int) -> NDArray[Any]:
    values = np.asarray(labels)
    if values.shape != (count,):
        raise ValueError(f"labels: expected one for each of the {count} images, got shape {values.shape}")
    if values.dtype.kind == "f" and bool((values == np.floor(values)).all()):
        values = values.astype(np.int64)
    if values.dtype.kind == "O" and all(isinstance(value, str) for value in values):
        values = values.astype(str)
    if values.dtype.kind not in "iubU":
        raise ValueError(f"labels: expected whole numbers or texts, got an array of {values.dtype}")
    return values
