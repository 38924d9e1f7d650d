"""Where the values of a column stand on a picture, and the bins they fall into."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from anabranch.report.wording import compact, label, number, shortened, shown
from anabranch.tables.columns import Column, Positive
from anabranch.tables.columns.column import Float64
from anabranch.tables.columns.levels import OfLevels
from anabranch.tables.columns.stepped import Stepped
from anabranch.tables.columns.time import Time

# points of a lattice that get a bin each, and levels that get a bar each
_MOST_POINTS, _MOST_LEVELS = 60, 20
# a range of more interquartile ranges than this is bent, or nothing but its tail would be seen
_HEAVY = 25.0
_MOST_TICKS = 6
# an atom with more of the values than this is not put into a bin with others
_FREQUENT = 0.15
# nor a whole number, among many others, with more than this
_HEAP = 0.5
_DAY_MS = 86_400_000.0

Read = Callable[[Float64], Float64]


@dataclass(frozen=True)
class Axis:
    """An axis of plotly for one column, with bins.

    Attributes:
        numbers: encoded values (n) as the numbers in which `bounds` are; NaN for a gap.
        bounds: (bins + 1), ascending.
        edges: (bins + 1), where the bounds stand on the axis.
        labels: for each bin, what it is.
        layout: of plotly's axis.
        levels: whether the bins are levels and not a stretch of numbers.
        apart: values that are not on the axis, in the unit of `bounds`: so frequent that nothing else would be seen, or a
            zero that no logarithm has. Beside each, what it is.
    """

    numbers: Read
    bounds: Float64
    edges: Float64
    labels: list[str]
    layout: dict[str, Any]
    levels: bool = False
    apart: Sequence[tuple[float, str]] = ()

    def read(self, z: Float64) -> Float64:
        """Encoded values (n) as numbers; NaN also for those that stand apart."""
        values = self.numbers(z)
        return np.where(np.isin(values, [value for value, _ in self.apart]), np.nan, values)

    def place(self, z: Float64) -> NDArray[np.int64]:
        """The bin of each encoded value (n); -1 where it has none."""
        values = self.read(z)
        inside = (values >= self.bounds[0]) & (values <= self.bounds[-1])
        found = np.searchsorted(self.bounds, np.where(inside, values, self.bounds[0]), side="right") - 1
        return np.where(inside, np.minimum(found, len(self.labels) - 1), -1).astype(np.int64)

    def shares(self, z: Float64) -> Float64:
        """How much of the values that are no gaps each bin holds: (bins)."""
        at = self.place(z)
        counts = np.bincount(at[at >= 0], minlength=len(self.labels))
        return counts / max(1, int((~np.isnan(z)).sum()))

    def at(self, value: float, z: Float64) -> float:
        """Which share of the values that are no gaps is this one."""
        return float((self.numbers(z) == value).sum()) / max(1, int((~np.isnan(z)).sum()))

    def outside(self, z: Float64) -> int:
        """How many values stand beyond the ends."""
        values = self.read(z)
        return int(((values < self.bounds[0]) | (values > self.bounds[-1])).sum())


def axis_of(column: Column, z: Float64, others: Float64, most_bins: int = 40) -> Axis:
    """The axis on which values of a column can be seen well.

    Few levels or whole numbers have a bin each, levels by how frequent they are; more are binned. Numbers that spread over
    orders of magnitude stand on a logarithmic axis, or on one that is straight near zero and logarithmic far from it.

    Args:
        column: the column.
        z: (n), encoded values, of which all are to be seen.
        others: (m), encoded values of which all but the outermost thousandths are.
        most_bins: at most so many bins of numbers.
    """
    if isinstance(column, OfLevels):
        return _of_levels(column, z, others)
    read = _reader(column)
    values, more = (_finite(read(part)) for part in (z, others))
    apart = _apart(column, [values, more])
    values, more = (part[~np.isin(part, apart)] for part in (values, more))
    if len(more):
        more = more[(more >= np.quantile(more, 0.001)) & (more <= np.quantile(more, 0.999))]
    both = np.concatenate([values, more])
    if not len(both):
        both = np.zeros(1)
    low, high = float(both.min()), float(both.max())
    step = _step(column)
    points = round((high - low) / step) + 1 if step and (high - low) / step < _MOST_POINTS else 0
    if points and points <= 1.5 * most_bins:
        bounds = _even(low - 0.5 * step, high + 0.5 * step, points + 1)
        return _numbers(column, read, apart, bounds, step, None, points=True)
    if high <= low:
        wide = abs(low) * 0.05 or 0.5
        low, high = low - wide, high + wide
    bins = int(np.clip(round(2 * max(1, len(values)) ** (1 / 3)), 6, most_bins))
    bend = None if isinstance(column, Time) else _bend(both)
    if bend is None and step:  # whole steps in each bin, no point of the lattice on an edge
        wide = math.ceil((high - low) / bins / step) * step
        bins = math.ceil((high - low + step) / wide)
        bounds = _even(low - 0.5 * step, low - 0.5 * step + bins * wide, bins + 1)
        return _numbers(column, read, apart, bounds, step, None)
    if bend is None:
        return _numbers(column, read, apart, _even(low, high, bins + 1), step, None)
    first, last = bend.to([low, high]).tolist()
    bounds = bend.back(_even(first, last, bins + 1))
    bounds[0], bounds[-1] = min(bounds[0], low), max(bounds[-1], high)
    if step:
        bounds = np.unique(np.round((bounds - low) / step + 0.5)) * step + (low - 0.5 * step)
        bounds[-1] = max(bounds[-1], high + 0.5 * step)
    return _numbers(column, read, apart, bounds, step, bend)


@dataclass(frozen=True)
class _Bend:
    """A logarithmic axis (scale 0), or v -> asinh(v / scale)."""

    scale: float

    def to(self, values: Any) -> Float64:
        array = np.asarray(values, dtype=np.float64)
        return np.log10(array) if self.scale == 0 else np.arcsinh(array / self.scale)

    def back(self, at: Float64) -> Float64:
        return 10.0**at if self.scale == 0 else np.sinh(at) * self.scale


def _bend(values: Float64) -> _Bend | None:
    least, low, high, most = np.quantile(values, [0, 0.25, 0.75, 1])
    if most - least <= _HEAVY * (high - low):
        return None
    if least > 0 and most / least > 30:
        return _Bend(0.0)
    if least > 0:
        return None
    sizes = np.abs(values[values != 0])
    return _Bend(float(np.quantile(sizes, 0.25))) if len(sizes) else None


def _numbers(
    column: Column,
    read: Read,
    apart: list[float],
    bounds: Float64,
    step: float,
    bend: _Bend | None,
    points: bool = False,
) -> Axis:
    edges, ticks = bounds, None
    layout: dict[str, Any] = {"zeroline": False, "showgrid": False}
    if isinstance(column, Time) and not _unit_of(column)[1]:
        layout |= {"type": "date", "nticks": _MOST_TICKS - 1}
    elif bend is not None and bend.scale == 0 and bounds[0] > 0:
        layout["type"] = "log"
        ticks = _log_ticks(bounds)
        layout |= {"tickvals": ticks, "ticktext": [compact(tick) for tick in ticks]}
    elif bend is not None:
        bend = bend if bend.scale else _Bend(step)  # the lowest bin of a logarithmic axis of whole numbers begins at 0
        edges = bend.to(bounds)
        ticks = _bent_ticks(bounds, bend)
        layout |= {"tickvals": bend.to(ticks).tolist(), "ticktext": [compact(tick) for tick in ticks]}
    elif points and len(bounds) <= 8:
        middles = ((bounds[1:] + bounds[:-1]) / 2).tolist()
        layout |= {"tickvals": middles, "ticktext": [number(middle, 6) for middle in middles]}
    else:
        layout["nticks"] = _MOST_TICKS
    if isinstance(column, Time) and _unit_of(column)[1]:
        layout |= {"title": {"text": _unit_of(column)[1], "standoff": 4}}
    say = _sayer(column)
    inner = 0.5 * step
    labels = [
        say(a + inner) if step and b - a < 1.5 * step else f"{say(a + inner)} to {say(b - inner)}"
        for a, b in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True)
    ]
    return Axis(read, bounds, edges, labels, layout, apart=[(value, say(value)) for value in apart])


def _of_levels(column: OfLevels, z: Float64, others: Float64) -> Axis:
    """Ordered levels in their order, the least on top, others by how frequent they are; the rarest together."""
    count = len(column.levels)
    both = np.concatenate([_finite(z), _finite(others)]).astype(np.int64)
    frequent = np.bincount(_finite(z).astype(np.int64), minlength=count)
    drawn = np.bincount(both, minlength=count)
    ordered = column.kind == "ordinal"
    if count > _MOST_LEVELS:
        chosen = np.lexsort((np.arange(count), -drawn, -frequent))[: _MOST_LEVELS - 1]
        chosen = np.sort(chosen) if ordered else chosen
    else:
        chosen = np.arange(count) if ordered else np.lexsort((np.arange(count), -drawn, -frequent))
    bins = len(chosen) + (count > len(chosen))
    # from the top downwards: number 0 is the highest bar
    where = np.zeros(count)
    where[chosen] = bins - 1 - np.arange(len(chosen))
    words = [shown(column.levels[k]) for k in chosen]
    if bins > len(chosen):
        words.append(f"{count - len(chosen):,} others")
    labels = words[::-1]

    def read(values: Float64) -> Float64:
        known = ~np.isnan(values)
        return np.where(known, where[np.where(known, values, 0).astype(np.int64)], np.nan)

    edges = _even(-0.5, bins - 0.5, bins + 1)
    layout = {
        "tickvals": list(range(bins)),
        "ticktext": [label(shortened(word, 16)) for word in labels],
        "range": [-0.5, bins - 0.5],
        "zeroline": False,
        "showgrid": False,
        "fixedrange": True,
    }
    return Axis(read, edges, edges, labels, layout, levels=True)


def _apart(column: Column, groups: Sequence[Float64]) -> list[float]:
    """Values that no axis should hold together with the rest: frequent atoms beside a density, or a heap on a lattice."""
    most = _FREQUENT if not column.discrete else _HEAP
    found = {0.0} if isinstance(column, Positive) else set()
    candidates = [float(atom) for atom in getattr(column, "atoms", ())] if not column.discrete else None
    for values in groups:
        distinct, counts = np.unique(values, return_counts=True)
        few = column.discrete and (not len(values) or np.ptp(distinct) < _MOST_POINTS * _step(column))
        frequent = distinct[counts > most * len(values)].tolist() if not few else []
        found |= {value for value in frequent if candidates is None or value in candidates}
    return sorted(found)


def _reader(column: Column) -> Read:
    """Encoded values as numbers: of times as milliseconds from 1970, or hours and the like where they are durations."""

    def read(z: Float64) -> Float64:
        z = np.where(np.isfinite(z), z, np.nan)
        if isinstance(column, Time):
            return _times(column, z)
        array = column.decode(z)
        if pa.types.is_decimal(array.type) or pa.types.is_float16(array.type):
            array = array.cast(pa.float64())
        return np.asarray(array.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False), dtype=np.float64)

    return read


def _times(column: Time, z: Float64) -> Float64:
    ticks = column.decode(z)
    narrow = pa.types.is_date32(column.arrow_type) or pa.types.is_time32(column.arrow_type)
    numbers = ticks.view(pa.int32() if narrow else pa.int64()).cast(pa.float64(), safe=False)
    return np.asarray(numbers.to_numpy(zero_copy_only=False), dtype=np.float64) * _unit_of(column)[0]


def _unit_of(column: Time) -> tuple[float, str]:
    """How much of the axis' unit a tick is, and what that is: nothing for dates, in milliseconds."""
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


