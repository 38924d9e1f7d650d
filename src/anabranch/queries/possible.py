"""Events of one column that cannot be, or must be, whatever its distribution."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from anabranch.families import Family, Levels
from anabranch.models import AnyOrder
from anabranch.queries.region import Interval, Values, disjoint

# of the size of a number: what float32 may be off at an end
_ROUNDING = 1e-6


def settled_by_family(family: Family, values: Values) -> bool | None:
    """Whether a column of a family is within values: False if it never can be, True if it always is, None if that depends.

    Example:
        >>> from anabranch.families import Lattice, Levels
        >>> from anabranch.queries import Interval
        >>> from anabranch.queries.possible import settled_by_family
        >>> settled_by_family(Lattice(1.0, low=0.0, high=9.0), Interval(low=9.5))
        False
        >>> settled_by_family(Levels(2), Interval(0, 1))
        True
    """
    if values.empty:
        return False
    if values.everything:
        return True
    if isinstance(family, Levels):
        inside = values.contains(torch.arange(family.count, dtype=torch.float64))
        return bool(inside.any()) if bool(inside.all()) or not bool(inside.any()) else None
    ends = family.ends()
    runs = [run for run in disjoint(values) if not _impossible(family, run, ends)]
    if not runs:
        return False
    return True if any(_holds(run, ends) for run in runs) else None


def seen_ends(model: AnyOrder, column: int) -> tuple[float, float] | None:
    """The ends of the values that a model's column was initialized with; None where nothing is known of them."""
    return model.family(column).seen() if bool(model.get_buffer("initialized")) else None


def _impossible(family: Family, run: Interval, ends: tuple[float, float]) -> bool:
    if run.point is not None:
        value = torch.tensor([run.point], dtype=torch.float64)
        return not bool((family.nearest(value) - value).abs() <= _ROUNDING * (1 + value.abs()))
    low, high = ends
    under = run.high < low - _rounding(low) or (not run.high_included and run.high <= low + _rounding(low))
    over = run.low > high + _rounding(high) or (not run.low_included and run.low >= high - _rounding(high))
    return (math.isfinite(low) and under) or (math.isfinite(high) and over)


def _holds(run: Interval, ends: tuple[float, float]) -> bool:
    low, high = ends
    least = run.low < low or (run.low_included and run.low <= low + _rounding(low)) or run.low == -math.inf
    most = run.high > high or (run.high_included and run.high >= high - _rounding(high)) or run.high == math.inf
    return least and most


def _rounding(end: float) -> float:
    return _ROUNDING * (1 + abs(end)) if math.isfinite(end) else 0.0


def check_possible(log_p: Tensor, rows: Tensor) -> None:
    """Raise ValueError naming the first of rows, numbered (n), of which what was observed has a log p (n) of -inf or NaN."""
    bad = (~(log_p > -torch.inf)).nonzero().squeeze(-1)
    if len(bad):
        raise ValueError(
            f"rows: expected values that are possible, but the density of what row {int(rows[bad[0]])} has is 0, or "
            f"below every float ({len(bad)} of these rows); correct or leave out those values"
        )
