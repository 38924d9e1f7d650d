"""From where to where the numbers of an event lie, as far as it is known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.distributions import constraints
from torch.distributions.constraints import Constraint

from anabranch.transforms.domain import EveryBlock, EveryNumber, MaskedNumbers, is_everything

# the ends of two spans are one end where they differ by no more than rounding in float32
_ROUNDING = 1e-5


@dataclass(frozen=True)
class Span:
    """The interval of each number of an event: whatever the others are, the number takes all of its interval.

    Args:
        low, high: (*event) each, in float64 on the CPU; infinite where there is no end, NaN where it is not known.
    """

    low: Tensor
    high: Tensor

    @property
    def shape(self) -> torch.Size:
        """That of an event."""
        return self.low.shape

    @property
    def known(self) -> Tensor:
        """For which numbers it is known: (*event)."""
        return ~(self.low.isnan() | self.high.isnan())

    @property
    def everything(self) -> bool:
        """Whether every number takes all numbers."""
        return bool((self.low.isneginf() & self.high.isposinf()).all())

    def outside(self, other: Span) -> Tensor:
        """Which numbers leave the other's interval, by more than rounding, as far as both are known: (*event)."""
        return (self.low < other.low - _rounding(other.low)) | (self.high > other.high + _rounding(other.high))

    def equal(self, other: Span) -> Tensor:
        """Which numbers have the same interval in both, up to rounding: (*event)."""
        pairs = ((self.low, other.low), (self.high, other.high))
        low, high = ((a == b) | ((a - b).abs() <= _rounding(b)) for a, b in pairs)
        return low & high

    def where(self, flags: Tensor, other: Span) -> Span:
        """This one's intervals for the numbers that are flagged (*event), and the other's for the rest."""
        return Span(torch.where(flags, self.low, other.low), torch.where(flags, self.high, other.high))

    def by(self, move: Any) -> Span:
        """The intervals in other places: a function of arrays (*event) that only moves numbers."""
        return Span(move(self.low), move(self.high))


def whole_span(shape: torch.Size) -> Span:
    """All numbers."""
    return _alike(shape, -torch.inf, torch.inf)


def unknown_span(shape: torch.Size) -> Span:
    """Nothing is known."""
    return _alike(shape, torch.nan, torch.nan)


def span_of(domain: Constraint, shape: torch.Size) -> Span:
    """The span of the events of a shape that a constraint allows.

    A constraint that is made of others says it in a method `span(shape)`.

    Example:
        >>> import torch
        >>> from torch.distributions import constraints
        >>> from anabranch.transforms.span import span_of
        >>> span_of(constraints.independent(constraints.positive, 1), torch.Size([2])).low
        tensor([0., 0.], dtype=torch.float64)
    """
    if is_everything(domain):
        return whole_span(shape)
    if hasattr(domain, "span"):
        told: Span = domain.span(shape)
        return told
    if isinstance(domain, MaskedNumbers):
        return span_of(domain.base_constraint, shape).where(domain.mask.cpu().expand(shape), whole_span(shape))
    if isinstance(domain, EveryBlock):
        return span_of(domain.base_constraint, shape[domain.extra :]).by(lambda ends: ends.expand(shape))
    if isinstance(domain, (EveryNumber, constraints.independent)):
        return span_of(domain.base_constraint, shape)
    ends = [getattr(domain, name, None) for name in ("lower_bound", "upper_bound")]
    if domain.is_discrete or ends == [None, None] or any(isinstance(end, Tensor) and end.is_meta for end in ends):
        return unknown_span(shape)
    low, high = (infinite if end is None else end for end, infinite in zip(ends, (-torch.inf, torch.inf), strict=True))
    return _alike(shape, low, high)


def span_of_any(spans: list[Span]) -> Span:
    """Of what is within some of several supports: known where one takes all numbers, or all the same."""
    first, *others = spans
    joined = first
    for other in others:
        same = joined.equal(other)
        whole = whole_span(first.shape)
        either = joined.equal(whole) | other.equal(whole)
        joined = joined.where(same, whole.where(either, unknown_span(first.shape)))
    return joined


def carried(name: str, span: Span, source: Span, target: Span, apart: bool) -> Span:
    """Where a bijection from one span to another takes what lies in a third.

    Args:
        name: the bijection's, for the message.
        span: what is taken.
        source, target: from where to where the bijection leads.
        apart: whether each number it gives rises or falls with its own number from end to end, whatever the others are.

    Raises:
        ValueError: the span leaves the source.
    """
    stray = span.outside(source)
    if bool(stray.any()):
        place = stray.nonzero()[0].tolist()
        (low, high), (least, largest) = ((s.low[tuple(place)], s.high[tuple(place)]) for s in (span, source))
        raise ValueError(
            f"that stays within what the transform reaches: {name} takes numbers from {least:g} to {largest:g} there, "
            f"got some from {low:g} to {high:g} at place {place}"
        )
    same = span.equal(source)
    if apart and source.shape == target.shape:
        return target.where(same, unknown_span(target.shape))
    return target if bool(same.all()) else unknown_span(target.shape)


def _alike(shape: torch.Size, low: Any, high: Any) -> Span:
    ends = (torch.as_tensor(end).detach().to("cpu", torch.float64).expand(shape) for end in (low, high))
    return Span(*ends)


def _rounding(end: Tensor) -> Tensor:
    return _ROUNDING * torch.where(end.isfinite(), 1 + end.abs(), 0.0)
