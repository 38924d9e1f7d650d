"""Grids of columns whose every value has a probability: levels, steps, and steps around a circle."""

from __future__ import annotations

import math
from typing import Any, Self

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from anabranch.compression.grid import Grid, offsets, whole
from anabranch.compression.halving import Below, Numbers, tabulated
from anabranch.compression.tape import Float64
from anabranch.families import Family
from anabranch.tables.columns import Angle
from anabranch.tables.columns.column import Column
from anabranch.tables.columns.levels import OfLevels
from anabranch.tables.columns.reading import read_floats
from anabranch.tables.columns.stepped import Stepped

# how far below a point of a circle's lattice the cut before it lies, in steps
_BEFORE = 0.75


class LevelGrid(Grid):
    """Levels by their numbers, seen in the table or not."""

    column: OfLevels

    @classmethod
    def of(cls, column: OfLevels, values: pa.Array) -> Self:
        """The grid of a column's values."""
        return cls(column, len(column.levels))

    def find(self, values: pa.Array) -> Numbers:
        return self.column.encode(values).astype(np.uint64)

    def plain(self, n: Numbers) -> pa.Array:
        return self.column.decode(n.astype(np.float64))

    def cuts(self, n: Numbers) -> tuple[Float64, Float64]:
        return n.astype(np.float64) - 0.5, np.zeros(len(n))

    def to_json(self) -> dict[str, Any]:
        return {}

    def _distribution(self, family: Family, theta: Tensor) -> tuple[Float64, Below]:
        levels = torch.arange(self.size, dtype=theta.dtype)
        return np.zeros((len(theta), 0)), tabulated(family, levels, theta)


class StepGrid(Grid):
    """Whole numbers, rounded ones and times by their steps, from the least to the largest of the table that is no atom.

    Args:
        column: of the table's model.
        size: how many steps.
        low: the least.
    """

    column: Stepped

    def __init__(self, column: Stepped, size: int, low: int) -> None:
        self.low = low
        super().__init__(column, size)

    @classmethod
    def of(cls, column: Stepped, values: pa.Array) -> Self:
        """The grid of a column's values."""
        m = column.steps(values)[0]
        plain = m[~np.isin(column.encode(values), column.atoms_encoded)]
        return cls(column, *extent(plain))

    def find(self, values: pa.Array) -> Numbers:
        return offsets(self.column.steps(values)[0], self.low)

    def plain(self, n: Numbers) -> pa.Array:
        return self.column.of_steps(whole(n, self.low))

    def cuts(self, n: Numbers) -> tuple[Float64, Float64]:
        return self.column.before(whole(n, self.low)), np.zeros(len(n))

    def to_json(self) -> dict[str, Any]:
        return {"size": self.size, "low": self.low}


class TurnGrid(Grid):
    """Steps around a circle, several times if need be: 360 beside 0, and -90 beside 270.

    Args:
        column: of the table's model, with a step.
        size: how many steps.
        low: the least.
    """

    column: Angle
    circular = True

    def __init__(self, column: Angle, size: int, low: int) -> None:
        self.low = low
        super().__init__(column, size)

    @classmethod
    def of(cls, column: Angle, values: pa.Array) -> Self:
        """The grid of a column's values."""
        return cls(column, *extent(_steps(column, values)))

    def find(self, values: pa.Array) -> Numbers:
        return offsets(_steps(self.column, values), self.low)

    def plain(self, n: Numbers) -> pa.Array:
        # the float next to a multiple of a step that is a decimal, as `Angle.decode` gives it
        x = np.round(whole(n, self.low) * _step(self.column), 9) + 0.0
        return pa.array(np.round(x).astype(np.int64) if pa.types.is_integer(self.column.arrow_type) else x)

    def cuts(self, n: Numbers) -> tuple[Float64, Float64]:
        turns, place = np.divmod(whole(n, self.low), self.column.count)
        return (place - _BEFORE) * (2 * math.pi / self.column.count), turns.astype(np.float64)

    def to_json(self) -> dict[str, Any]:
        return {"size": self.size, "low": self.low}


def extent(n: np.ndarray[Any, np.dtype[np.int64]]) -> tuple[int, int]:
    """How many whole numbers lie from the least to the largest, and the least; of none one, 0."""
    if not len(n):
        return 1, 0
    low, high = int(n.min()), int(n.max())
    return high - low + 1, low


def _step(column: Angle) -> float:
    return column.period if column.step is None else column.step


def _steps(column: Angle, values: pa.Array) -> np.ndarray[Any, np.dtype[np.int64]]:
    return np.round(read_floats(column.name, values) / _step(column)).astype(np.int64)


def is_discrete(column: Column) -> bool:
    """Whether a column has one of these grids."""
    return isinstance(column, (OfLevels, Stepped)) or (isinstance(column, Angle) and column.discrete)
