"""Encoded values of a column as numbers to draw, and those numbers in words."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from anabranch.report.wording import number
from anabranch.tables.columns import Angle, Column
from anabranch.tables.columns.column import Float64
from anabranch.tables.columns.stepped import Stepped
from anabranch.tables.columns.time import Time

Read = Callable[[Float64], Float64]

_DAY_MS = 86_400_000.0


def reader(column: Column) -> Read:
    """Encoded values as numbers: dates in milliseconds from 1970, by their zone's clock, other times in `unit`."""

    def read(z: Float64) -> Float64:
        z = np.where(np.isfinite(z), z, np.nan)
        if isinstance(column, Time):
            return _times(column, z)
        array = column.decode(z)
        if pa.types.is_decimal(array.type) or pa.types.is_float16(array.type):
            array = array.cast(pa.float64())
        return np.asarray(array.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False), dtype=np.float64)

    return read


def is_date(column: Column) -> bool:
    """Whether the numbers are milliseconds from 1970."""
    return isinstance(column, Time) and bool(
        pa.types.is_date(column.arrow_type) or pa.types.is_timestamp(column.arrow_type)
    )


def unit(column: Column) -> str:
    """What the numbers are of: the zone whose clock they are read off, the unit of a duration; mostly nothing."""
    if not isinstance(column, Time):
        return ""
    if pa.types.is_timestamp(column.arrow_type):
        return column.arrow_type.tz or ""
    return _unit_of(column)[1]


def step(column: Column) -> float:
    """The step of a lattice among the numbers, 0 for none."""
    if isinstance(column, Time):
        return column.step * _unit_of(column)[0]
    if isinstance(column, Stepped):
        return column.step / 10 ** getattr(column, "digits", 0)
    return (column.step or 0.0) if isinstance(column, Angle) else 0.0


def sayer(column: Column) -> Callable[[float], str]:
    """A number in words."""
    if is_date(column):
        daily = step(column) >= _DAY_MS
        return lambda value: str(
            np.datetime64(round(value), "ms").astype("datetime64[D]" if daily else "datetime64[s]")
        )
    return lambda value: number(value, 6 if isinstance(column, Stepped) else 4)


def _times(column: Time, z: Float64) -> Float64:
    ticks = column.decode(z)
    if pa.types.is_timestamp(ticks.type) and ticks.type.tz is not None:
        ticks = pc.local_timestamp(ticks)
    narrow = pa.types.is_date32(column.arrow_type) or pa.types.is_time32(column.arrow_type)
    numbers = ticks.view(pa.int32() if narrow else pa.int64()).cast(pa.float64(), safe=False)
    return np.asarray(numbers.to_numpy(zero_copy_only=False), dtype=np.float64) * _unit_of(column)[0]


def _unit_of(column: Time) -> tuple[float, str]:
    """How much of the unit a tick is, and what that is: nothing for dates, in milliseconds."""
    kind = column.arrow_type
    if pa.types.is_date32(kind):
        return _DAY_MS, ""
    if pa.types.is_date64(kind):
        return 1.0, ""
    seconds = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}[kind.unit]
    if pa.types.is_timestamp(kind):
        return 1e3 * seconds, ""
    if pa.types.is_time(kind):
        return seconds / 3600, "hour of the day"
    spread = column.scale * column.step * seconds
    for size, name in ((86_400.0, "days"), (3600.0, "hours"), (60.0, "minutes")):
        if spread >= size / 2:
            return seconds / size, name
    return seconds, "seconds"