def _step(column: Column) -> float:
    """The step of a lattice in the axis' unit, 0 for none."""
    if isinstance(column, Time):
        return column.step * _unit_of(column)[0]
    if isinstance(column, Stepped):
        return column.step / 10 ** getattr(column, "digits", 0)
    return 0.0


def _sayer(column: Column) -> Callable[[float], str]:
    if isinstance(column, Time) and not _unit_of(column)[1]:
        daily = column.step * _unit_of(column)[0] >= _DAY_MS
        return lambda value: str(
            np.datetime64(round(value), "ms").astype("datetime64[D]" if daily else "datetime64[s]")
        )
    return lambda value: number(value, 6 if isinstance(column, Stepped) else 4)


def _log_ticks(bounds: Float64) -> list[float]:
    low, high = math.log10(bounds[0]), math.log10(bounds[-1])
    powers = range(math.ceil(low - 1e-9), math.floor(high + 1e-9) + 1)
    if len(powers) >= 3:
        every = math.ceil(len(powers) / _MOST_TICKS)
        return [10.0**k for k in powers if k % every == 0]
    each = [m * 10.0**k for k in range(math.floor(low), math.ceil(high) + 1) for m in (1, 2, 5)]
    return [tick for tick in each if bounds[0] <= tick <= bounds[-1]]


def _bent_ticks(bounds: Float64, bend: _Bend) -> list[float]:
    """Zero and powers of ten on either side, no two of them so near that their text would meet."""
    reach = max(abs(bounds[0]), abs(bounds[-1]), 1e-300)
    powers = [10.0**k for k in range(math.floor(math.log10(reach)), math.floor(math.log10(reach)) - 12, -1)]
    ticks = [0.0] if bounds[0] <= 0 <= bounds[-1] else []
    room = float(bend.to(bounds[-1]) - bend.to(bounds[0])) / (_MOST_TICKS + 2)
    for size in powers:
        for tick in (size, -size):
            at = bend.to([*ticks, tick])
            if bounds[0] <= tick <= bounds[-1] and (len(at) == 1 or np.abs(at[:-1] - at[-1]).min() >= room):
                ticks.append(tick)
    return sorted(ticks) or [float(bounds[0]), float(bounds[-1])]


def _even(first: float, last: float, count: int) -> Float64:
    return np.linspace(first, last, count).astype(np.float64)


def _finite(values: Float64) -> Float64:
    return values[np.isfinite(values)]
