"""Events as they come to a density: floating or whole numbers, read and checked."""

from __future__ import annotations

from typing import Any, Literal, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.distributions.constraints import Constraint

from anabranch.checks import matching, read_tensor, rows_at_once
from anabranch.densities.whole_numbers import ends_of
from anabranch.networks.of_context import once

EventDtype = Literal["floating", "whole"]

# of colours: larger numbers are no levels of another density, but faults
_MOST_LEVELS = 2**16


class HasEvents(Protocol):
    """What is known of the events of a density."""

    event_shape: torch.Size
    event_dtype: EventDtype
    gaps: bool

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


def whole_rows(name: str, x: Tensor, density: HasEvents, like: Tensor | None) -> None:
    """Raise ValueError naming row and place if rows (rows, *event) hold a whole number that a discrete density can't be.

    Densities that take a NaN for a gap are left out.

    Args:
        name: of the rows.
        x: the rows.
        density: the density.
        like: a tensor of the density's dtype and device.
    """
    if density.gaps or not density.support.is_discrete:
        return
    ends = ends_of(
        density.support, torch.zeros(density.event_shape) if like is None else like.new_zeros(density.event_shape)
    )
    all_whole = density.event_dtype == "whole" or (ends is not None and bool(ends.whole.all()))
    count = rows_at_once(x)
    for begin in range(0, len(x), count):
        some = x[begin : begin + count]
        where = ends.outside(some).nonzero() if ends is not None else some.new_zeros(0, dtype=torch.long)
        if ends is not None and len(where):
            row, *place = where[0].tolist()
            low, high = (float(end[tuple(place)]) for end in (ends.low, ends.high))
            # torch compares few numbers of the larger unsigned dtypes
            event = some[row].double()
            value = f"{event[tuple(place)].item():g}"
            scaled = (event >= 0).all() and (event <= 1).all() and low == 0 and high > 1
            hint = f"; numbers from 0 to 1 become levels by (x * {high:.0f}).round()" if scaled else ""
            most = float(some.double().max())
            if low == 0 and most > high and most == round(most) and most < _MOST_LEVELS and not hint:
                hint = f"; numbers up to {most:.0f} need {most + 1:.0f} levels"
            at = f"column {place[0]}" if len(place) == 1 else f"position {tuple(place)}"
            raise ValueError(
                f"{name}: expected whole numbers from {low:.0f} to {high:.0f}, got {value} in row {begin + row}, {at}{hint}"
            )
        if all_whole and (ends is None or not ends.exact):
            read = some if density.event_dtype == "whole" or like is None else some.to(like)
            wrong = (~density.support.check(read)).nonzero()
            if len(wrong):
                raise ValueError(
                    f"{name}: expected whole numbers that the density can be, got others in row {begin + int(wrong[0])}"
                )


def without_nan(density: HasEvents, x: Tensor) -> tuple[Tensor, Tensor]:
    """Events (*batch, *event) as the parts of a density can read them, and which of them a NaN has broken, (*batch).

    A density that takes a NaN for a gap reads x as it came, and nothing is broken. Elsewhere 0 stands for a NaN, since not
    every posterior can be drawn at one.
    """
    seen = once(x, len(density.event_shape))
    missing = seen.isnan()
    broken = missing.flatten(x.dim() - len(density.event_shape)).any(dim=-1)
    broken = broken.expand(x.shape[: broken.dim()])
    if density.gaps:
        return x, torch.zeros_like(broken)
    return torch.where(missing, 0.0, seen).expand(x.shape) if x.is_floating_point() else x, broken


def _is_whole(x: Any) -> bool:
    try:
        return np.asarray(x).dtype.kind in "iub"
    except (TypeError, ValueError):
        return False
