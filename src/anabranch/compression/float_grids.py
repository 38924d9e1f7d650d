"""Grids of real numbers: all floats of a type, decimals, multiples of a stated precision, and the numbers of a list."""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from anabranch.arrays import LARGEST_EXACT
from anabranch.checks import positive
from anabranch.compression.grid import Grid, offsets, whole
from anabranch.compression.halving import Numbers
from anabranch.compression.tape import Float64
from anabranch.tables.columns import Angle, Column
from anabranch.tables.columns.reading import read_floats
from anabranch.tables.columns.smooth import Smooth

# decimals that are looked for
MOST_DIGITS = 9
_TYPES = ("halffloat", "float", "double")
BITS: dict[str, np.dtype[Any]] = dict(zip(_TYPES, map(np.dtype, ("i2", "i4", "i8")), strict=True))
FLOATS: dict[str, np.dtype[Any]] = dict(zip(_TYPES, map(np.dtype, ("f2", "f4", "f8")), strict=True))


class RealGrid(Grid):
    """Real numbers on a line or around a circle, each the middle of a cell: what lies between its neighbours and it.

    To write your own: define `find`, `at`, `before` and `to_json`.

    Args:
        column: of the table's model.
        size: how many numbers there are.
        low: the least, as a whole number.
    """

    column: Smooth | Angle

    def __init__(self, column: Smooth | Angle, size: int, low: int) -> None:
        self.low = low
        self.circular = isinstance(column, Angle)
        super().__init__(column, size)

    @abstractmethod
    def at(self, n: Numbers) -> Float64:
        """The number of each n < size."""

    @abstractmethod
    def before(self, n: Numbers) -> Float64:
        """The edge of the cell of n towards the one before it, for n up to size."""

    def plain(self, n: Numbers) -> pa.Array:
        return pa.array(self.at(n))

    def widths(self, n: Numbers) -> Float64:
        return self.before(n + np.uint64(1)) - self.before(n)

    def cuts(self, n: Numbers) -> tuple[Float64, Float64]:
        x = self.before(n)
        if isinstance(self.column, Smooth):
            return self.column.place(x), np.zeros(len(x))
        turns = np.floor(x / self.column.period)
        return (x / self.column.period - turns) * (2 * math.pi), turns


class FloatGrid(RealGrid):
    """All floats of a type from the least to the largest of the table, bit for bit, the two zeros too.

    Args:
        column, size, low: as in `RealGrid`.
        type: "double", "float" or "halffloat".
    """

    def __init__(self, column: Smooth | Angle, size: int, low: int, type: str) -> None:
        self.type = type
        if type not in BITS:
            raise ValueError(f"type: expected one of {', '.join(BITS)}, got {type!r}")
        super().__init__(column, size, low)

    def find(self, values: pa.Array) -> Numbers:
        return offsets(ranks(read_floats(self.column.name, values), self.type), self.low)

    def at(self, n: Numbers) -> Float64:
        rank = whole(n, self.low).astype(BITS[self.type])
        most = np.iinfo(rank.dtype).max
        bits = np.where(rank >= 0, rank, (-(rank + 1)) | ~most)
        return bits.view(FLOATS[self.type]).astype(np.float64)

    def before(self, n: Numbers) -> Float64:
        lower, upper = self._beside(n)
        return 0.5 * lower + 0.5 * upper

    def widths(self, n: Numbers) -> Float64:
        # of neighbours half-way numbers are no floats, but differences are
        (lower, here), (_, upper) = self._beside(n), self._beside(n + np.uint64(1))
        return np.maximum(0.5 * (here - lower) + 0.5 * (upper - here), np.finfo(np.float64).tiny)

    def _beside(self, n: Numbers) -> tuple[Float64, Float64]:
        """The numbers before and after the edge before n."""
        last = np.uint64(self.size - 1)
        return self.at(np.minimum(np.maximum(n, np.uint64(1)) - np.uint64(1), last)), self.at(np.minimum(n, last))

    def to_json(self) -> dict[str, Any]:
        return {"size": self.size, "low": self.low, "type": self.type}


class DecimalGrid(RealGrid):
    """n / 10^digits, each as the nearest float of a type.

    Args:
        column, size, low: as in `RealGrid`.
        digits: how many decimals.
        type: "double", "float" or "halffloat".
    """

    def __init__(self, column: Smooth | Angle, size: int, low: int, digits: int, type: str) -> None:
        if not (isinstance(digits, int) and 0 <= digits <= MOST_DIGITS) or type not in FLOATS:
            raise ValueError(f"digits, type: expected at most {MOST_DIGITS} and a float, got {digits} and {type!r}")
        self.digits, self.type = digits, type
        super().__init__(column, size, low)

    def find(self, values: pa.Array) -> Numbers:
        n = np.round(read_floats(self.column.name, values) * 10.0**self.digits)
        return offsets(n.astype(np.int64), self.low)

    def at(self, n: Numbers) -> Float64:
        return decimals(whole(n, self.low).astype(np.float64), self.digits, self.type)

    def before(self, n: Numbers) -> Float64:
        return (whole(n, self.low).astype(np.float64) - 0.5) / 10.0**self.digits

    def to_json(self) -> dict[str, Any]:
        return {"size": self.size, "low": self.low, "digits": self.digits, "type": self.type}


