"""How many rows are like what is given, and whether these are enough."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from anabranch.queries.estimate import QueryWarning
from anabranch.queries.region import Values
from anabranch.queries.weighted_rows import WeightedRows

# two numbers of a column are near where so small a share of all rows lies between them
_NEAR = 0.025
# a value that has such a share of all rows is one that rows are equal to
COMMON = 0.02
# what is given shall leave so many draws
ENOUGH = 200
# fewer rows of those that a density was fitted to say little of what is asked given them
_FEW = 50


def share_near(rows: WeightedRows, given: Mapping[int, Values], common: Callable[[int, float], bool]) -> float:
    """The share of rows that are near what is given: equal to values that are common, near others (`_near`), and within
    ranges.

    Args:
        rows: of the density, nothing given.
        given: by column.
        common: whether a value of a column has a probability that makes rows equal to it many.
    """
    near = torch.ones(len(rows.x), dtype=torch.bool, device=rows.x.device)
    for i, values in given.items():
        point = values.point
        if point is None or common(i, point):
            near &= values.contains(rows.x[:, i])
        else:
            near &= _near(rows.x[:, i], point)
    return float(rows.share(near).value)


def few_rows(share: float, rows: int) -> str:
    """What is said of an answer given what so small a share of the rows is like; empty where they are enough."""
    count = share * rows
    if count >= _FEW:
        return ""
    about = f"about {count:.0f}" if count >= 1 else "hardly any"
    return f"{about} of {rows:,} training rows are like what is given"


def warn_of_few(left: float, count: int) -> None:
    """Warn where what is given leaves few of so many draws."""
    if left < ENOUGH and left < count:
        warnings.warn(
            f"given: {left:.0f} of {count:,} draws are in what is given, and the answer rests on these; raise samples, or "
            "ask with a wider range",
            QueryWarning,
            stacklevel=3,
        )


def _near(column: Tensor, number: float) -> Tensor:
    """Which of the values (n) are near a number: a fortieth of them at most lies in between, and the next fortieth behind
    the value, seen from the number, reaches as far as the number is away. So nothing is near a number far beyond all values,
    or in a gap between them.
    """
    ordered = column.sort().values
    point = torch.tensor([number]).to(column)
    place, at = _place(ordered, column), _place(ordered, point)
    last, step = len(ordered) - 1, math.ceil(_NEAR * len(ordered))
    here = place.round().long().clamp(max=last)
    behind = torch.where(column < point, here - step, here + step).clamp(0, last)
    alike = (column - point).abs() <= (ordered[behind] - column).abs()
    return alike & ((place - at).abs() <= _NEAR * len(ordered))


def _place(ordered: Tensor, values: Tensor) -> Tensor:
    """How many of the values in order are below others (k), halves of those that are equal among them: (k)."""
    low, high = (torch.searchsorted(ordered, values.contiguous(), right=right) for right in (False, True))
    return 0.5 * (low + high)
