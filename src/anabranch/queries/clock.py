"""Times as numbers of seconds, for means and errors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

_SECONDS = {"D": 86_400.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}


@dataclass(frozen=True)
class Clock:
    """Counts seconds from some time near those that are asked of, so that float64 keeps its digits.

    Attributes:
        zero: a datetime64 or timedelta64.
    """

    zero: Any

    def seconds(self, values: NDArray[Any]) -> NDArray[np.float64]:
        """Seconds from zero (n), float64, of times (n)."""
        return np.asarray((values - self.zero).astype(np.int64).astype(np.float64) * self._tick)

    def written(self, seconds: float) -> str:
        """The time so many seconds from zero, as text, to the second where a date is not enough."""
        time = self.zero + round(seconds / self._tick)
        if isinstance(time, np.datetime64):
            return str(np.datetime_as_string(time, unit="auto")).replace("T", " ")
        return _elapsed(int(time.astype(np.int64)) * self._tick)

    @property
    def _tick(self) -> float:
        """Seconds."""
        return _SECONDS[np.datetime_data(self.zero.dtype)[0]]


def clock_of(values: NDArray[Any]) -> Clock | None:
    """A clock for times, None for other values (n)."""
    kind = getattr(values, "dtype", np.dtype(object)).kind
    return Clock(values[0]) if kind in "mM" else None


def rounded_span(seconds: float) -> tuple[float, str]:
    """A span of time in days, or in seconds if it is less than one."""
    return (seconds / 86_400, "days") if seconds >= 86_400 else (seconds, "s")


def _elapsed(total: float) -> str:
    """Seconds as H:MM:SS, with fractions where there are any."""
    sign, total = ("-", -total) if total < 0 else ("", total)
    hours, rest = divmod(total, 3600)
    minutes, seconds = divmod(rest, 60)
    fraction = f"{seconds:09.6f}".rstrip("0").rstrip(".")
    return f"{sign}{int(hours)}:{int(minutes):02d}:{fraction}"


def plain(value: Any) -> Any:
    """A Python number or word."""
    if isinstance(value, (np.datetime64, np.timedelta64)):
        values = np.array([value])
        clock = clock_of(values)
        return str(value) if clock is None else clock.written(clock.seconds(values)[0])
    return float(value) if isinstance(value, (int, float, np.number)) and not isinstance(value, bool) else str(value)
