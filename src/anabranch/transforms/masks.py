"""Masks of images for couplings: checkerboards, and halves of the channels."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from anabranch.checks import as_shape, positive_int


def checkerboard(shape: Sequence[int], turn: int = 0) -> Tensor:
    """True at every second pixel of (channels, height, width), for all channels; at the other pixels if `turn` is odd.

    Source: Dinh et al., 2017, arXiv:1605.08803, section 3.4.

    Raises:
        ValueError: a shape that is not (channels, height, width), a negative turn.

    Example:
        >>> from anabranch.transforms import checkerboard
        >>> checkerboard((1, 2, 4))
        tensor([[[False,  True, False,  True],
                 [ True, False,  True, False]]])
    """
    channels, height, width = _image(shape)
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return ((rows + columns + positive_int("turn", turn, least=0)) % 2 == 1).expand(channels, height, width)


def half_of_channels(shape: Sequence[int], turn: int = 0) -> Tensor:
    """True at half of the channels of (channels, height, width); at the other half if `turn` is odd.

    Every second turn splits the channels another way, by another binary digit of their numbers, so that couplings in turn
    mix all channels.

    Raises:
        ValueError: a shape that is not (channels, height, width), a negative turn.

    Example:
        >>> from anabranch.transforms import half_of_channels
        >>> [half_of_channels((4, 8, 8), turn)[:, 0, 0].tolist() for turn in (0, 2)]
        [[False, False, True, True], [False, True, False, True]]
    """
    shape = _image(shape)
    turn = positive_int("turn", turn, least=0)
    digits = max(1, (shape[0] - 1).bit_length())
    digit = (digits - 1 - turn // 2) % digits
    return (((torch.arange(shape[0]) >> digit) + turn) % 2 == 1).reshape(-1, 1, 1).expand(shape)


def _image(shape: Sequence[int]) -> torch.Size:
    size = as_shape("shape", shape)
    if len(size) != 3:
        raise ValueError(f"shape: expected (channels, height, width), got {tuple(size)}")
    return size
