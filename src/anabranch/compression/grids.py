"""Which grid a column of a table gets, and how a file says it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from anabranch.compression.coarsest_grid import real_grid
from anabranch.compression.discrete_grids import LevelGrid, StepGrid, TurnGrid, is_discrete
from anabranch.compression.float_grids import DecimalGrid, FloatGrid, ListGrid, PrecisionGrid
from anabranch.compression.grid import Grid
from anabranch.tables.columns import Angle, Column
from anabranch.tables.columns.levels import OfLevels
from anabranch.tables.columns.smooth import Smooth
from anabranch.tables.columns.stepped import Stepped


def grid_of(column: Column, values: pa.Array, precision: float | None) -> Grid:
    """The grid of some values of a column, without gaps.

    Raises:
        ValueError: a precision for a column whose values have probabilities; a column of a kind that has no grid.
        TableError: a value that the column cannot hold.
    """
    if precision is not None and is_discrete(column):
        raise ValueError(
            f"precision: expected columns that have a density, got {column.name!r}, which is {column.kind} and is kept as "
            "it is; leave it out"
        )
    if isinstance(column, OfLevels):
        return LevelGrid.of(column, values)
    if isinstance(column, Stepped):
        return StepGrid.of(column, values)
    if isinstance(column, Angle) and column.discrete:
        return TurnGrid.of(column, values)
    if isinstance(column, (Smooth, Angle)):
        kind = str(values.type)
        if precision is not None and not pa.types.is_floating(values.type):
            raise ValueError(f"precision: expected columns of floats, got {column.name!r} of {kind}; leave it out")
        return real_grid(column, values, precision, kind if kind in ("float", "halffloat") else "double")
    raise _unknown(column)


def from_json(column: Column, about: Mapping[str, Any]) -> Grid:
    """The grid that `Grid.to_json` described.

    Raises:
        KeyError, TypeError, ValueError: a description that no grid gave.
    """
    if isinstance(column, OfLevels):
        return LevelGrid(column, len(column.levels))
    if isinstance(column, Smooth) and "values" in about:
        return ListGrid(column, about["values"])
    size, low = (_whole(about[name]) for name in ("size", "low"))
    if isinstance(column, Stepped):
        return StepGrid(column, size, low)
    if isinstance(column, Angle) and column.discrete:
        return TurnGrid(column, size, low)
    if isinstance(column, (Smooth, Angle)):
        if "step" in about:
            return PrecisionGrid(column, size, low, about["step"])
        if "digits" in about:
            return DecimalGrid(column, size, low, about["digits"], about["type"])
        return FloatGrid(column, size, low, about["type"])
    raise _unknown(column)


def _whole(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"expected a whole number, got {value!r}")
    return value


def _unknown(column: Column) -> ValueError:
    return ValueError(
        f"column {column.name!r}: expected a kind of the library's, which compression knows, got a {type(column).__name__}"
    )
