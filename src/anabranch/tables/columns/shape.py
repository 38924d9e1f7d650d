"""The shape of numbers: where they are, which of them repeat, and what map makes them most like normal ones."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from anabranch.tables.columns.column import Float64
from anabranch.tables.columns.tails import Side, Tails, begins, side_of, tails_of
from anabranch.tables.frame import TableError

# an atom has at least so many rows, and such a share of them
_ATOM_ROWS = 10
_ATOM_SHARE = 0.002
_MOST_ATOMS = 200
# and so many times the rows that its neighbours let expect
_STICKS_OUT = 3.0
# a map is preferred to none if it gains more nats per row than this, and more in all rows than that
_GAIN, _GAIN_OF_ALL = 0.05, 5.0
# numbers are looked at in so many rows at most
_LOOKED_AT = 100_000
# widths of the part of a bent column that stays straight, in robust deviations
_WIDTHS = (0.1, 0.3, 1.0, 3.0, 10.0)


def standard(name: str, values: Float64) -> tuple[float, float]:
    """Mean and standard deviation, without overflow for the largest of numbers and without loss for narrow ones.

    Raises:
        TableError: they spread over less than the smallest of floats.
    """
    # powers of two: multiplying by them is exact
    exponent = int(np.frexp(np.abs(values).max())[1])
    small = np.ldexp(values, -exponent)
    mean = float(small.mean())
    deviation = small - mean
    largest = float(np.abs(deviation).max())
    if largest == 0:
        return float(values[0]), 1.0
    spread = math.sqrt(float(np.square(deviation / largest).mean())) * largest
    loc, scale = math.ldexp(mean, exponent), math.ldexp(spread, exponent)
    if scale == 0:
        raise TableError(
            f"column {name!r} spreads over less than the smallest of floats; multiply it by a large number"
        )
    return loc, scale


def standardised(values: Float64, loc: float, scale: float) -> Float64:
    """(x - loc) / scale."""
    # in units of a power of two near the scale: exact, and x - loc cannot overflow where the result does not
    mantissa, exponent = math.frexp(scale)
    with np.errstate(over="ignore"):
        result: Float64 = (np.ldexp(values, -exponent) - math.ldexp(loc, -exponent)) / mantissa
    return result


def bent_standard(name: str, values: Float64) -> tuple[float, float, float]:
    """loc, scale and bend of z = asinh(bend (x - loc) / scale) / bend; bend 0 where the tails are not heavy.

    The bend is that under which a normal distribution fits z best, if that is clearly better than none (Box and Cox, 1964,
    for the criterion: the normal likelihood with the map's own derivative).
    """
    loc, scale = standard(name, values)
    t = standardised(some_of(values), loc, scale)
    best = normal_score(t, np.zeros_like(t)) + margin(len(t))
    centre = float(np.median(t))
    near = np.quantile(t, [0.25, 0.75])
    robust = float(near[1] - near[0]) / 1.349 or float(t.std()) * 1e-3
    result = loc, scale, 0.0
    if len(np.unique(t)) < 5:
        return result
    for width in (robust * factor for factor in _WIDTHS):
        u = (t - centre) / width
        y = np.arcsinh(u)
        score = normal_score(y, -np.log(width) - np.log(np.hypot(1.0, u)))
        if score > best:
            bend = math.sqrt(float(np.square(y).mean()))
            best, result = score, (loc + scale * centre, scale * width * bend, bend)
    return result


def tails_of_line(t: Float64, bend: float, open_low: bool, open_high: bool) -> Tails:
    """The tails of z = asinh(bend t) / bend, from standardised values t (n), on the sides without an end."""
    sides: list[Side | None] = []
    for sign, is_open in ((-1.0, open_low), (1.0, open_high)):
        at, beyond = begins(sign * t)
        slope = 1 / math.hypot(1.0, bend * at) if math.isfinite(at) else 1.0
        sides.append(side_of(at, slope * (beyond - at), curved=bend > 0) if is_open else None)
    return tails_of(sides[0], sides[1], open_low, open_high, curved=bend > 0)


def applied(function: Callable[[Tensor], Tensor], values: Float64) -> Float64:
    """A function of tensors applied to an array, in float64."""
    result: Float64 = function(torch.tensor(values, dtype=torch.float64)).numpy()
    return result


def normal_score(y: Float64, log_slope: Float64) -> float:
    """Nats per row, but for a constant, of x under the normal distribution that fits y = f(x) best."""
    spread = float(y.std())
    return float(log_slope.mean()) - math.log(spread) if spread > 0 else -math.inf


def margin(rows: int) -> float:
    """How much better a map has to be than none, nats per row."""
    return max(_GAIN, _GAIN_OF_ALL / max(1, rows))


def atoms_of(values: Float64, step: float = 0.0) -> list[float]:
    """Values that repeat more than those around them let expect, in order.

    Args:
        values: (n), no gaps.
        step: of the lattice they lie on, 0 for none: of what is continuous nothing repeats.
    """
    distinct, first, counts = np.unique(values, return_index=True, return_counts=True)
    del first
    often = np.flatnonzero((counts >= _ATOM_ROWS) & (counts > _ATOM_SHARE * len(values)))
    if not len(often):
        return []
    if step > 0:
        often = np.array([i for i in often if _sticks_out(int(i), distinct, counts, step)], dtype=np.intp)
    most = often[np.argsort(-counts[often], kind="stable")][:_MOST_ATOMS]
    return [float(value) for value in np.sort(distinct[most])]


def _sticks_out(i: int, distinct: Float64, counts: NDArray[np.integer], step: float) -> bool:
    """Whether a value has more rows than the nearest hundredth of the others on either side would put there."""
    wanted = 0.01 * counts.sum()
    rows = points = 0.0
    for way in (-1, 1):
        j, seen = i + way, 0.0
        while 0 <= j < len(distinct) and seen < wanted:
            seen += counts[j]
            j += way
        if seen:
            last = j - way
            rows += seen
            points += abs(distinct[last] - distinct[i]) / step
    return bool(points == 0 or counts[i] > _STICKS_OUT * rows / points)


def some_of(values: Float64) -> Float64:
    """The values, or as many of them as are looked at, always the same."""
    if len(values) <= _LOOKED_AT:
        return values
    return values[np.random.default_rng(0).choice(len(values), _LOOKED_AT, replace=False)]
