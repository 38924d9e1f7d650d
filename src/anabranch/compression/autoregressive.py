"""Events of an autoregressive model: position after position, each given those before it, all events at once."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from anabranch.compression.coder import Cells, Coder
from anabranch.compression.halving import Below, Numbers, code_numbers, tabulated
from anabranch.compression.tape import Tape
from anabranch.families import Channels, Family
from anabranch.models import Autoregressive

# rows of a block, fewer of large events
_ROWS, _FEWEST, _NUMBERS = 1024, 64, 2**20


class AutoregressiveCoder(Coder):
    """Codes events of whole numbers in the order of an `Autoregressive` model, through the steps that draw its samples.

    Cells are the numbers of an event in the order of the network's positions, channels of a position one after the other,
    each counted from the least that it can be.

    Args:
        density: the model, on the CPU.
        context: (rows, *context) of all rows, or None.

    Raises:
        ValueError: a model of other numbers than whole ones from a least to a largest.
    """

    def __init__(self, density: Autoregressive, context: Tensor | None = None) -> None:
        self.density, self.context, self._chain = density, context, density.chain
        self.family: Family | Channels = density.chain.family
        self.number = self.family.family if isinstance(self.family, Channels) else self.family
        low, high = self.number.ends()
        if not self.number.whole or not (math.isfinite(low) and math.isfinite(high)):
            raise ValueError(
                f"model: expected whole numbers at every position, such as Levels, got {type(self.number).__name__}"
            )
        self.low, self.size = int(low), int(high) - int(low) + 1
        self.columns = density.event_shape.numel()
        self.block = max(_FEWEST, min(_ROWS, _NUMBERS // self.columns))
        self.bits = np.zeros(self.columns)
        self._done = 0

    def code(self, tape: Tape, cells: Cells | None, rows: int) -> Cells:
        numbers = np.zeros((rows, self.columns), dtype=np.uint64)
        places = iter(range(self.columns))

        def number(theta: Tensor) -> Tensor:
            place = next(places)
            n = self._code(tape, theta, place, None if cells is None else cells.numbers[:, place])
            numbers[:, place] = n
            return self._values(n, theta)

        def draw(theta: Tensor) -> Tensor:
            exact = theta.double().expand(rows, -1)
            x = number(exact) if isinstance(self.family, Family) else self.family.sample_by(exact, number)
            return x.to(theta.dtype)

        # in memory of its own: sums may depend on where numbers lie
        context = None if self.context is None else self.context[self._done : self._done + rows].clone()
        self._done += rows
        self._chain.walk(torch.Size([rows]), context, draw=draw)
        return Cells(numbers, np.zeros(numbers.shape, dtype=np.uint8))

    def _code(self, tape: Tape, theta: Tensor, place: int, wanted: Numbers | None) -> Numbers:
        n = code_numbers(tape, self._below(theta), self.size, wanted, len(theta))
        if wanted is not None:
            log_p = self.number.log_prob(self._values(n, theta), theta)
            self.bits[place] -= float(log_p.sum()) / math.log(2)
        return n

    def _below(self, theta: Tensor) -> Below:
        """P(N < n) of each row; by a table where theta has about as many numbers as there are, as of levels."""
        if self.size > 2 * self.number.parameters_of_one:
            return lambda n: self.number.below(self._values(n, theta), theta)[0].numpy()
        return tabulated(self.number, torch.arange(self.size, dtype=theta.dtype) + self.low, theta)

    def _values(self, n: Numbers, like: Tensor) -> Tensor:
        return torch.tensor(n.astype(np.int64) + self.low).to(like.dtype)
