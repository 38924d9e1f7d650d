"""How many rows are like what is given, and whether these are enough."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from anabranch.queries.estimate import QueryWarning
from anabranch.queries.region import Values
from anabranch.queries.weighted_rows import WeightedRows

# two numbers of a column are near where so small a share of all rows lies between them
_NEAR = 0.025
# what is given shall leave so many draws
ENOUGH = 200
# fewer rows of those that a density was fitted to say little of what is asked given them
_FEW = 50


def share_near(rows: WeightedRows, given: Mapping[int, Values], common: Callable[[int, float], bool]) -> float:
    """The share of rows that are near what is given: equal to values that are common, with no more than a fortieth of the
    column's distribution between them and others, and within ranges.

    Args:
        rows: of the density, nothing given.
        given: by column.
        common: whether a value of a column has a probability that makes rows equal to it many.
    """
    inside = torch.ones(len(rows.x), dtype=torch.bool, device=rows.x.device)
    for i, values in given.items():
        point = values.point
        if point is None or common(i, point):
            inside &= values.contains(rows.x[:, i])
        else:
            place = _share_below(rows.x[:, i], torch.tensor([point]).to(rows.x))
            inside &= (_share_below(rows.x[:, i], rows.x[:, i]) - place).abs() <= _NEAR
    return float(rows.share(inside).value)


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


def _share_below(column: Tensor, values: Tensor) -> Tensor:
    ordered = column.sort().values
    low, high = (torch.searchsorted(ordered, values.contiguous(), right=right) for right in (False, True))
    return (low + high) / (2 * len(ordered))
