"""The contract of what codes rows by a density: one walk over a tape, which writes or reads them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from anabranch.compression.halving import Numbers
from anabranch.compression.tape import Float64, Tape
from anabranch.densities import Density

States = NDArray[np.uint8]
# of a cell: it has a number; it is a gap (null, or NaN); it holds what the model cannot, which is kept beside the tape
PRESENT, NULL, NAN, RAW = range(4)


@dataclass(frozen=True)
class Cells:
    """Rows as whole numbers.

    Attributes:
        numbers: (rows, columns), from 0 on; 0 where a cell has none.
        states: (rows, columns), `PRESENT` or why there is no number.
    """

    numbers: Numbers
    states: States

    def __len__(self) -> int:
        return len(self.numbers)

    def rows(self, begin: int, end: int) -> Cells:
        """Some rows."""
        return Cells(self.numbers[begin:end], self.states[begin:end])

    @classmethod
    def joined(cls, blocks: Sequence[Cells], columns: int) -> Cells:
        """Blocks one below the other; none is no rows."""
        numbers = [np.zeros((0, columns), dtype=np.uint64), *(block.numbers for block in blocks)]
        states = [np.zeros((0, columns), dtype=np.uint8), *(block.states for block in blocks)]
        return cls(np.concatenate(numbers), np.concatenate(states))


class Coder(ABC):
    """Codes rows by a density, column by column or position by position, all rows of a block at once.

    `code` is the one primitive, for both directions. It takes every probability from what the tape gave back, never from the
    rows that came in, so that it does the same operations on the same numbers whether it writes or reads.

    Attributes:
        density: of the rows.
        columns: how many cells a row has.
        block: rows that are coded at once.
        bits: of the rows written so far, -log2 of the model's probability of each column (columns).
    """

    density: Density
    columns: int
    block: int
    bits: Float64

    @abstractmethod
    def code(self, tape: Tape, cells: Cells | None, rows: int) -> Cells:
        """Write rows, or read as many.

        Args:
            tape: on which.
            cells: for a tape that is written; None for one that is read.
            rows: how many, at most `block`.

        Raises:
            DecodingError: what is read was written by other probabilities.
        """
