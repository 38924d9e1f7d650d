"""The coarsest grid that holds some real numbers: a list of them, decimals, or all floats of a type."""

from __future__ import annotations

import math

import numpy as np
import pyarrow as pa

from anabranch.arrays import LARGEST_EXACT
from anabranch.compression.discrete_grids import extent
from anabranch.compression.float_grids import (
    BITS,
    FLOATS,
    MOST_DIGITS,
    DecimalGrid,
    FloatGrid,
    ListGrid,
    PrecisionGrid,
    RealGrid,
    decimals,
    ranks,
    widths_of,
)
from anabranch.compression.tape import Float64
from anabranch.tables.columns import Angle
from anabranch.tables.columns.reading import read_floats
from anabranch.tables.columns.smooth import Smooth

# bits of a file for a number of a list, about
_LISTED = 48


def real_grid(column: Smooth | Angle, values: pa.Array, precision: float | None, type: str) -> RealGrid:
    """The grid of some values: of multiples of a precision, or the coarsest that holds them all bit for bit.

    Args:
        column: of the table's model.
        values: without gaps.
        precision: None for bit for bit.
        type: "double", "float" or "halffloat", the type of the table's column.
    """
    x = read_floats(column.name, values)
    # an atom is no number of the grid
    plain = x[~np.isin(column.encode(values), column.atoms_encoded)]
    if precision is not None:
        n = PrecisionGrid.nearest(column, pa.array(plain), precision)
        return PrecisionGrid(column, *extent(n), precision)
    with np.errstate(over="ignore"):
        narrow = next(name for name in BITS if bool((plain.astype(FLOATS[name]) == plain).all()))
    digits = _digits(plain, type)
    # the coarser of the two
    width = np.log2(spacing(plain, narrow))
    decimal = digits is not None and -digits * math.log2(10) >= (float(width.mean()) if len(plain) else 0)
    if decimal and digits is not None:
        width = np.full(len(plain), -digits * math.log2(10))
    if isinstance(column, Smooth) and not bool((np.signbit(plain) & (plain == 0)).any()):
        distinct, counts = np.unique(plain, return_counts=True)
        if float(counts @ np.log2(widths_of(distinct))) - float(width.sum()) > _LISTED * len(distinct) > 0:
            return ListGrid(column, distinct)
    if decimal and digits is not None:
        return DecimalGrid(column, *extent(np.round(plain * 10.0**digits).astype(np.int64)), digits, type)
    return FloatGrid(column, *extent(ranks(plain, narrow)), narrow)


def spacing(x: Float64, type: str) -> Float64:
    """How far each float is from the next one of a type."""
    return np.spacing(np.abs(x).astype(FLOATS[type])).astype(np.float64)


def _digits(x: Float64, type: str) -> int | None:
    """With how many decimals all numbers are written, None for more than a few."""
    for digits in range(MOST_DIGITS + 1):
        with np.errstate(over="ignore"):
            n = np.round(x * 10.0**digits)
        if bool((np.abs(n) > LARGEST_EXACT).any()):
            return None
        again = decimals(n, digits, type)
        if bool(((again == x) & (np.signbit(again) == np.signbit(x))).all()):
            return digits
    return None
