"""Numbers on a lattice: integers, and measurements rounded to so many digits."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from anabranch.checks import positive
from anabranch.families.curve import Curve, Tail, curved, log_slope, straightened, width_of_cell
from anabranch.families.family import Family
from anabranch.families.logistics import Logistics, mixture_log_probability
from anabranch.families.point_masses import PointMasses

# between two ends so near the mean is summed up cell by cell
_MOST_CELLS = 1000
# how far from a point of the lattice a number still is that point, in steps
_NEAR = 0.02


class Lattice(Family):
    r"""Probabilities of the points u = origin + step * n for whole n, seen as x = f(u) with f a `Curve`:

    .. math:: P(x) = F(f(u + h)) - F(f(u - h)), \qquad h = \texttt{step} / 2,

    what a mixture of logistics F, cut half a step beyond `low` and `high` if there are any, has between half a step below
    and above. Anything off the lattice, or beyond an end, has probability 0.

    Where a cell is narrower than the last digit of x, in float32, x cannot say which point it is, and stands for those
    around it, all of the same probability to that precision.

    Args:
        step: between neighbours, in the unit of u.
        origin: some point of the lattice, of u.
        low, high: its ends, of u, None for none.
        components, bins: of the mixture, as in `Logistics`.
        bend, low_tail, high_tail: of the curve; tails begin half-way between two points, or are moved to where they do.
        widest: what scales of the mixture stay below, None for nothing.

    Raises:
        ValueError: ends in the wrong order, or others that `Logistics` and `Curve` do not take.

    Example:
        >>> import torch
        >>> from anabranch.families import Lattice
        >>> dice = Lattice(step=1.0, low=1.0, high=6.0, components=1)
        >>> theta = torch.tensor([0.0, 3.5, 9.0])
        >>> dice.log_prob(torch.arange(1.0, 7.0), theta.expand(6, 3)).exp().round(decimals=3)
        tensor([0.1670, 0.1670, 0.1670, 0.1670, 0.1670, 0.1670])
    """

    discrete = True

    def __init__(
        self,
        step: float,
        origin: float = 0.0,
        low: float | None = None,
        high: float | None = None,
        components: int = 8,
        bins: int = 12,
        bend: float = 0.0,
        low_tail: Tail | None = None,
        high_tail: Tail | None = None,
        widest: float | None = None,
    ) -> None:
        self.step, self.origin = positive("step", step), float(origin)
        self.low = -math.inf if low is None else float(low)
        self.high = math.inf if high is None else float(high)
        if self.low > self.high:
            raise ValueError(f"high: expected at least low, {self.low:g}, got {self.high:g}")
        self.curve = Curve(bend, self._between(low_tail), self._between(high_tail))
        under, over = (
            None if math.isinf(end) else float(self.curve.to(torch.tensor(end, dtype=torch.float64)))
            for end in (self.low - 0.5 * self.step, self.high + 0.5 * self.step)
        )
        smooth = Logistics(components, bins, under, over, widest)
        super().__init__(smooth.parameters_of_one, smooth.inputs)
        self.smooth = smooth

    @property
    def numbers(self) -> tuple[float, ...]:
        """step, origin, low, high, the seven of the curve and the three of the mixture."""
        return self.step, self.origin, self.low, self.high, *self.curve.numbers, *self.smooth.numbers

    def log_prob(self, x: Tensor, theta: Tensor) -> Tensor:
        return lattice_log_prob(x, theta, self.smooth.has_ends, self.curve.straight, *self._tensors(x))

    def contains(self, x: Tensor) -> Tensor:
        step, origin, low, high, *curve = self._tensors(x)[:11]
        return _on_lattice(x, straightened(x, *curve), step, origin, low, high, *curve)

    def nearest(self, x: Tensor) -> Tensor:
        return self._point(x)

    def ends(self) -> tuple[float, float]:
        low, high = self.curve.to(torch.tensor([self.low, self.high], dtype=torch.float64)).tolist()
        return (low if math.isfinite(self.low) else -math.inf), (high if math.isfinite(self.high) else math.inf)

    def seen(self) -> tuple[float, float]:
        return self.smooth.seen()

    def points(self, like: Tensor) -> Tensor:
        """All x, of a lattice with two ends."""
        step, _, low, *rest = self._tensors(like)
        u = low + step * torch.arange(round((self.high - self.low) / self.step) + 1, device=like.device).to(like.dtype)
        return curved(u, *rest[1:8])

    def point_masses(self, most: int, like: Tensor) -> PointMasses:
        return PointMasses(self.points(like) if self.high - self.low <= most * self.step else None, alone=True)

    def sample(self, theta: Tensor) -> Tensor:
        return self._point(self.smooth.sample(theta))

    def below(self, x: Tensor, theta: Tensor) -> tuple[Tensor, Tensor]:
        step, origin, low, high, *curve = self._tensors(x)[:11]
        quarter = 0.25 * step
        point, under, over, _ = _cell(straightened(x, *curve), step, origin, *curve)
        left = torch.where(point > high + quarter, 1.0, self.smooth.below(under, theta)[0])
        right = torch.where(point < low - quarter, 0.0, self.smooth.below(over, theta)[0])
        return left, right

    def quantile(self, u: Tensor, theta: Tensor) -> Tensor:
        return self._point(self.smooth.quantile(u, theta))

    def mean(self, theta: Tensor) -> Tensor:
        if (self.high - self.low) / self.step > _MOST_CELLS:  # of what is rounded as of what is not
            return self.smooth.mean(theta)
        x = self.points(theta)
        step, _, low, _, *curve = self._tensors(theta)[:11]
        edges = curved(low + step * (torch.arange(len(x) - 1, device=x.device).to(x.dtype) + 0.5), *curve)
        left = self.smooth.below(edges, theta.unsqueeze(-2))[0]
        return x[0] + ((1 - left) * (x[1:] - x[:-1])).sum(dim=-1)

    def features(self, x: Tensor) -> Tensor:
        return self.smooth.features(x)

    def start(self, x: Tensor) -> Tensor:
        return self.smooth.start(x)

    def initialize(self, x: Tensor) -> None:
        self.smooth.initialize(x)

    def _point(self, x: Tensor) -> Tensor:
        """The point of the lattice in whose cell x is."""
        step, origin, low, high, *curve = self._tensors(x)[:11]
        u = origin + step * torch.round((straightened(x, *curve) - origin) / step)
        return curved(torch.maximum(torch.minimum(u, high), low), *curve)

    def _between(self, tail: Tail | None) -> Tail | None:
        """A tail moved to half-way between two points, so that no cell is partly in it."""
        if tail is None or math.isinf(tail[0]):
            return tail
        n = round((tail[0] - self.origin) / self.step - 0.5)
        return self.origin + self.step * (n + 0.5), *tail[1:]

    def _tensors(self, like: Tensor) -> tuple[Tensor, ...]:
        return torch.tensor(self.numbers, dtype=like.dtype, device=like.device).unbind()


def lattice_log_prob(
    x: Tensor,
    theta: Tensor,
    has_ends: bool,
    straight: bool,
    step: Tensor,
    origin: Tensor,
    low: Tensor,
    high: Tensor,
    *rest: Tensor,
) -> Tensor:
    """log P(x | theta), (*batch), for numbers of lattices that broadcast against x; `straight` if no curve bends them."""
    *curve, least, largest, most = rest
    curve = [] if straight else curve
    u = straightened(x, *curve) if curve else x
    _, under, over, width = _cell(u, step, origin, *curve)
    # half a step beyond an end, and no more by rounding
    under, over = torch.maximum(under, least), torch.minimum(over, largest)
    log_p = mixture_log_probability(under, over, width, theta, most, *((least, largest) if has_ends else ()))
    return torch.where(
        x.isnan(), torch.nan, torch.where(_on_lattice(x, u, step, origin, low, high, *curve), log_p, -torch.inf)
    )


def _cell(u: Tensor, step: Tensor, origin: Tensor, *curve: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The point nearest to u, the ends of its cell in the unit of x, and how wide that is; without a curve that of u."""
    point = origin + step * torch.round((u - origin) / step)
    under, over = point - 0.5 * step, point + 0.5 * step
    if not curve:
        return point, under, over, step.expand(point.shape)
    return point, curved(under, *curve), curved(over, *curve), width_of_cell(point, step, *curve)


def _on_lattice(
    x: Tensor, u: Tensor, step: Tensor, origin: Tensor, low: Tensor, high: Tensor, *curve: Tensor
) -> Tensor:
    """Whether x, which is u without the curve, is a point of the lattice."""
    off = (u - origin - step * torch.round((u - origin) / step)).abs()
    # the last digit of x, as a difference of u
    slope = (-log_slope(u, *curve)).exp() if curve else 1.0
    digit = 4 * torch.finfo(x.dtype).eps * (x.abs() * slope + origin.abs() + u.abs())
    reach = 0.5 * step + digit
    return (off <= _NEAR * step + digit) & (u > low - reach) & (u < high + reach) & x.isfinite()
