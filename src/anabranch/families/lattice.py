"""Numbers on a lattice: integers, and measurements rounded to so many digits."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import softplus

from anabranch.checks import positive
from anabranch.families.family import Family
from anabranch.families.logistics import Logistics, mixture_log_probability, read_mixture

# between two ends so near the mean is summed up cell by cell
_MOST_CELLS = 1000
# how far from a point of the lattice a number still is that point, in steps
_NEAR = 0.02


class Lattice(Family):
    r"""Probabilities of the points u = origin + step * n for whole n, seen as x = u or bent, x = asinh(bend u) / bend:

    .. math:: P(x) = F(x(u + h)) - F(x(u - h)), \qquad h = \texttt{step} / 2,

    what a mixture of logistics F has between half a step below and above, and at `low` and `high`, if there are any, all
    that lies beyond. Anything off the lattice has probability 0. Bending brings far tails near: x grows like log u there.

    Where a cell is narrower than the last digit of x, in float32, x cannot say which point it is, and stands for those
    around it, all of the same probability to that precision.

    Args:
        step: between neighbours, in the unit of u.
        origin: some point of the lattice, of u.
        low, high: its ends, of u, None for none.
        components, bins: of the mixture, as in `Logistics`.
        bend: 0 for x = u.

    Example:
        >>> import torch
        >>> from anabranch.families import Lattice
        >>> dice = Lattice(step=1.0, low=1.0, high=6.0, components=1)
        >>> theta = torch.tensor([0.0, 3.5, 1.0])
        >>> dice.log_prob(torch.arange(1.0, 7.0), theta.expand(6, 3)).exp().sum().round(decimals=4)
        tensor(1.)
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
    ) -> None:
        smooth = Logistics(components, bins)
        super().__init__(smooth.parameters_of_one, smooth.inputs)
        self.step, self.origin = positive("step", step), float(origin)
        self.low = -math.inf if low is None else float(low)
        self.high = math.inf if high is None else float(high)
        self.bend = 0.0 if bend == 0 else positive("bend", bend)
        if self.low > self.high:
            raise ValueError(f"high: expected at least low, {self.low:g}, got {self.high:g}")
        self.smooth = smooth

    @property
    def numbers(self) -> tuple[float, float, float, float, float]:
        """step, origin, low, high, bend."""
        return self.step, self.origin, self.low, self.high, self.bend

    def log_prob(self, x: Tensor, theta: Tensor) -> Tensor:
        return lattice_log_prob(x, theta, *self._tensors(x))

    def contains(self, x: Tensor) -> Tensor:
        return _on_lattice(x, *self._tensors(x))

    def nearest(self, x: Tensor) -> Tensor:
        return self._point(x)

    def sample(self, theta: Tensor) -> Tensor:
        return self._point(self.smooth.sample(theta))

    def below(self, x: Tensor, theta: Tensor) -> tuple[Tensor, Tensor]:
        numbers = self._tensors(x)
        step, _, low, high, _ = numbers
        point, under, over, _ = _cell(x, *numbers)
        left = self.smooth.below(under.nan_to_num(neginf=0.0), theta)[0]
        right = self.smooth.below(over.nan_to_num(posinf=0.0), theta)[0]
        quarter = 0.25 * step
        left = torch.where(point <= low + quarter, 0.0, torch.where(point > high + quarter, 1.0, left))
        right = torch.where(point >= high - quarter, 1.0, torch.where(point < low - quarter, 0.0, right))
        return left, right

    def quantile(self, u: Tensor, theta: Tensor) -> Tensor:
        return self._point(self.smooth.quantile(u, theta))

    def mean(self, theta: Tensor) -> Tensor:
        cells = (self.high - self.low) / self.step
        step, _, low, high, bend = self._tensors(theta)
        if cells > _MOST_CELLS:  # of what is rounded as of what is not, all beyond an end at that
            return self._mean_between(_bent(low, bend), _bent(high, bend), theta)
        points = low + step * torch.arange(round(cells) + 1, dtype=theta.dtype, device=theta.device)
        left = self.smooth.below(_bent(points[1:] - 0.5 * step, bend), theta.unsqueeze(-2))[0]
        x = _bent(points, bend)
        return x[0] + ((1 - left) * (x[1:] - x[:-1])).sum(dim=-1)

    def features(self, x: Tensor) -> Tensor:
        return self.smooth.features(x)

    def start(self, x: Tensor) -> Tensor:
        return self.smooth.start(x)

    def initialize(self, x: Tensor) -> None:
        self.smooth.initialize(x)

    def _point(self, x: Tensor) -> Tensor:
        """The point of the lattice in whose cell x is."""
        step, origin, low, high, bend = self._tensors(x)
        u = origin + step * torch.round((_unbent(x, bend) - origin) / step)
        return _bent(u.clamp(low, high), bend)

    def _mean_between(self, low: Tensor, high: Tensor, theta: Tensor) -> Tensor:
        """The mean of X with what lies beyond low or high put there."""
        log_w, loc, log_s = read_mixture(theta)
        s = log_s.exp()
        # E max(X, a) = a + s log(1 + e^{(mu - a) / s}) for a logistic X, and E X = mu
        mean = loc if self.low == -math.inf else low + s * softplus((loc - low) / s)
        if self.high < math.inf:
            mean = mean - s * softplus((loc - high) / s)
        return (log_w.exp() * mean).sum(dim=-1)

    def _tensors(self, like: Tensor) -> tuple[Tensor, ...]:
        return torch.tensor(self.numbers, dtype=like.dtype, device=like.device).unbind()