class PrecisionGrid(RealGrid):
    """Multiples of a step, for numbers that need be known within half of it.

    A cell that an end of the column cuts has its middle within the end.

    Args:
        column, size, low: as in `RealGrid`.
        step: the precision.
    """

    def __init__(self, column: Smooth | Angle, size: int, low: int, step: float) -> None:
        self.step = positive("step", step)
        super().__init__(column, size, low)

    def find(self, values: pa.Array) -> Numbers:
        return offsets(self.nearest(self.column, values, self.step), self.low)

    @staticmethod
    def nearest(column: Column, values: pa.Array, step: float) -> NDArray[np.int64]:
        """The multiple nearest to each value.

        Raises:
            ValueError: a precision so fine that floats do not tell it.
        """
        with np.errstate(over="ignore"):
            n = np.round(read_floats(column.name, values) / step)
        if len(n) and float(np.abs(n).max()) > LARGEST_EXACT:
            raise ValueError(
                f"precision of {column.name!r}: expected one that float64 tells at the size of the values, got {step:g}; "
                "leave it out, and the values are kept bit for bit"
            )
        return n.astype(np.int64)

    def at(self, n: Numbers) -> Float64:
        m = whole(n, self.low).astype(np.float64)
        x = _multiples(m, self.step)
        if isinstance(self.column, Angle):
            return x
        under, over = _multiples(m - 0.5, self.step), _multiples(m + 0.5, self.step)
        least, most = self.column.span
        cut = (under < least) | (over > most)
        return np.where(cut, 0.5 * np.maximum(under, least) + 0.5 * np.minimum(over, most), x)

    def before(self, n: Numbers) -> Float64:
        return _multiples(whole(n, self.low).astype(np.float64) - 0.5, self.step)

    def to_json(self) -> dict[str, Any]:
        return {"size": self.size, "low": self.low, "step": self.step}


class ListGrid(RealGrid):
    """Numbers of a list, which the file holds: a column whose values repeat. What lies nearest to one is its cell.

    Args:
        column: of the table's model, on a line.
        numbers: finite and rising.

    Raises:
        ValueError: others.
    """

    def __init__(self, column: Smooth, numbers: Float64) -> None:
        self.sorted = np.asarray(numbers, dtype=np.float64)
        if self.sorted.ndim != 1 or not np.isfinite(self.sorted).all() or bool((np.diff(self.sorted) <= 0).any()):
            raise ValueError("values: expected finite numbers that rise, got others")
        # below the first and above the last is theirs
        self._edges = np.concatenate([[-np.inf], 0.5 * self.sorted[:-1] + 0.5 * self.sorted[1:], [np.inf]])
        super().__init__(column, len(self.sorted), 0)

    def find(self, values: pa.Array) -> Numbers:
        return np.searchsorted(self.sorted, read_floats(self.column.name, values)).astype(np.uint64)

    def at(self, n: Numbers) -> Float64:
        return self.sorted[n.astype(np.int64)]

    def before(self, n: Numbers) -> Float64:
        return self._edges[n.astype(np.int64)]

    def widths(self, n: Numbers) -> Float64:
        return widths_of(self.sorted)[n.astype(np.int64)]

    def cuts(self, n: Numbers) -> tuple[Float64, Float64]:
        x = self.before(n)
        z, turns = super().cuts(n)
        return np.where(np.isinf(x), x, z), turns

    def to_json(self) -> dict[str, Any]:
        return {"values": self.sorted.tolist()}


def widths_of(numbers: Float64) -> Float64:
    """Half the way to both neighbours of rising numbers, the whole way of the first and the last; of one, its spacing."""
    if len(numbers) < 2:
        return np.spacing(np.abs(numbers))
    gaps = np.diff(numbers)
    return np.concatenate([gaps[:1], 0.5 * gaps[:-1] + 0.5 * gaps[1:], gaps[-1:]])


def ranks(x: Float64, type: str) -> NDArray[np.int64]:
    """The place of each float among all of a type, 0 for 0.0 and -1 for -0.0: their bits in order of their values."""
    bits = x.astype(FLOATS[type]).view(BITS[type]).astype(np.int64)
    most = np.int64(np.iinfo(BITS[type]).max)
    return np.where(bits >= 0, bits, -(bits & most) - 1)


def decimals(n: Float64, digits: int, type: str) -> Float64:
    """n / 10^digits as the nearest float of a type, never -0.0."""
    return (n / 10.0**digits + 0.0).astype(FLOATS[type]).astype(np.float64)


def _multiples(n: Float64, step: float) -> Float64:
    """n steps; of a step of 1 / 100 the float nearest to so many hundredths."""
    # below the least normal number 1 / step is infinite
    parts = round(1 / step) if np.finfo(np.float64).tiny <= step < 1 else 0
    return n / parts if parts and 1 / parts == step else n * step
