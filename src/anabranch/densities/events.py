"""Events as they come to a density: floating or whole numbers, read and checked."""

from __future__ import annotations

from typing import Any, Literal, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.distributions import constraints
from torch.distributions.constraints import Constraint

from anabranch.checks import matching, read_tensor, rows_at_once
from anabranch.transforms.domain import EveryNumber

EventDtype = Literal["floating", "whole"]


class HasEvents(Protocol):
    """What is known of the events of a density."""

    event_shape: torch.Size
    event_dtype: EventDtype

    @property
    def support(self) -> Constraint:
        """Where they can be."""


def read_event(name: str, x: Any, density: HasEvents, like: Tensor | None) -> Tensor:
    """x as a tensor, in the dtype of `like`, the density's.

    Whole numbers stay in their dtype (uint8, for instance) for a density of whole numbers; for another one that is discrete
    they, and booleans, are read in the dtype of `like`.
    """
    if density.event_dtype == "whole" and not isinstance(x, Tensor) and _is_whole(x):
        x = read_tensor(name, x, None)
        return x if like is None else x.to(like.device)
    x = read_tensor(name, x, like)
    if like is not None and not x.is_floating_point() and density.support.is_discrete:
        return x if density.event_dtype == "whole" else x.to(like.dtype)
    return x


def matching_event(
    name: str, x: Tensor, density: HasEvents, like: Tensor | None, shape: torch.Size | None = None
) -> None:
    """Raise ValueError unless x ends in the event shape, or `shape`, with the dtype (or a whole one) and device of like."""
    if like is not None and density.event_dtype == "whole" and not x.is_floating_point() and not x.is_complex():
        like = like.new_empty(0, dtype=x.dtype)
    matching(name, x, density.event_shape if shape is None else shape, like)


def whole_rows(name: str, x: Tensor, density: HasEvents) -> None:
    """Raise ValueError naming row and place if rows (rows, *event) hold what a density of whole numbers can't be."""
    if density.event_dtype != "whole":
        return
    numbers = _of_numbers(density.support)
    count = rows_at_once(x)
    for begin in range(0, len(x), count):
        some = x[begin : begin + count]
        if numbers is None:
            wrong, wanted = ~density.support.check(some), "whole numbers that the density can be"
        else:
            wrong, wanted = (
                (some < numbers[0]) | (some > numbers[1]),
                f"whole numbers from {numbers[0]} to {numbers[1]}",
            )
            if some.is_floating_point():
                wrong |= some != some.round()
        where = wrong.nonzero()
        if len(where):
            row, *place = where[0].tolist()
            value = f"{some[row][tuple(place)].item():g} " if place else "others "
            at = "" if not place else f", column {place[0]}" if len(place) == 1 else f", position {tuple(place)}"
            raise ValueError(f"{name}: expected {wanted}, got {value}in row {begin + row}{at}")


def _of_numbers(support: Constraint) -> tuple[int, int] | None:
    """The least and the largest whole number, where all numbers of an event have the same."""
    while isinstance(support, (EveryNumber, constraints.independent)):
        support = support.base_constraint
    if support is constraints.boolean:
        return 0, 1
    low, high = getattr(support, "lower_bound", None), getattr(support, "upper_bound", None)
    return (int(low), int(high)) if isinstance(low, int) and isinstance(high, int) else None


def _is_whole(x: Any) -> bool:
    try:
        return np.asarray(x).dtype.kind in "iub"
    except (TypeError, ValueError):
        return False
