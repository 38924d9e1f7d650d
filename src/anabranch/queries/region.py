"""Regions: intervals of columns."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Interval:
    """Numbers from low to high, but some.

    Attributes:
        low, high: the ends.
        low_included, high_included: whether they are in it.
        without: numbers that are not in it.

    Raises:
        ValueError: NaN for an end.

    Example:
        >>> import torch
        >>> from anabranch.queries import Interval
        >>> Interval(low=1.0, low_included=False, without=(2.0,)).contains(torch.tensor([1.0, 1.5, 2.0]))
        tensor([False,  True, False])
    """

    low: float = -math.inf
    high: float = math.inf
    low_included: bool = True
    high_included: bool = True
    without: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if any(math.isnan(number) for number in (self.low, self.high, *self.without)):
            raise ValueError(f"region: expected numbers for the ends of an interval, got {self}")

    @classmethod
    def read(cls, value: Any, column: int) -> Interval:
        """An interval itself, (low, high) with both ends, or a number alone.

        Raises:
            ValueError: something else.
        """
        if isinstance(value, Interval):
            return value
        ends = tuple(value) if isinstance(value, (tuple, list)) else (value, value)
        try:
            low, high = (float(end) for end in ends)
        except (TypeError, ValueError):
            raise ValueError(
                f"region: expected an Interval, (low, high) or a number for column {column}, got {value!r}"
            ) from None
        return cls(low, high)

    @classmethod
    def of(cls, relation: str, value: float) -> Interval:
        """The numbers that are =, !=, <, <=, > or >= a value."""
        if relation in ("=", "!="):
            return cls(value, value) if relation == "=" else cls(without=(value,))
        if relation in ("<", "<="):
            return cls(high=value, high_included=relation == "<=")
        return cls(low=value, low_included=relation == ">=")

    def contains(self, x: Tensor) -> Tensor:
        """Whether numbers (*batch) are in it; one that is a single number up to rounding is that number."""
        if self.point is not None:
            return _same(x, self.point)
        above = x >= self.low if self.low_included else x > self.low
        below = x <= self.high if self.high_included else x < self.high
        inside = above & below
        for number in self.without:
            inside = inside & ~_same(x, number)
        return inside

    def and_(self, other: Interval) -> Interval:
        """What is in both."""
        low, high = max(self.low, other.low), min(self.high, other.high)
        return replace(
            self,
            low=low,
            high=high,
            low_included=all(part.low_included for part in (self, other) if part.low == low),
            high_included=all(part.high_included for part in (self, other) if part.high == high),
            without=tuple(sorted({*self.without, *other.without})),
        )

    @property
    def point(self) -> float | None:
        """The only number in it, or None."""
        only = self.low == self.high and self.low_included and self.high_included and self.low not in self.without
        return self.low if only else None


Region = Mapping[int, Any]


def read_region(region: Region) -> dict[int, Interval]:
    """Intervals by column."""
    return {int(column): Interval.read(value, column) for column, value in region.items()}


def single_values(given: Mapping[int, float] | None) -> dict[int, Interval]:
    """What is given of columns, numbers, as intervals of one number."""
    return {int(column): Interval(float(value), float(value)) for column, value in (given or {}).items()}


def inside(region: Mapping[int, Interval], x: Tensor) -> Tensor:
    """Whether rows (*batch, D) are in all intervals."""
    answers = [interval.contains(x[..., column]) for column, interval in region.items()]
    return torch.stack(answers).all(dim=0) if answers else torch.ones_like(x[..., 0], dtype=torch.bool)


def _same(x: Tensor, number: float) -> Tensor:
    """Whether numbers (*batch) are one number: draws of a lattice may be off by the rounding of their dtype."""
    return (x - number).abs() <= 1e-6 * (1 + abs(number)) if math.isfinite(number) else x == number
