"""The contract of a grid: the values of one column of a table as whole numbers, and their probabilities."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor

from anabranch.compression.halving import Below, Numbers, code_numbers
from anabranch.compression.tape import Float64, Tape, quantised
from anabranch.families import Family
from anabranch.tables.columns import Column

# below so much a difference of distribution functions is not as exact as a density times a width
_SMALL = 1e-9


class Grid(ABC):
    """Which values a column has in one table, as whole numbers: 0 <= n < size in their order, and size + j for its atom j.

    .. code-block:: text

        find(values)     -> (rows), n of values that are no gaps; any n for a value that is not on the grid
        plain(n)         -> an Arrow array, the value of each n < size
        cuts(n)          -> (rows), (rows): z, such that all that is before n is at most z, beside whole turns of a circle
        to_json()        -> what `grids.from_json` makes the grid of again

    To write your own: call `super().__init__(column, size)` and define the four.

    Args:
        column: of the table's model.
        size: how many numbers there are, atoms aside.
    """

    # whether z comes around
    circular = False

    def __init__(self, column: Column, size: int) -> None:
        if not 1 <= size < 2**64:
            raise ValueError(f"size: expected a whole number from 1 to 2^64 - 1, got {size}")
        self.column, self.size = column, size
        self.codes = column.atoms_encoded
        self._atoms = column.decode(self.codes)

    @abstractmethod
    def find(self, values: pa.Array) -> Numbers: ...

    @abstractmethod
    def plain(self, n: Numbers) -> pa.Array: ...

    @abstractmethod
    def cuts(self, n: Numbers) -> tuple[Float64, Float64]: ...

    def widths(self, n: Numbers) -> Float64:
        """How much of the column's unit each n < size stands for, of columns that have a density."""
        raise NotImplementedError

    @abstractmethod
    def to_json(self) -> dict[str, Any]: ...

    def numbers(self, values: pa.Array) -> Numbers:
        """n of values that are no gaps, atoms too; any n for a value that is not on the grid.

        Raises:
            TableError: a value that the column cannot hold.
        """
        z = self.column.encode(values)
        n = np.minimum(self.find(values), np.uint64(self.size - 1))
        for j, code in enumerate(self.codes):
            n[z == code] = self.size + j
        return n

    def values(self, n: Numbers) -> pa.Array:
        """The value of each number, atoms too."""
        last = np.uint64(self.size - 1)
        plain = self.plain(np.minimum(n, last))
        atom = n > last
        if not atom.any():
            return plain
        # wherever an atom is, behind the others
        place = np.where(atom, len(plain) + (n - last - np.uint64(1)), np.arange(len(n), dtype=np.uint64))
        return pa.concat_arrays([plain, self._atoms.cast(plain.type)]).take(pa.array(place))

    def z(self, n: Numbers) -> Float64:
        """The encoded value of each number."""
        return self.column.encode(self.values(n))

    def code(self, tape: Tape, family: Family, theta: Tensor, n: Numbers | None) -> Numbers:
        """Write numbers, or read as many, by p(z | theta).

        Args:
            tape: on which.
            family: of z.
            theta: (rows, parameters), float64, at least one row.
            n: (rows), or None for a tape that is read.

        Returns:
            (rows).
        """
        rows = len(theta)
        p, below = self._distribution(family, theta)
        at = np.zeros(rows, dtype=np.int64)
        if p.shape[1]:
            weights = np.concatenate([np.clip(1 - p.sum(axis=1, keepdims=True), 0, 1), p], axis=1)
            first = np.uint64(self.size - 1)
            wanted = None if n is None else np.where(n > first, n - first, 0).astype(np.int64)
            at = tape.code(quantised(weights), wanted)
        result = np.uint64(self.size - 1) + at.astype(np.uint64)
        other = np.flatnonzero(at == 0)
        if len(other) < rows:
            if not len(other):
                return result
            p, below = self._distribution(family, theta[torch.tensor(other)])
        ends = np.zeros(len(other)), 1 - p.sum(axis=1)
        if self.circular:
            ends = below(np.zeros(len(other), np.uint64)), below(np.full(len(other), self.size, np.uint64))
        result[other] = code_numbers(tape, below, self.size, None if n is None else n[other], len(other), ends)
        return result

    def bits(self, family: Family, theta: Tensor, n: Numbers) -> float:
        """-log2 of the probability that the model gives numbers, as exactly as its density tells it, summed over rows."""
        z = torch.tensor(self.z(n))
        log_p = family.log_prob(z, theta)
        if not self.column.discrete:
            inside = np.flatnonzero(n < self.size)
            some = n[inside]
            below = self._distribution(family, theta[torch.tensor(inside)])[1]
            mass = below(some + np.uint64(1)) - below(some)
            with np.errstate(all="ignore"):
                dense = (log_p.numpy() + self.column.log_det(z.numpy()))[inside] + np.log(self.widths(some))
                log_p[torch.tensor(inside)] = torch.tensor(np.where(mass > _SMALL, np.log(mass), dense))
        return -float(log_p.sum()) / math.log(2)

    def _distribution(self, family: Family, theta: Tensor) -> tuple[Float64, Below]:
        """The probability of each atom (rows, atoms), and P(N < n, no atom)."""
        codes = torch.tensor(self.codes)
        p = family.log_prob(codes, theta.unsqueeze(-2)).exp() if len(codes) else theta.new_zeros(len(theta), 0)

        def below(n: Numbers) -> Float64:
            z, turns = self.cuts(n)
            at_most = family.below(torch.tensor(z), theta)[1]
            if len(codes):
                at_most = at_most - (p * (codes <= torch.tensor(z).unsqueeze(-1))).sum(dim=-1)
            return at_most.numpy() + turns

        return p.numpy(), below


def offsets(whole: NDArray[np.int64], low: int) -> Numbers:
    """Whole numbers counted from the least of them, which may be further apart than 2^63."""
    return whole.astype(np.int64).view(np.uint64) - np.uint64(low % 2**64)


def whole(n: Numbers, low: int) -> NDArray[np.int64]:
    """The inverse of `offsets`."""
    return (n + np.uint64(low % 2**64)).view(np.int64)
