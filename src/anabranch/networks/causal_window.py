"""The first layer of causal networks: a product of the values that stand in a window before each position."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, pad

from anabranch.checks import numbers_below, positive_int
from anabranch.kernels.layout import cast
from anabranch.kernels.modes import may_write

Memory = int | Sequence[int]
"""How far a window reaches: so many positions, or (rows, columns) of an image."""


class CausalWindow(nn.Module):
    r"""h_d = W x_{window(d)} + b_d, where a slot of the window that lies outside of x holds zeros.

    The window of a position is the last m positions, or of an image so many rows above, each with so many columns to both
    sides, and so many columns to the left. b_d = b + M o_d + e_d, where o_d marks with ones the slots outside, and
    e_d, if wanted, is a vector of the position.

    All positions at once are a convolution of an image whose channels lie side by side in memory: so x comes, and so the
    layers after it read.

    Args:
        positions: their shape. m positions are a window of an image of one row.
        channels: numbers in one position.
        width: of h_d.
        memory: m, or (rows, columns).
        embed_positions: whether there is e_d.

    Raises:
        ValueError: a memory that is neither a number from 1 on nor (rows, columns) of positions (height, width).
    """

    outside: Tensor

    def __init__(
        self, positions: torch.Size, channels: int, width: int, memory: Memory = 1, embed_positions: bool = False
    ) -> None:
        super().__init__()
        self.channels = channels
        self.grid, self.above, self.left = _window(positions, memory)
        self.across = 2 * self.left + 1
        slots = self.above * self.across + self.left
        self.product = nn.Linear(slots * channels, width)
        self.embedding = nn.Parameter(torch.zeros(positions.numel(), width)) if embed_positions else None
        self.mark = nn.Linear(slots, width, bias=False)
        self.register_buffer("outside", self.places() < 0, persistent=False)

    def places(self) -> Tensor:
        """(positions, slots): which position each slot of each window holds, -1 outside; the upper rows first."""
        height, width = self.grid
        numbers = torch.arange(height * width).view(height, width)
        windows = []
        if self.above:
            upper = pad(numbers, (self.left, self.left, self.above, -1), value=-1)
            windows.append(upper.unfold(0, self.above, 1).unfold(1, self.across, 1).reshape(height * width, -1))
        if self.left:
            windows.append(pad(numbers, (self.left, -1), value=-1).unfold(1, self.left, 1).flatten(0, 1))
        return torch.cat(windows, dim=1)

    @property
    def receptive_field(self) -> Tensor:
        """(positions, positions), at [d, e] whether h_d depends on x_e."""
        places = self.places()
        seen = torch.zeros(len(places), len(places) + 1, dtype=torch.bool)
        return seen.scatter(1, places.where(places >= 0, len(places)), True)[:, :-1]

    def shifts(self) -> Tensor:
        """b_d: (positions, width)."""
        shifts = torch.addmm(self.product.bias, self.outside.to(self.mark.weight), self.mark.weight.mT)
        return shifts if self.embedding is None else shifts + self.embedding

    def forward(self, x: Tensor, dtype: torch.dtype | None = None) -> Tensor:
        """(rows, positions * channels) to (rows, positions, width), multiplied in that dtype, that of x if None."""
        x, weight, h = cast(dtype, x, self.product.weight, self.shifts())
        x = x.reshape(len(x), *self.grid, self.channels).movedim(-1, 1)
        upper, left = self._kernels(weight)
        if upper is not None:
            h = h + _as_rows(conv2d(pad(x, (self.left, self.left, self.above, -1)), upper))
        if left is not None:
            h = h + _as_rows(conv2d(pad(x, (self.left, -1, 0, 0)), left))
        return h

    def start(self, rows: int) -> WindowSteps:
        """Before the first position."""
        if self.grid[0] == self.left == 1:
            return LastValues(self, rows)
        return (WrittenWindows if may_write() else RecordedWindows)(self, rows)

    def _kernels(self, weight: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """The shares of W as kernels, (width, channels, rows, columns), of the rows above and of the columns to the left."""
        cut = self.above * self.across * self.channels
        upper, left = weight[:, :cut], weight[:, cut:]
        return (
            upper.unflatten(1, (self.above, self.across, self.channels)).movedim(-1, 1) if self.above else None,
            left.unflatten(1, (1, self.left, self.channels)).movedim(-1, 1) if self.left else None,
        )


class WindowSteps(ABC):
    """The products of one position after the other."""

    def __init__(self, window: CausalWindow, rows: int) -> None:
        self.window, self.rows = window, rows
        self.position = 0
        self.weight = window.product.weight.mT
        self.shifts = window.shifts().unbind()

    def step(self, x_previous: Tensor | None) -> Tensor:
        """(rows, width) of the next position, given the value, (*batch) or (*batch, channels), at the one before.

        Raises:
            ValueError: x_previous is not of the dtype of the parameters.
        """
        if x_previous is not None and x_previous.dtype != self.weight.dtype:
            raise ValueError(f"x_previous: expected dtype {self.weight.dtype} (the network's), got {x_previous.dtype}")
        if x_previous is not None and self.position:
            self._keep(x_previous.reshape(self.rows, self.window.channels))
        h = self._product()
        self.position += 1
        return h

    @abstractmethod
    def _keep(self, value: Tensor) -> None: ...

    @abstractmethod
    def _product(self) -> Tensor: ...


class LastValues(WindowSteps):
    """Windows of one value, which need no room."""

    value: Tensor | None = None

    def _keep(self, value: Tensor) -> None:
        self.value = value

    def _product(self) -> Tensor:
        shift = self.shifts[self.position]
        return shift.expand(self.rows, -1) if self.value is None else torch.addmm(shift, self.value, self.weight)


class WrittenWindows(WindowSteps):
    """Values are written into an image with a margin, from which windows are cut."""

    def __init__(self, window: CausalWindow, rows: int) -> None:
        super().__init__(window, rows)
        (height, width), above, left = window.grid, window.above, window.left
        self.room = self.weight.new_zeros(rows, above + height, width + 2 * left, window.channels)
        self.upper, self.lower = self.weight.split([above * window.across * window.channels, left * window.channels])

    def _keep(self, value: Tensor) -> None:
        row, column = divmod(self.position - 1, self.window.grid[1])
        self.room[:, self.window.above + row, self.window.left + column] = value

    def _product(self) -> Tensor:
        (row, column), above, left = divmod(self.position, self.window.grid[1]), self.window.above, self.window.left
        h = self.shifts[self.position]
        if left:
            h = torch.addmm(h, self.room[:, above + row, column : column + left].flatten(1), self.lower)
        if above:
            cut = self.room[:, row : row + above, column : column + self.window.across]
            h = torch.addmm(h, cut.flatten(1), self.upper)
        return h


class RecordedWindows(WindowSteps):
    """Values stay as they came, through which gradients flow and which `torch.func` may transform."""

    def __init__(self, window: CausalWindow, rows: int) -> None:
        super().__init__(window, rows)
        self.places = window.places().tolist()
        self.nothing = self.weight.new_zeros(rows, window.channels)
        self.values: list[Tensor] = []

    def _keep(self, value: Tensor) -> None:
        self.values.append(value)

    def _product(self) -> Tensor:
        values = [self.nothing if e < 0 else self.values[e] for e in self.places[self.position]]
        return torch.addmm(self.shifts[self.position], torch.cat(values, dim=-1), self.weight)


def _window(positions: torch.Size, memory: Any) -> tuple[tuple[int, int], int, int]:
    """The image in which windows lie, the rows above and the columns to the left, no more than there are."""
    if not isinstance(memory, Sequence):
        count = positions.numel()
        return (1, count), 0, min(positive_int("memory", memory), max(1, count - 1))
    if len(positions) != 2 or len(memory) != 2:
        raise ValueError(
            "memory: expected how many positions, or (rows, columns) for features (height, width), "
            f"got {tuple(memory)} for features {tuple(positions)}"
        )
    height, width = positions
    rows, columns = numbers_below("memory", memory)
    if not rows and not columns:
        raise ValueError("memory: expected (rows, columns) of which one is above 0, got (0, 0)")
    rows, columns = min(rows, height - 1), min(columns, width - 1)
    return (height, width), rows, columns if rows or columns else 1


def _as_rows(h: Tensor) -> Tensor:
    """(rows, width, height, columns) as (rows, positions, width)."""
    return h.movedim(1, -1).flatten(1, 2)
