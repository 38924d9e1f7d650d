"""The cells of one column of a table, and the column of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from anabranch.compression.coder import NAN, NULL, PRESENT, RAW, States
from anabranch.compression.grid import Grid
from anabranch.compression.grids import grid_of
from anabranch.compression.halving import Numbers
from anabranch.compression.kept import kept
from anabranch.tables.columns import Column
from anabranch.tables.columns.reading import UnseenError
from anabranch.tables.returned import packed
from anabranch.tables.types import plain_type


def cells_of(part: Column, values: pa.Array, precision: float | None) -> tuple[Grid, Numbers, States, list[Any]]:
    """The grid of a column, its numbers and states (rows), and the values that are kept as they are, as JSON.

    Kept are values that the column cannot hold, and those that would come back as others.

    Raises:
        ValueError, TableError: as for `compress`.
    """
    states = np.full(len(values), PRESENT, dtype=np.uint8)
    null = values.is_null().to_numpy(zero_copy_only=False)
    if pa.types.is_floating(values.type):
        states[pc.is_nan(values).fill_null(False).to_numpy(zero_copy_only=False)] = NAN
    states[null] = NULL
    while True:
        there = np.flatnonzero(states == PRESENT)
        some = values.take(pa.array(there))
        try:
            grid = grid_of(part, some, precision)
            n = grid.numbers(some)
        except UnseenError as error:
            states[there[error.unseen]] = RAW
            continue
        back = _cast(grid.values(n), values.type)
        wrong = ~_same(back, some, precision)
        if not wrong.any():
            break
        states[there[wrong]] = RAW
    numbers = np.zeros(len(values), dtype=np.uint64)
    numbers[there] = n
    return grid, numbers, states, kept(values.take(pa.array(np.flatnonzero(states == RAW))))


def _same(back: pa.Array, values: pa.Array, precision: float | None) -> NDArray[np.bool_]:
    """Which values came back as they were, or within half a precision."""
    if pa.types.is_floating(values.type):
        x, y = (one.cast(pa.float64()).to_numpy(zero_copy_only=False) for one in (values, back))
        if precision is None:
            return (x == y) & (np.signbit(x) == np.signbit(y))
        digit = 4 * np.finfo(values.type.to_pandas_dtype()).eps * np.abs(x)
        return np.abs(x - y) <= 0.5 * precision * (1 + 1e-9) + digit
    return pc.equal(back, values).to_numpy(zero_copy_only=False)


def _cast(values: pa.Array, kind: pa.DataType) -> pa.Array:
    return values if values.type == kind else values.cast(kind, safe=False)


def column_of(grid: Grid, n: Numbers, states: States, raw: pa.Array, kind: pa.DataType) -> pa.Array:
    """Values, gaps and what was kept, in their places."""
    if pa.types.is_null(kind):
        return pa.nulls(len(n))
    there, others = states == PRESENT, states == RAW
    if int(others.sum()) != len(raw):
        raise ValueError(f"expected {int(others.sum())} values that are kept as they are, got {len(raw)}")
    inner = plain_type(kind)
    pieces = [_cast(grid.values(n[there]), inner), _cast(raw, inner)]
    if pa.types.is_floating(inner):
        pieces.append(pa.array([np.nan], pa.float64()).cast(inner))
    place = np.zeros(len(n), dtype=np.int64)
    place[there] = np.arange(there.sum())
    place[others] = there.sum() + np.arange(others.sum())
    place[states == NAN] = there.sum() + others.sum()
    result = pa.concat_arrays(pieces).take(pa.array(place, mask=states == NULL))
    # the categories of a dictionary are those that are there
    return packed(result, kind, pa.chunked_array([result.dictionary_encode()]))
