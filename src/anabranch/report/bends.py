"""Axes on which numbers stand that spread over orders of magnitude, and their ticks."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from anabranch.tables.columns.column import Float64

# a range of more interquartile ranges than this is bent, or nothing but its tail would be seen; one of fewer where a single
# bin would hold more than half, but never one that exponential tails reach
_HEAVY, _HARDLY_HEAVY = 25.0, 12.0
MOST_TICKS = 6


@dataclass(frozen=True)
class Bend:
    """A logarithmic axis (scale 0), or v -> asinh(v / scale)."""

    scale: float

    @classmethod
    def of(cls, values: Float64, bins: int) -> Bend | None:
        """The one on which these are seen well in so many bins; None for a straight one."""
        least, low, high, most = np.quantile(values, [0, 0.25, 0.75, 1])
        reach = (most - least) / (high - low) if high > low else np.inf if most > least else 0.0
        if reach <= _HARDLY_HEAVY:
            return None
        if reach <= _HEAVY and np.histogram(values, bins)[0].max() <= len(values) / 2:
            return None
        if least > 0 and most / least > 30:
            return cls(0.0)
        if least > 0:
            return None
        sizes = np.abs(values[values != 0])
        return cls(float(np.quantile(sizes, 0.25))) if len(sizes) else None

    def to(self, values: Any) -> Float64:
        """Where values stand."""
        array = np.asarray(values, dtype=np.float64)
        return np.log10(array) if self.scale == 0 else np.arcsinh(array / self.scale)

    def back(self, at: Float64) -> Float64:
        """The inverse."""
        return 10.0**at if self.scale == 0 else np.sinh(at) * self.scale


def log_ticks(bounds: Float64) -> list[float]:
    """Powers of ten between the ends of a logarithmic axis; within few of them also their multiples by 2 and 5."""
    low, high = math.log10(bounds[0]), math.log10(bounds[-1])
    powers = range(math.ceil(low - 1e-9), math.floor(high + 1e-9) + 1)
    if len(powers) >= 3:
        every = math.ceil(len(powers) / MOST_TICKS)
        return [10.0**k for k in powers if k % every == 0]
    each = [m * 10.0**k for k in range(math.floor(low), math.ceil(high) + 1) for m in (1, 2, 5)]
    return [tick for tick in each if bounds[0] <= tick <= bounds[-1]]


def bent_ticks(bounds: Float64, bend: Bend) -> list[float]:
    """Zero, powers of ten on either side, then their multiples: no two of them so near that their text would meet."""
    reach = max(abs(bounds[0]), abs(bounds[-1]), 1e-300)
    powers = [10.0**k for k in range(math.floor(math.log10(reach)), math.floor(math.log10(reach)) - 12, -1)]
    ticks = [0.0] if bounds[0] <= 0 <= bounds[-1] else []
    room = float(bend.to(bounds[-1]) - bend.to(bounds[0])) / MOST_TICKS
    for size in [multiple * power for multiple in (1, 5, 2) for power in powers]:
        for tick in (size, -size):
            at = bend.to([*ticks, tick])
            if bounds[0] <= tick <= bounds[-1] and (len(at) == 1 or np.abs(at[:-1] - at[-1]).min() >= room):
                ticks.append(tick)
    return sorted(ticks) or [float(bounds[0]), float(bounds[-1])]
