"""Regions: intervals of columns, and unions of intervals."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import reduce
from itertools import pairwise
from typing import Any, overload

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

    @overload
    def and_(self, other: Interval) -> Interval: ...
    @overload
    def and_(self, other: Values) -> Values: ...
    def and_(self, other: Values) -> Values:
        """What is in both."""
        if isinstance(other, AnyOf):
            return other.and_(self)
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

    @property
    def empty(self) -> bool:
        """Whether no finite number is in it."""
        if self.low == self.high:
            return self.point is None or math.isinf(self.low)
        return self.low > self.high

    @property
    def everything(self) -> bool:
        """Whether all finite numbers are in it."""
        return self.low == -math.inf and self.high == math.inf and not self.without

    @property
    def parts(self) -> tuple[Interval, ...]:
        """Itself."""
        return (self,)

    def holds(self, number: float) -> bool:
        """Whether a number is in it, to the last digit."""
        above = number > self.low or (number == self.low and self.low_included)
        below = number < self.high or (number == self.high and self.high_included)
        return above and below and number not in self.without


@dataclass(frozen=True)
class AnyOf:
    """Numbers that are in one interval or in several: a union.

    Attributes:
        parts: the intervals, which may overlap.

    Example:
        >>> import torch
        >>> from anabranch.queries import AnyOf, Interval
        >>> AnyOf((Interval(1.0, 2.0), Interval(5.0, 5.0))).contains(torch.tensor([1.5, 3.0, 5.0]))
        tensor([ True, False,  True])
    """

    parts: tuple[Interval, ...]

    @classmethod
    def read(cls, parts: Iterable[Values]) -> Values:
        """The union of some sets: an interval where it is one of them alone."""
        every = [part for values in parts for part in values.parts]
        filled = list(dict.fromkeys(part for part in every if not part.empty))
        if any(part.everything for part in filled):
            return Interval()
        return filled[0] if len(filled) == 1 else cls(tuple(filled))

    def contains(self, x: Tensor) -> Tensor:
        """Whether numbers (*batch) are in it; see `Interval.contains`."""
        return reduce(
            torch.logical_or, (part.contains(x) for part in self.parts), torch.zeros_like(x, dtype=torch.bool)
        )

    def and_(self, other: Values) -> Values:
        """What is in both."""
        return AnyOf.read(one.and_(another) for one in self.parts for another in other.parts)

    @property
    def point(self) -> float | None:
        """None: `read` makes an interval of a single number."""
        return None

    @property
    def empty(self) -> bool:
        """Whether no number is in it."""
        return all(part.empty for part in self.parts)

    @property
    def everything(self) -> bool:
        """Whether all finite numbers are in it."""
        runs = disjoint(self)
        return len(runs) == 1 and runs[0].everything

    def holds(self, number: float) -> bool:
        """Whether a number is in it, to the last digit."""
        return any(part.holds(number) for part in self.parts)


# what a column is said to be in
Values = Interval | AnyOf


def disjoint(values: Values) -> list[Interval]:
    """The same numbers as intervals that do not overlap, in their order, from none of which single numbers are taken."""
    ends = {number for part in values.parts for number in (part.low, part.high, *part.without)}
    places = sorted(number for number in ends if math.isfinite(number))
    bounds = [-math.inf, *places, math.inf]
    found: list[Interval] = []
    run: Interval | None = None  # that goes on up to where we are
    for left, right in pairwise(bounds):
        if math.isfinite(left):  # the number itself, then what lies behind it
            run = _grown(found, run, left, left, values.holds(left))
        run = _grown(found, run, left, right, values.holds(_between(left, right)))
    if run is not None:
        found.append(run)
    return found


def _grown(found: list[Interval], run: Interval | None, low: float, high: float, held: bool) -> Interval | None:
    """The run with a number, or what lies between two, at its end; a run that ends is one of those found."""
    if not held:
        if run is not None:
            found.append(run)
        return None
    single = low == high
    if run is None:
        return Interval(low, high, single, single)
    return replace(run, high=high, high_included=single)


def _between(left: float, right: float) -> float:
    """A number between two, of which either may be infinite."""
    if math.isinf(left):
        return 0.0 if math.isinf(right) else right - 1 - abs(right)
    return left + 1 + abs(left) if math.isinf(right) else 0.5 * (left + right)


Region = Mapping[int, Any]


def read_region(region: Region) -> dict[int, Values]:
    """Intervals by column, or unions of intervals."""
    return {
        int(column): value if isinstance(value, AnyOf) else Interval.read(value, column)
        for column, value in region.items()
    }


def single_values(given: Mapping[int, float] | None) -> dict[int, Values]:
    """What is given of columns, numbers, as intervals of one number."""
    return {int(column): Interval(float(value), float(value)) for column, value in (given or {}).items()}


def inside(region: Mapping[int, Values], x: Tensor) -> Tensor:
    """Whether rows (*batch, D) are in all intervals."""
    answers = [interval.contains(x[..., column]) for column, interval in region.items()]
    return torch.stack(answers).all(dim=0) if answers else torch.ones_like(x[..., 0], dtype=torch.bool)


def _same(x: Tensor, number: float) -> Tensor:
    """Whether numbers (*batch) are one number: draws of a lattice may be off by the rounding of their dtype."""
    return (x - number).abs() <= 1e-6 * (1 + abs(number)) if math.isfinite(number) else x == number
