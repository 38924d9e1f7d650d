"""Columns of dates, points in time, times of day and durations."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from anabranch.families.curve import Tail
from anabranch.tables.columns.column import Rows
from anabranch.tables.columns.ends import Bounds, Round
from anabranch.tables.columns.lattice_shape import Shape, natural_step
from anabranch.tables.columns.stepped import Stepped
from anabranch.tables.columns.written import read_value
from anabranch.tables.frame import TableError
from anabranch.tables.types import is_number, is_time

_PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
# days from 1970 to the first of the year 1 and to the last of the year 9999, beyond which no library goes
_FIRST_DAY, _LAST_DAY = -719_162, 2_932_896
_DAY = 86_400
# within so many steps of the last time there is an end at it
_FEW_STEPS = 5


class Time(Stepped):
    """Times as counts of their type's tick (days for dates), every `step`-th of which has a probability.

    Dates, points in time with or without a zone, times of day and durations. A column whose times are all midnights has
    steps of a day. z keeps 50 bits of the range: of nanoseconds all, if they span no more than 13 days, or else whatever
    steps they come in (of a microsecond over 35 years, say); where single nanoseconds span more than that, the last ones
    are rounded.

    Args:
        name: of the column.
        origin: some tick, near the data.
        loc, scale, bend: z = ((n - origin) / step - loc) / scale, bent as in `Continuous`.
        step: ticks between neighbours.
        type: the Arrow type that `decode` gives back.
        atoms: ticks that have a probability of their own, beside what the lattice gives them.
        low, high: the first and last tick there can be, None for those of the type and the calendar.
        low_tail, high_tail, widest: as in `Continuous`.

    Example:
        >>> import datetime, pyarrow
        >>> from anabranch.tables.columns import Time
        >>> born = Time.infer("born", pyarrow.array([datetime.date(1990, 5, 17), datetime.date(2001, 1, 1)]))
        >>> born.decode(born.encode(pyarrow.array([datetime.date(1995, 2, 28)]))).to_pylist()
        [datetime.date(1995, 2, 28)]
    """

    kind = "time"

    def __init__(
        self,
        name: str,
        origin: int = 0,
        loc: float = 0.0,
        scale: float = 1.0,
        bend: float = 0.0,
        step: int = 1,
        type: str = "timestamp[us]",
        atoms: Sequence[int] = (),
        low: int | None = None,
        high: int | None = None,
        low_tail: Tail | None = None,
        high_tail: Tail | None = None,
        widest: float | None = None,
    ) -> None:
        super().__init__(name, type, origin, loc, scale, bend, step, low, high, atoms, low_tail, high_tail, widest)
        if not is_time(self.arrow_type):
            raise ValueError(f"type: expected one of dates or times, got {type!r}")

    @classmethod
    def infer(cls, name: str, values: pa.Array, rows: Rows | None = None, ends: Bounds | None = None) -> Self:
        """With these ends, or those that the times show: the first and last day, where they pile up to them."""
        if not is_time(values.type):
            raise TableError(f"column {name!r} holds {values.type}, where dates or times are expected")
        kind = str(values.type)
        column = cls(name, type="date32" if kind == "date32[day]" else kind)
        n, gaps = column._wholes(values)
        seen = n[~gaps]
        step = natural_step(seen.astype(np.int64), _natural_steps(values.type))
        stated = None if ends is None else column._stated(ends)
        shape = Shape(
            name,
            n,
            gaps,
            rows,
            step,
            lossless=False,
            ends=stated,
            unit=None,
            round_to=_round_to(n, gaps, step, values.type),
        )
        return cls(name, step=step, type=kind, **shape.options)

    @property
    def _steps_of(self) -> str:
        return f"every {_duration(self.step, self.arrow_type)}"

    def _shown(self, n: int) -> str:
        value = self._values(np.array([n]), np.array([False]))
        try:
            return str(value[0])
        except (OverflowError, ValueError):  # of Python's own dates, and of pandas', which nanoseconds become
            if pa.types.is_duration(self.arrow_type):  # longer than Python's can be
                return f"{n} {self.arrow_type.unit}"
            # the ends of the calendar are beyond it in zones ahead or behind
            return f"{value.cast(pa.timestamp(self.arrow_type.unit))[0]}+00:00"

    def _number(self, value: Any) -> Fraction:
        if isinstance(value, str) and pa.types.is_date(self.arrow_type):  # a time within a day divides dates too
            ticks = read_value(self.name, value, pa.timestamp("us")).view(pa.int64())[0].as_py()
            return Fraction(ticks, 1000 if pa.types.is_date64(self.arrow_type) else 10**6 * _DAY)
        n, gaps = self._wholes(self.read(value))
        if gaps[0]:
            raise TableError(f"column {self.name!r}: expected a date or time, got {value!r}")
        return Fraction(int(n[0]))

    def _limits(self) -> tuple[int, int]:
        kind = self.arrow_type
        if pa.types.is_date32(kind):
            return _FIRST_DAY, _LAST_DAY
        if pa.types.is_date64(kind):
            return _FIRST_DAY * _DAY * 1000, _LAST_DAY * _DAY * 1000
        per_second = _PER_SECOND[kind.unit]
        if pa.types.is_timestamp(kind):
            # int64 nanoseconds reach the years 1677 to 2262 alone
            least, most = _FIRST_DAY * _DAY * per_second, (_LAST_DAY + 1) * _DAY * per_second - 1
            return max(least, -(2**63) + 1), min(most, 2**63 - 1)
        if pa.types.is_duration(kind):
            return -(2**63) + 1, 2**63 - 1
        return 0, _DAY * per_second - 1

    def _wholes(self, values: pa.Array) -> tuple[NDArray[np.integer], NDArray[np.bool_]]:
        gaps = values.is_null().to_numpy(zero_copy_only=False)
        if pa.types.is_null(values.type):
            return np.zeros(len(values), dtype=np.int64), gaps
        self._check_kind(values.type)
        try:
            own = values.cast(self.arrow_type)
        except pa.ArrowException as error:
            raise TableError(
                f"column {self.name!r}: expected {self.type_name}, got {values.type} ({' '.join(str(error).split())})"
            ) from error
        narrow = pa.types.is_date32(self.arrow_type) or pa.types.is_time32(self.arrow_type)
        ticks = own.view(pa.int32() if narrow else pa.int64())
        n = pc.fill_null(ticks, 0).to_numpy(zero_copy_only=False).astype(np.int64)
        least, most = self._limits()
        bad = np.flatnonzero(~gaps & ((n < least) | (n > most)))
        if len(bad):  # its text may be beyond what Python's own dates can write
            raise TableError(
                f"column {self.name!r}: the date in row {bad[0]} (rows count from 0; {len(bad)} of {len(n)} rows) is out of "
                f"range, {n[bad[0]]} ticks of {self.type_name} from 1970; the years 1 to 9999 are taken: correct it"
            )
        return n, gaps

    def _check_kind(self, kind: pa.DataType) -> None:
        """Raise TableError for numbers, whose unit nobody knows, and for times with a zone where none is, or without."""
        if is_number(kind):
            raise TableError(
                f"column {self.name!r}: expected {self.type_name}, got {kind}; convert the numbers to times"
            )
        if pa.types.is_timestamp(kind) and pa.types.is_timestamp(self.arrow_type):
            own, came = self.arrow_type.tz, kind.tz
            if (own is None) != (came is None):
                wanted = "times without a zone" if own is None else f"times with a zone, as in {own}"
                got = "times without one" if came is None else f"times of the zone {came}"
                raise TableError(f"column {self.name!r}: expected {wanted}, got {got}; convert them")

    def _values(self, n: NDArray[np.integer], gaps: NDArray[np.bool_]) -> pa.Array:
        narrow = pa.types.is_date32(self.arrow_type) or pa.types.is_time32(self.arrow_type)
        ticks = pa.array(n.astype(np.int32 if narrow else np.int64), mask=gaps)
        return ticks.view(self.arrow_type)


def _natural_steps(kind: pa.DataType) -> list[int]:
    """Ticks of a type in the steps in which times come: its tick, milliseconds, seconds, minutes, hours, days."""
    if pa.types.is_date32(kind):
        return [1]
    per_second = 1000 if pa.types.is_date64(kind) else _PER_SECOND[kind.unit]
    fractions = [per_second // unit for unit in _PER_SECOND.values() if per_second >= unit]
    return sorted({1, *fractions, *(per_second * seconds for seconds in (1, 60, 3600, _DAY))})


def _round_to(n: NDArray[np.integer], gaps: NDArray[np.bool_], step: int, kind: pa.DataType) -> Round:
    """Where a year, a month, a day, an hour or a minute begins or ends, of the places of a lattice."""
    seen = n[~gaps]
    middle = int(np.partition(seen, len(seen) // 2)[len(seen) // 2]) if len(seen) else 0

    def end(near: float, far: float) -> float:
        first, last = (middle + round(m) * step for m in (near, far))
        # begins lie on the lattice below, and a step beyond it above
        low, high = (last, first) if last < first else (first + step, last + step)
        begin = _begin(low, high, step, kind)
        if begin is None:  # where most days have rows, the last of them; otherwise further out
            return near if abs(far - near) <= _FEW_STEPS else far
        return (begin - (step if last >= first else 0) - middle) / step

    return end


def _begin(low: int, high: int, step: int, kind: pa.DataType) -> int | None:
    """A tick at which the longest of units begins, from low to high, if one does."""
    if pa.types.is_date(kind) or pa.types.is_timestamp(kind):
        per_day = (
            1 if pa.types.is_date32(kind) else _DAY * (1000 if pa.types.is_date64(kind) else _PER_SECOND[kind.unit])
        )
        for unit in ("Y", "M"):
            first = np.datetime64(-(-low // per_day), "D")
            begin = first.astype(f"datetime64[{unit}]")
            begin = begin if begin.astype("datetime64[D]") >= first else begin + 1
            tick = int(begin.astype("datetime64[D]").astype(np.int64)) * per_day
            if tick <= high:
                return tick
    for size in sorted((size for size in _natural_steps(kind) if size > step), reverse=True):
        tick = -(-low // size) * size
        if tick <= high:
            return tick
    return None


def _duration(step: int, kind: pa.DataType) -> str:
    per_second = _PER_SECOND.get(getattr(kind, "unit", "ms"), 1000)
    seconds = step * _DAY if pa.types.is_date32(kind) else step / per_second
    for unit, size in (("day", _DAY), ("hour", 3600), ("minute", 60), ("second", 1)):
        if seconds >= size and seconds % size == 0:
            return unit if seconds == size else f"{seconds / size:g} {unit}s"
    return f"{seconds:g} seconds"
