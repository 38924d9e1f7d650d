"""Where the values of a column stand on a picture, and the bins they fall into."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anabranch.report.bends import MOST_TICKS, Bend, bent_ticks, log_ticks
from anabranch.report.readings import Read, is_date, reader, sayer, step, unit
from anabranch.report.wording import compact, label, number, shortened, shown
from anabranch.tables.columns import Column, Positive
from anabranch.tables.columns.column import Float64
from anabranch.tables.columns.levels import OfLevels
from anabranch.tables.columns.time import Time

# points of a lattice that get a bin each, and levels that get a bar each
_MOST_POINTS, _MOST_LEVELS = 60, 20
# an atom with more of the values than this is not put into a bin with others
_FREQUENT = 0.15
# nor a whole number, among many others, with more than this
_HEAP = 0.5
# of fewer draws none is left out for standing far from the others
_MANY = 100


@dataclass(frozen=True)
class Axis:
    """An axis of plotly for one column, with bins.

    Attributes:
        numbers: encoded values (n) as the numbers in which `bounds` are; NaN for a gap.
        bounds: (bins + 1), ascending.
        edges: (bins + 1), where the bounds stand on the axis.
        labels: for each bin, what it is.
        layout: of plotly's axis.
        unit: of the values, in words, where it is not the column's own: a time zone, hours.
        bent: whether equal steps of it are unequal steps of the values.
        levels: whether the bins are levels and not a stretch of numbers.
        apart: values that are not on the axis, in the unit of `bounds`: so frequent that nothing else would be seen, or a
            zero that no logarithm has. Beside each, what it is.
    """

    numbers: Read
    bounds: Float64
    edges: Float64
    labels: list[str]
    layout: dict[str, Any]
    unit: str = ""
    bent: bool = False
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
        others: (m), encoded values of which all but the outermost thousandths are, or if they are few, all.
        most_bins: at most so many bins of numbers.
    """
    if isinstance(column, OfLevels):
        return _of_levels(column, z, others)
    read = reader(column)
    values, more = (_finite(read(part)) for part in (z, others))
    apart = _apart(column, [values, more])
    values, more = (part[~np.isin(part, apart)] for part in (values, more))
    if len(more) >= _MANY:
        more = more[(more >= np.quantile(more, 0.001)) & (more <= np.quantile(more, 0.999))]
    both = np.concatenate([values, more])
    if not len(both):
        both = np.zeros(1)
    low, high = float(both.min()), float(both.max())
    width = step(column)
    points = round((high - low) / width) + 1 if width and (high - low) / width < _MOST_POINTS else 0
    if points and points <= 1.5 * most_bins:
        bounds = _even(low - 0.5 * width, high + 0.5 * width, points + 1)
        return _numbers(column, read, apart, bounds, width, None, points=True)
    if high <= low:
        wide = abs(low) * 0.05 or 0.5
        low, high = low - wide, high + wide
    bins = int(np.clip(round(2 * max(1, len(values)) ** (1 / 3)), 6, most_bins))
    bend = None if isinstance(column, Time) else Bend.of(both, bins)
    if bend is None and width:  # whole steps in each bin, no point of the lattice on an edge
        wide = math.ceil((high - low) / bins / width) * width
        bins = math.ceil((high - low + width) / wide)
        bounds = _even(low - 0.5 * width, low - 0.5 * width + bins * wide, bins + 1)
        return _numbers(column, read, apart, bounds, width, None)
    if bend is None:
        return _numbers(column, read, apart, _even(low, high, bins + 1), width, None)
    first, last = bend.to([low, high]).tolist()
    bounds = bend.back(_even(first, last, bins + 1))
    bounds[0], bounds[-1] = min(bounds[0], low), max(bounds[-1], high)
    if width:
        bounds = np.unique(np.round((bounds - low) / width + 0.5)) * width + (low - 0.5 * width)
        bounds[-1] = max(bounds[-1], high + 0.5 * width)
    return _numbers(column, read, apart, bounds, width, bend)


def _numbers(
    column: Column,
    read: Read,
    apart: list[float],
    bounds: Float64,
    width: float,
    bend: Bend | None,
    points: bool = False,
) -> Axis:
    edges, ticks = bounds, None
    layout: dict[str, Any] = {"zeroline": False, "showgrid": False}
    if is_date(column):
        layout |= {"type": "date", "nticks": MOST_TICKS - 1}
    elif bend is not None and bend.scale == 0 and bounds[0] > 0:
        layout["type"] = "log"
        ticks = log_ticks(bounds)
        layout |= {"tickvals": ticks, "ticktext": [compact(tick) for tick in ticks]}
    elif bend is not None:
        bend = bend if bend.scale else Bend(width)  # the lowest bin of a logarithmic axis of whole numbers begins at 0
        edges = bend.to(bounds)
        ticks = bent_ticks(bounds, bend)
        layout |= {"tickvals": bend.to(ticks).tolist(), "ticktext": [compact(tick) for tick in ticks]}
    elif points and len(bounds) <= 8:
        middles = ((bounds[1:] + bounds[:-1]) / 2).tolist()
        layout |= {"tickvals": middles, "ticktext": [number(middle, 6) for middle in middles]}
    else:
        layout["nticks"] = MOST_TICKS
    of = unit(column)
    if of:
        layout |= {"title": {"text": label(of), "standoff": 4}}
    say = sayer(column)
    inner = 0.5 * width
    labels = [
        say(a + inner) if width and b - a < 1.5 * width else f"{say(a + inner)} to {say(b - inner)}"
        for a, b in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True)
    ]
    return Axis(
        read, bounds, edges, labels, layout, of, bend is not None, apart=[(value, say(value)) for value in apart]
    )


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
    # a logarithm has no zero, however few they are
    found = {0.0} if isinstance(column, Positive) and any((values == 0).any() for values in groups) else set()
    candidates = [float(atom) for atom in getattr(column, "atoms", ())] if not column.discrete else None
    for values in groups:
        distinct, counts = np.unique(values, return_counts=True)
        few = column.discrete and (not len(values) or np.ptp(distinct) < _MOST_POINTS * step(column))
        frequent = distinct[counts > most * len(values)].tolist() if not few else []
        found |= {value for value in frequent if candidates is None or value in candidates}
    return sorted(found)


def _even(first: float, last: float, count: int) -> Float64:
    return np.linspace(first, last, count).astype(np.float64)


def _finite(values: Float64) -> Float64:
    return values[np.isfinite(values)]
