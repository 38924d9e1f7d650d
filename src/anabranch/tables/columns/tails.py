"""How heavy the tails of a column are, and the map under which none is heavier than that."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from anabranch.families.curve import Curve, Tail
from anabranch.tables.columns.column import Float64

# a tail begins at the largest n^0.6 values, but at no more than a tenth of all, and at no fewer than these
_POWER, _MOST_SHARE, _LEAST = 0.6, 0.1, 8
# the weight of 0 against an index xi: nats of xi / (1 - xi), which keeps means finite
_TOWARDS_LIGHT = 1.0
# an index below this, and of a straight map below so many of its errors, is none
_LEAST_INDEX, _ERRORS = 0.05, 2.5
# scales of the encoded tail: at least so wide, in standard deviations, and components up to so much wider than it
_NARROWEST, _ROOM = 0.3, 1.2
# the widest component, which outlives all others, has an index that is nearer to 1, where means end, by this share at most
_NEARER = 0.2
# a side narrower than this share of the other is made steeper, so many times at most
_NARROWER, _STEEPEST = 0.7, 3.0
# a tail is called heavy above this index: few samples of normal, exponential and gamma numbers show as much, and most of
# Student's t of 3 degrees (1/3), of Pareto's of index 2 (1/2) and of heavier ones do
_HEAVY_INDEX = 0.25


class Side(NamedTuple):
    """One tail of a sample: where it begins, the scale there and the index of what lies beyond.

    Attributes:
        at: the place, in units of the standardised value.
        scale, heaviness: scale and index of the generalised Pareto distribution of the distances beyond, in units in which
            the map has slope 1.
    """

    at: float
    scale: float
    heaviness: float


class Tails(NamedTuple):
    """The tails of a map, as `Curve` takes them, and the widest scale of a mixture on what is mapped; None for no limit."""

    low: Tail | None = None
    high: Tail | None = None
    widest: float | None = None


def begins(t: Float64) -> tuple[float, Float64]:
    """Where the upper tail of values (n) begins, and those beyond; none where they are too few."""
    k = int(min(len(t) ** _POWER, _MOST_SHARE * len(t)))
    if k < _LEAST:
        return np.inf, t[:0]
    ordered = np.partition(t, len(t) - k - 1)
    at = float(ordered[len(t) - k - 1])
    return at, t[t > at]


def side_of(at: float, distances: Float64, curved: bool = True) -> Side | None:
    """What distances beyond a place say of the tail there; None where they are too few.

    Without a curve a straight line stays one, unless the index is more than its error.
    """
    y = distances[distances > 0]
    if len(y) < _LEAST:
        return None
    mean = float(y.mean())
    index, scale = pareto(y)
    if index < (_LEAST_INDEX if curved else max(_LEAST_INDEX, _ERRORS * len(y) ** -0.5)):
        index, scale = 0.0, mean
    return Side(at, scale, index)


def pareto(y: Float64) -> tuple[float, float]:
    r"""Index xi >= 0 and scale of the generalised Pareto distribution of y (n), all above 0, drawn towards xi = 0.

    Their means along the profile xi(theta) = mean log(1 + theta y), theta = xi / sigma, each weighted by

    .. math:: \exp \Big( \sum_i \log p(y_i | \xi, \sigma) - \lambda \frac{\xi}{1 - \xi} \Big) \, d\xi,

    so that xi < 1 and the mean exists. Means, and not the most likely, as few values rarely show how heavy a tail is.
    Source: Grimshaw, 1993, Technometrics 35 (the profile); Coles and Dixon, 1999, Extremes 2 (the penalty).

    Example:
        >>> import numpy as np
        >>> from anabranch.tables.columns.tails import pareto
        >>> u = (np.arange(1000) + 0.5) / 1000
        >>> [round(float(number), 1) for number in pareto((u**-0.5 - 1) / 0.5)]  # index 0.5, scale 1
        [0.5, 1.0]
        >>> round(pareto(-np.log(u))[0], 1)
        0.0
    """
    mean = float(y.mean())
    y = y / mean
    theta = np.geomspace(1e-3, 1e4, 281)
    index = np.array([np.log1p(one * y).mean() for one in theta])
    inside = index < 1
    likelihood = -np.log(index / theta) - index - 1
    score = len(y) * likelihood - _TOWARDS_LIGHT * index / np.where(inside, 1 - index, 1.0)
    weight = np.where(inside, np.exp(np.minimum(score - score[inside].max(), 0.0)), 0.0) * np.gradient(index)
    weight /= weight.sum()
    return float(weight @ index), float(weight @ (index / theta)) * mean


def heavy(curve: Curve, widest: float | None) -> bool:
    r"""Whether a column has a heavy tail: one of an estimated index c s above 0.25, with no moments beyond the fourth.

    c is that of the curve, and s the scale of the wider encoded tail, above which `widest` leaves room. Without `widest`
    nothing was estimated, and no tail is called heavy.

    Example:
        >>> from anabranch.families import Curve
        >>> from anabranch.tables.columns.tails import heavy
        >>> heavy(Curve(high_tail=(1.0, 0.1, 0.0)), 1.2), heavy(Curve(high_tail=(1.0, 0.5, 0.0)), 1.2)
        (False, True)
    """
    _, _, low, _, _, high, _ = curve.numbers
    return widest is not None and max(low, high) * widest / _ROOM > _HEAVY_INDEX


def tails_of(
    low: Side | None, high: Side | None, open_low: bool = True, open_high: bool = True, curved: bool = True
) -> Tails:
    """The tails of a map whose exponential tails are as heavy as the sides.

    With scale s and index xi of a side, the distances beyond become exponential with scale s by c = xi / s. Sides whose s is
    smaller than the other's are made steeper, so that they have its scale, and c = xi / scale.

    Args:
        low, high: the sides; None where nothing is known of one.
        open_low, open_high: whether there is no end there: an end needs no tail.
        curved: whether the map is no straight line, which as the tail of one would be heavier than exponential.
    """
    sides = [low if open_low else None, high if open_high else None]
    known = [side for side in sides if side is not None]
    if not known:
        return Tails()
    wanted = max(_NARROWEST, *(side.scale for side in known))
    widest = _ROOM * wanted
    found: list[Tail | None] = []
    for side in sides:
        if side is None:
            found.append(None)
            continue
        steeper = min(wanted / side.scale, _STEEPEST) if side.scale < _NARROWER * wanted else 1.0
        if side.heaviness == 0 and steeper == 1.0 and not curved:
            found.append(None)
            continue
        # the widest component outlives all others
        most = side.heaviness + _NEARER * (1 - side.heaviness)
        index = min(side.heaviness / (side.scale * steeper), most / widest) if side.heaviness > 0 else 0.0
        found.append((side.at, index, steeper - 1))
    under, over = found
    return Tails(None if under is None else (-under[0], *under[1:]), over, widest)
