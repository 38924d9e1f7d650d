"""Numbers on a lattice: integers, and measurements rounded to so many digits."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from anabranch.checks import positive
from anabranch.families.family import Family
from anabranch.families.logistics import Logistics

# below this a cell's probability is its density times its width, to one part in 10^8, and rounding could not tell cells
_FINE = 1e-4
# between two ends so near the mean is summed up cell by cell
_MOST_CELLS = 1000


class Lattice(Family):
    r"""Probabilities of origin + step * n for whole n: what a mixture of logistics has between half a step below and above,

    .. math:: P(x) = F(x + h) - F(x - h), \qquad h = \texttt{step} / 2,

    and at `low` and `high`, if there are any, all that lies beyond. Anything off the lattice has probability 0.

    Args:
        step: between neighbours, in the unit of x.
        origin: some point of the lattice.
        low, high: its ends, None for none.
        components, bins: of the mixture, as in `Logistics`.

    Example:
        >>> import torch
        >>> from anabranch.families import Lattice
        >>> dice = Lattice(step=1.0, low=1.0, high=6.0, components=1)
        >>> theta = torch.tensor([0.0, 3.5, 1.0])
        >>> dice.log_prob(torch.arange(1.0, 7.0), theta.expand(6, 3)).exp().sum()
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
    ) -> None:
        smooth = Logistics(components, bins)
        super().__init__(smooth.parameters_of_one, smooth.inputs)
        self.step, self.origin = positive("step", step), float(origin)
        self.low = -math.inf if low is None else float(low)
        self.high = math.inf if high is None else float(high)
        if self.low > self.high:
            raise ValueError(f"high: expected at least low, {self.low:g}, got {self.high:g}")
        self.smooth = smooth

    def log_prob(self, x: Tensor, theta: Tensor) -> Tensor:
        if self.step < _FINE:
            log_p = self.smooth.log_prob(x, theta) + math.log(self.step)
        else:
            point = self._nearest(x)
            at_low, at_high = point <= self.low + 0.25 * self.step, point >= self.high - 0.25 * self.step
            below = torch.where(at_low, -torch.inf, point - 0.5 * self.step)
            above = torch.where(at_high, torch.inf, point + 0.5 * self.step)
            log_p = self.smooth.log_probability(below, above, theta)
        return torch.where(x.isnan(), torch.nan, torch.where(self.contains(x), log_p, -torch.inf))

    def contains(self, x: Tensor) -> Tensor:
        within = (x > self.low - 0.5 * self.step) & (x < self.high + 0.5 * self.step) & x.isfinite()
        if self.step < _FINE:
            return within
        return within & ((x - self._nearest(x)).abs() <= 0.02 * self.step)

    def sample(self, theta: Tensor) -> Tensor:
        return self._nearest(self.smooth.sample(theta)).clamp(self.low, self.high)

    def below(self, x: Tensor, theta: Tensor) -> tuple[Tensor, Tensor]:
        point = self._nearest(x)
        left = self.smooth.below(point - 0.5 * self.step, theta)[0]
        right = self.smooth.below(point + 0.5 * self.step, theta)[0]
        quarter = 0.25 * self.step
        left = torch.where(point <= self.low + quarter, 0.0, torch.where(point > self.high + quarter, 1.0, left))
        right = torch.where(point >= self.high - quarter, 1.0, torch.where(point < self.low - quarter, 0.0, right))
        return left, right

    def quantile(self, u: Tensor, theta: Tensor) -> Tensor:
        return self._nearest(self.smooth.quantile(u, theta)).clamp(self.low, self.high)

    def mean(self, theta: Tensor) -> Tensor:
        cells = (self.high - self.low) / self.step
        if cells > _MOST_CELLS:  # of what is rounded as of what is not, but for what lies beyond an end
            return self.smooth.mean(theta).clamp(self.low, self.high)
        edges = self.low + self.step * (torch.arange(round(cells), dtype=theta.dtype, device=theta.device) + 0.5)
        above = 1 - self.smooth.below(edges, theta.unsqueeze(-2))[0]
        return self.low + self.step * above.sum(dim=-1)

    def features(self, x: Tensor) -> Tensor:
        return self.smooth.features(x)

    def start(self, x: Tensor) -> Tensor:
        return self.smooth.start(x)

    def initialize(self, x: Tensor) -> None:
        self.smooth.initialize(x)

    def _nearest(self, x: Tensor) -> Tensor:
        return self.origin + self.step * torch.round((x - self.origin) / self.step)
