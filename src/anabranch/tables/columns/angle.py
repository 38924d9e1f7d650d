"""Columns of directions, hours of the day and other numbers that come around."""

from __future__ import annotations

import math
from typing import Any, Self

import numpy as np
import pyarrow as pa

from anabranch.checks import positive
from anabranch.families import Family, Wrapped
from anabranch.tables.columns.column import Column, Float64, Rows
from anabranch.tables.columns.lattice_shape import digits_of
from anabranch.tables.columns.reading import read_floats
from anabranch.tables.columns.smooth import float_type
from anabranch.tables.columns.written import read_number
from anabranch.tables.frame import TableError
from anabranch.tables.types import is_number

# up to so many points of a lattice around the circle have a probability each
_MOST_POINTS = 100_000


class Angle(Column):
    r"""z = 2 pi (x mod period) / period: values a period apart are the same, and the last is next to the first.

    A density, log |dz/dx| = log(2 pi / period), or with a step the probabilities of a lattice. Values come back between 0
    and the period.

    Args:
        name: of the column.
        period: 360 for degrees, 24 for hours, 2 pi for radians.
        step: of a lattice from 0 on, such as 1 for whole degrees, which divides the period; None for real numbers.
        type: the Arrow type that `decode` gives back.

    Raises:
        ValueError: a period that is no multiple of the step, a type that is none of numbers.

    Example:
        >>> import pyarrow
        >>> from anabranch.tables.columns import Angle
        >>> wind = Angle("wind", step=10.0, type="int64")
        >>> wind.decode(wind.encode(pyarrow.array([350, 360, -90, None]))).to_pylist()
        [350, 0, 270, None]
    """

    kind = "angle"
    context_size = 2

    def __init__(self, name: str, period: float = 360.0, step: float | None = None, type: str = "double") -> None:
        super().__init__(name, type)
        if not is_number(self.arrow_type) or (step is None and not pa.types.is_floating(self.arrow_type)):
            raise ValueError(f"type: expected one of numbers, of floats without a step, got {type!r}")
        self.period = positive("period", period)
        self.step = None if step is None else positive("step", step)
        self.discrete = self.step is not None
        self.count = 0 if self.step is None else round(self.period / self.step)
        if self.step is not None and abs(self.count * self.step - self.period) > 1e-9 * self.period:
            raise ValueError(f"step: expected one that divides the period, {self.period:g}, got {self.step:g}")

    @classmethod
    def infer(cls, name: str, values: pa.Array, rows: Rows | None = None, period: float = 360.0) -> Self:
        """With a step of 1, or of 0.1, 0.01, ..., where all values are multiples of it and the period is one."""
        x = read_floats(name, values)
        seen = x[~np.isnan(x)]
        if not len(seen):
            raise TableError(f"column {name!r} is empty, it holds gaps only; leave it out")
        digits = digits_of(seen, single=pa.types.is_float32(values.type))
        step = None
        if digits is not None:
            whole = np.round(np.unique(seen) * 10**digits).astype(np.int64)
            turn = period * 10**digits
            if turn == round(turn):
                # tens of degrees, quarters of an hour
                step = int(np.gcd.reduce([*whole.tolist(), round(turn)])) / 10**digits
        if step is not None and round(period / step) > _MOST_POINTS:
            step = None
        integers = pa.types.is_integer(values.type)
        if integers and step is None:
            raise TableError(
                f"column {name!r}: expected a whole period for whole numbers, got {period:g}; convert them to floats"
            )
        kind = str(values.type) if integers or pa.types.is_floating(values.type) else float_type(values)
        return cls(name, period, step, kind)

    def encode(self, values: pa.Array) -> Float64:
        x = read_floats(self.name, values)
        if self.step is None:
            turned = np.mod(x, self.period)
            # what is rounded up to a whole turn is none
            return np.where(turned >= self.period, 0.0, turned) * (2 * math.pi / self.period)
        n = np.round(x / self.step)
        with np.errstate(invalid="ignore"):
            off = np.abs(x - n * self.step) > 1e-6 * self.step
            off = off & ~(np.abs(x - (n * self.step).astype(np.float32)) == 0)
        bad = np.flatnonzero(off)
        if len(bad):
            raise TableError(
                f"column {self.name!r}: expected multiples of {self.step:g}, got {values[int(bad[0])]} in row {bad[0]} "
                f"(rows count from 0; {len(bad)} of {len(x)} rows); round it, or fit to rows that have such values"
            )
        return np.mod(n, self.count) * (2 * math.pi / self.count)

    def decode(self, z: Float64) -> pa.Array:
        z = np.asarray(z, dtype=np.float64)
        gaps = np.isnan(z)
        turns = np.where(gaps, 0.0, z) / (2 * math.pi)
        if self.step is None:
            x = np.mod(turns, 1.0) * self.period
            x = np.where(x >= self.period, 0.0, x)
        else:
            n = np.mod(np.round(turns * self.count), self.count)
            # in whole numbers of the period's parts, so that a tenth is the float next to a tenth
            x = np.round(n * self.step, 9) + 0.0
        if pa.types.is_integer(self.arrow_type):
            return pa.array(np.round(x).astype(np.int64), mask=gaps).cast(self.arrow_type)
        return pa.array(x, mask=gaps).cast(self.arrow_type, safe=False)

    def log_det(self, z: Float64) -> Float64:
        slope = 0.0 if self.discrete else math.log(2 * math.pi / self.period)
        return np.where(np.isnan(z), 0.0, slope)

    def family(self) -> Family:
        return Wrapped(2 * math.pi, 2 * math.pi / self.count if self.count else None)

    @property
    def description(self) -> str:
        steps = f", multiples of {self.step:g}" if self.step is not None else ""
        return f"around from 0 to {self.period:.6g}{steps}"

    def cut(self, value: Any, included: bool) -> tuple[float, bool]:
        number = float(read_number(self.name, value))
        if number < 0 or number >= self.period:
            return (-math.inf, False) if number < 0 else (math.inf, True)
        if self.step is None:
            return number * (2 * math.pi / self.period), included
        n = math.floor(number / self.step + 1e-9)
        n = n if included or abs(number - n * self.step) > 1e-9 * self.step else n - 1
        return ((n + 0.25) * (2 * math.pi / self.count), True) if n >= 0 else (-math.inf, False)

    def context(self, z: Float64) -> Float64:
        return np.stack([np.cos(z), np.sin(z)], axis=1)

    def from_context(self, context: Float64) -> Float64:
        return np.mod(np.arctan2(context[:, 1], context[:, 0]), 2 * math.pi)