def lattice_log_prob(
    x: Tensor, theta: Tensor, step: Tensor, origin: Tensor, low: Tensor, high: Tensor, bend: Tensor
) -> Tensor:
    """log P(x | theta), (*batch), for numbers of a lattice that broadcast against x."""
    _, under, over, width = _cell(x, step, origin, low, high, bend)
    log_p = mixture_log_probability(under, over, width, theta)
    inside = _on_lattice(x, step, origin, low, high, bend)
    return torch.where(x.isnan(), torch.nan, torch.where(inside, log_p, -torch.inf))


def _cell(
    x: Tensor, step: Tensor, origin: Tensor, low: Tensor, high: Tensor, bend: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The point u nearest to x, the ends of its cell in the unit of x, and how wide that is."""
    u = _unbent(x, bend)
    point = origin + step * torch.round((u - origin) / step)
    p, q = bend * (point + 0.5 * step), bend * (point - 0.5 * step)
    # asinh p - asinh q = asinh(p sqrt(1 + q^2) - q sqrt(1 + p^2)), in which, for p and q of one sign, the difference is
    # (p - q)(p + q) / (p sqrt(1 + q^2) + q sqrt(1 + p^2)): no digits are lost, and p - q is known
    same = p * q > 0
    big_p, big_q = (1 + p * p).sqrt(), (1 + q * q).sqrt()
    both = torch.where(same, p * big_q + q * big_p, 1.0)
    arc = torch.where(same, torch.asinh(bend * step * (p + q) / both), torch.asinh(p) - torch.asinh(q))
    straight = bend == 0
    width = torch.where(straight, step, arc / torch.where(straight, 1.0, bend))
    under = torch.where(point <= low + 0.25 * step, -torch.inf, _bent(point - 0.5 * step, bend))
    over = torch.where(point >= high - 0.25 * step, torch.inf, _bent(point + 0.5 * step, bend))
    return point, under, over, width


def _on_lattice(x: Tensor, step: Tensor, origin: Tensor, low: Tensor, high: Tensor, bend: Tensor) -> Tensor:
    u = _unbent(x, bend)
    off = (u - origin - step * torch.round((u - origin) / step)).abs()
    # the last digit of x, as a difference of u
    digit = 4 * torch.finfo(x.dtype).eps * (x.abs() * (1 + (bend * u).square()).sqrt() + origin.abs() + u.abs())
    reach = 0.5 * step + digit
    return (off <= _NEAR * step + digit) & (u > low - reach) & (u < high + reach) & x.isfinite()


def _bent(u: Tensor, bend: Tensor) -> Tensor:
    safe = torch.where(bend == 0, 1.0, bend)
    return torch.where(bend == 0, u, torch.asinh(safe * u) / safe)


def _unbent(x: Tensor, bend: Tensor) -> Tensor:
    safe = torch.where(bend == 0, 1.0, bend)
    # no column's numbers lie beyond e^40 of its units, and in float32 the square of e^45 overflows
    return torch.where(bend == 0, x, torch.sinh((safe * x).clamp(-40.0, 40.0)) / safe)
