"""What rows of columns can be."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.distributions import constraints

from anabranch.families.family import Family
from anabranch.transforms.span import Span, unknown_span


class ColumnByColumn(constraints.Constraint):
    """Every number of the last dimension is one that its family can be, or a gap."""

    event_dim = 1

    def __init__(self, families: Sequence[Family]) -> None:
        super().__init__()
        self.families = list(families)
        self.is_discrete = any(family.discrete for family in families)

    def check(self, value: Tensor) -> Tensor:
        """Whether every number of rows (*batch, columns) can be: (*batch)."""
        columns = zip(self.families, value.unbind(dim=-1), strict=True)
        return torch.stack([family.contains(x) | x.isnan() for family, x in columns]).all(dim=0)

    def span(self, shape: torch.Size) -> Span:
        """The ends of every family."""
        spans = [_span_of_family(family, torch.Size([1])) for family in self.families]
        return Span(torch.cat([one.low for one in spans]), torch.cat([one.high for one in spans]))


class NumberByNumber(constraints.Constraint):
    """Every number of an event is one that a family can be.

    Args:
        family: of each number.
        event_dim: how many dimensions an event has.
    """

    def __init__(self, family: Family, event_dim: int) -> None:
        super().__init__()
        self.family = family
        self.event_dim = event_dim
        self.is_discrete = family.discrete
        # of whole numbers that come without a hole: what names the number that is out of range
        low, high = family.ends() if family.whole else (None, None)
        self.lower_bound, self.upper_bound = (None if end is None else int(end) for end in (low, high))

    def check(self, value: Tensor) -> Tensor:
        """Whether every number of events (*batch, *event) can be: (*batch)."""
        return self.family.contains(value).flatten(value.dim() - self.event_dim).all(dim=-1)

    def span(self, shape: torch.Size) -> Span:
        """The ends of the family."""
        return _span_of_family(self.family, shape)


def _span_of_family(family: Family, shape: torch.Size) -> Span:
    """From its least number to its largest; not known of one that leaves numbers out between them."""
    if family.discrete:
        return unknown_span(shape)
    low, high = (torch.full(shape, end, dtype=torch.float64) for end in family.ends())
    return Span(low, high)
