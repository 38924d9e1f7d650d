"""Single values of a column that are rare, apart from all else that it is asked to be in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from anabranch.queries.region import AnyOf, Interval, Values

# so many single values of a column are told apart from others
_MOST_POINTS = 64


def rare_values_apart(
    region: Mapping[int, Values], rare: Callable[[int, float], bool]
) -> tuple[int, Values, list[float], float] | None:
    """A column whose values have rare single numbers in them, or taken out of them: the others, these numbers, and their
    sign. They are told before rows are drawn wherever they are asked for, so that P(n = 3) + P(n != 3) is 1.

    Args:
        region: by column.
        rare: whether a single value of a column is told before rows are drawn.

    Returns:
        None where there are no such numbers, or more than 64 of them.

    Example:
        >>> from anabranch.queries import AnyOf, Interval
        >>> from anabranch.queries.rare_values import rare_values_apart
        >>> values = AnyOf((Interval(low=9.0), Interval(1.0, 1.0), Interval(2.0, 2.0)))
        >>> column, rest, points, sign = rare_values_apart({3: values}, lambda column, value: value == 2.0)
        >>> column, points, sign, rest.holds(1.0), rest.holds(2.0)
        (3, [2.0], 1.0, True, False)
    """
    for i, values in region.items():
        if isinstance(values, Interval):
            whole: Values = replace(values, without=())
            points, sign = [v for v in values.without if whole.holds(v)], -1.0
        else:
            singles = [part for part in values.parts if part.point is not None]
            whole = AnyOf.read(part for part in values.parts if part not in singles)
            points, sign = [part.low for part in singles if not whole.holds(part.low)], 1.0
        told = [v for v in points if rare(i, v)]
        if told and len(told) <= _MOST_POINTS:
            kept = [v for v in points if v not in told]
            if sign < 0 and isinstance(values, Interval):
                return i, replace(values, without=tuple(kept)), told, sign
            return i, AnyOf.read([whole, *(Interval(v, v) for v in kept)]), told, sign
    return None
