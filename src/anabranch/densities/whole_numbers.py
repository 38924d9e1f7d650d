"""Which numbers of an event are whole, and from where to where."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributions import constraints
from torch.distributions.constraints import Constraint

from anabranch.transforms.domain import EveryNumber


@dataclass(frozen=True)
class Ends:
    """The least and the largest whole number of each place of an event.

    Args:
        low, high: (*event) each, in float64 on the CPU. A place where both are infinite takes other numbers too.
        exact: whether an event whose numbers lie between them can be, where all of its places are whole.
    """

    low: Tensor
    high: Tensor
    exact: bool = True

    @property
    def whole(self) -> Tensor:
        """Which places take whole numbers alone: (*event)."""
        return self.low.isfinite() | self.high.isfinite()

    def outside(self, x: Tensor) -> Tensor:
        """Which numbers of rows (rows, *event) can't be: of the same shape, in little memory where all places are alike."""
        ends = torch.stack([self.low.flatten(), self.high.flatten()]).unique(dim=1)
        if ends.shape[1] != 1:
            low, high, whole = (value.to(x.device) for value in (self.low, self.high, self.whole))
            return (x < low) | (x > high) | (whole & (x != x.round() if x.is_floating_point() else False))
        low, high = ends.flatten().tolist()
        wrong = torch.zeros_like(x, dtype=torch.bool)
        # a number of a whole dtype is compared with none that the dtype does not have, which would wrap around
        limits = None if x.is_floating_point() or x.dtype == torch.bool else torch.iinfo(x.dtype)
        if limits is None or low > limits.min:
            wrong |= x < low
        if limits is None or high < limits.max:
            wrong |= x > high
        if x.is_floating_point() and bool(self.whole.all()):
            wrong |= x != x.round()
        return wrong


def ends_of(support: Constraint, event: Tensor) -> Ends | None:
    """The ends of the numbers of a support; None where they are not known.

    A constraint that is made of others says them in a method `ends(event)`.

    Args:
        support: the constraint.
        event: any event, for its shape, and for the dtype and device in which a density reads it.
    """
    if not support.is_discrete:
        return _alike(event, -torch.inf, torch.inf)
    if hasattr(support, "ends"):
        told: Ends | None = support.ends(event)
        return told
    while isinstance(support, (EveryNumber, constraints.independent)):
        support = support.base_constraint
    if support is constraints.boolean:
        return _alike(event, 0, 1)
    low, high = (getattr(support, name, None) for name in ("lower_bound", "upper_bound"))
    return _alike(event, low, high) if isinstance(low, int) and isinstance(high, int) else None


def ends_of_any(ends: Sequence[Ends | None]) -> Ends | None:
    """Of what is within some of several supports."""
    known = [one for one in ends if one is not None]
    if len(known) < len(ends):
        return None
    low = torch.stack([one.low for one in known]).amin(dim=0)
    high = torch.stack([one.high for one in known]).amax(dim=0)
    exact = any(one.exact and one.low.equal(low) and one.high.equal(high) for one in known)
    return Ends(low, high, exact)


def _alike(event: Tensor, low: float, high: float) -> Ends:
    """The same ends at every place of an event."""
    least, largest = (torch.full(event.shape, float(end), dtype=torch.float64) for end in (low, high))
    return Ends(least, largest)
