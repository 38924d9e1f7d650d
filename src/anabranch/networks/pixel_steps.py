"""What a PixelCNN keeps from pixel to pixel."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from anabranch.kernels.modes import may_write


class PixelRow(ABC):
    """The numbers of the pixels of one row so far, side by side, behind as many zeros as a convolution reads to the left."""

    @abstractmethod
    def begin(self) -> None:
        """A new row."""

    @abstractmethod
    def append(self, values: Tensor) -> None:
        """The next numbers, (rows, numbers)."""

    @abstractmethod
    def window(self, begin: int, end: int) -> Tensor:
        """Numbers begin to end, counted from the first zero: (rows, end - begin)."""

    @staticmethod
    def of(like: Tensor, rows: int, zeros: int, numbers: int) -> PixelRow:
        """One that writes where it may."""
        return (WrittenRow if may_write() else RecordedRow)(like, rows, zeros, numbers)


class WrittenRow(PixelRow):
    """Numbers in one room, written over by the next row."""

    def __init__(self, like: Tensor, rows: int, zeros: int, numbers: int) -> None:
        self.room = like.new_zeros(rows, zeros + numbers)
        self.zeros = zeros
        self.end = zeros

    def begin(self) -> None:
        self.end = self.zeros

    def append(self, values: Tensor) -> None:
        count = values.shape[1]
        self.room.narrow(1, self.end, count).copy_(values)
        self.end += count

    def window(self, begin: int, end: int) -> Tensor:
        return self.room.narrow(1, begin, end - begin)


class RecordedRow(PixelRow):
    """Numbers out of place, through which gradients flow and which `torch.func` may transform."""

    def __init__(self, like: Tensor, rows: int, zeros: int, numbers: int) -> None:
        self.before = like.new_zeros(rows, zeros)
        self.known = self.before

    def begin(self) -> None:
        self.known = self.before

    def append(self, values: Tensor) -> None:
        self.known = torch.cat([self.known, values], dim=1)

    def window(self, begin: int, end: int) -> Tensor:
        return self.known[:, begin:end]


@dataclass
class PixelCNNState:
    """What the steps so far have computed.

    Attributes:
        batch_shape: of the images.
        conditions: what the context says to the gates of each layer, (rows, 1 or H, 1 or W, units).
        place: how many positions are done.
        x_row: x in the row at hand.
        x_above: x in the rows above, as many as the first convolution reads: (rows, above, W, numbers).
        h_row: the states of the horizontal stack in the row at hand, of the layers 0 to L - 1.
        v_above: the states of the vertical stack in the rows above, the same.
        messages: of the vertical stack to the horizontal one in the row at hand, (rows, W, units), layers 1 to L.
        first_taps: the weights of the convolution of x itself, a matrix for each channel.
        taps: those of the horizontal layers' convolutions, the same.
        outs: those of what their gates let through, the same.
    """

    batch_shape: torch.Size
    conditions: list[Tensor] | None
    place: int
    x_row: PixelRow
    x_above: Tensor
    h_row: list[PixelRow]
    v_above: list[Tensor]
    messages: list[Tensor]
    first_taps: list[Tensor]
    taps: list[list[Tensor]]
    outs: list[list[Tensor]]
