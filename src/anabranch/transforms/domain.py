"""Where a transform is defined."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.distributions import constraints
from torch.distributions.constraints import Constraint


class OpenInterval(Constraint):
    """The numbers strictly between two bounds; torch's `interval` has its ends too.

    Args:
        lower_bound: the lower one.
        upper_bound: the upper one.
    """

    def __init__(self, lower_bound: float, upper_bound: float) -> None:
        super().__init__()
        self.lower_bound = lower_bound
        self.upper_bound = upper_bound

    def __repr__(self) -> str:
        return f"OpenInterval({self.lower_bound}, {self.upper_bound})"

    def check(self, value: Tensor) -> Tensor:
        return (self.lower_bound < value) & (value < self.upper_bound)


class Circle(Constraint):
    """The numbers from 0 to a period, whose ends are one point.

    Args:
        period: how long the way around is.
    """

    def __init__(self, period: float) -> None:
        super().__init__()
        self.lower_bound, self.upper_bound = 0.0, period

    def __repr__(self) -> str:
        return f"Circle({self.upper_bound})"

    def check(self, value: Tensor) -> Tensor:
        return (value >= 0) & (value <= self.upper_bound)


class EveryNumber(Constraint):
    """Events each of whose numbers is constrained; torch's `independent` does the same, but for no empty batch.

    Args:
        numbers: the constraint on one of them.
        event_dim: how many dimensions an event has.
    """

    def __init__(self, numbers: Constraint, event_dim: int = 1) -> None:
        super().__init__()
        self.base_constraint = numbers
        self.event_dim = event_dim

    def __repr__(self) -> str:
        return f"EveryNumber({self.base_constraint!r}, event_dim={self.event_dim})"

    def check(self, value: Tensor) -> Tensor:
        inside: Tensor = self.base_constraint.check(value)
        return inside.flatten(value.dim() - self.event_dim).all(dim=-1)


class MaskedNumbers(Constraint):
    """Events whose numbers are constrained where a mask says so.

    Args:
        numbers: the constraint on one of them.
        mask: booleans in the shape of an event.
    """

    def __init__(self, numbers: Constraint, mask: Tensor) -> None:
        super().__init__()
        self.base_constraint = numbers
        self.mask = mask
        self.event_dim = mask.dim()

    def __repr__(self) -> str:
        return f"MaskedNumbers({self.base_constraint!r}, {self.mask.tolist()})"

    def check(self, value: Tensor) -> Tensor:
        inside: Tensor = self.base_constraint.check(value) | ~self.mask
        return inside.flatten(value.dim() - self.event_dim).all(dim=-1)


class EveryBlock(Constraint):
    """Events each of whose trailing blocks is constrained.

    Args:
        block: the constraint on one of them.
        extra: how many dimensions an event has before those of a block.
    """

    def __init__(self, block: Constraint, extra: int) -> None:
        super().__init__()
        self.base_constraint = block
        self.extra = extra
        self.event_dim = block.event_dim + extra

    def __repr__(self) -> str:
        return f"EveryBlock({self.base_constraint!r}, extra={self.extra})"

    def check(self, value: Tensor) -> Tensor:
        inside: Tensor = self.base_constraint.check(value)
        return inside.flatten(inside.dim() - self.extra).all(dim=-1)


def is_everything(domain: Constraint) -> bool:
    """Whether a domain is all numbers, or all vectors or arrays of them."""
    return domain is constraints.real_vector or isinstance(_of_numbers(domain), type(constraints.real))


def of_features(domain: Constraint, event_dim: int = 1) -> Constraint:
    """The constraint on events each of whose numbers lies in the domain (or in that of whose numbers it is one)."""
    return constraints.real_vector if is_everything(domain) else EveryNumber(_of_numbers(domain), event_dim)


def of_blocks(domain: Constraint, extra: int) -> Constraint:
    """The constraint on events with so many dimensions before those of a block, each of whose blocks lies in the domain."""
    return domain if is_everything(domain) or not extra else EveryBlock(domain, extra)


def everywhere(event_dim: int) -> Constraint:
    """All events of so many dimensions."""
    return constraints.real_vector if event_dim == 1 else constraints.independent(constraints.real, event_dim)


def some_point(domain: Constraint) -> Any:
    """A number (or a tensor of them, where the bounds are tensors) within an interval; None if it is no interval."""
    interval = _of_numbers(domain)
    low, high = getattr(interval, "lower_bound", None), getattr(interval, "upper_bound", None)
    if low is None:
        return None if high is None else high - 1
    return low + 1 if high is None else low + (high - low) / 2


def of_intervals(domain: Constraint, x: Tensor) -> Tensor | None:
    """Any numbers moved into a domain that is one interval for each number: None if it is no such."""
    if is_everything(domain):
        return x
    interval = _of_numbers(domain)
    low, high = getattr(interval, "lower_bound", None), getattr(interval, "upper_bound", None)
    if low is None:
        return None if high is None else high - x.exp()
    return low + x.exp() if high is None else low + (high - low) * torch.sigmoid(x)


def period_of(domain: Constraint) -> float | None:
    """The period of numbers on a circle, or of some of them; None where there is none."""
    numbers = _of_numbers(domain)
    return numbers.upper_bound if isinstance(numbers, Circle) else None


def _of_numbers(domain: Constraint) -> Constraint:
    while isinstance(domain, (EveryNumber, MaskedNumbers, EveryBlock, constraints.independent)):
        domain = domain.base_constraint
    return domain
