"""Mixtures of normal distributions."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.special import ndtri

from anabranch.checks import positive, positive_int
from anabranch.families.draw_levels import draw_levels
from anabranch.families.family import Family, quantiles_of
from anabranch.families.inversion import quantile_of_mixture
from anabranch.families.logistics import LARGEST_LOG_SCALE, LEAST_LOG_SCALE, read_mixture
from anabranch.normal_cdf import normal_cdf

_HALF_LOG_TAU = 0.5 * math.log(2 * math.pi)
# so far above the floor a start stays, and so near to it a component is at it, in log-scales; of such a weight at least
_LEAST_ABOVE, _NEAR, _COUNTS = 0.5, 0.1, 0.01


class Gaussians(Family):
    r"""p(x | theta) = sum_k w_k N(x; mu_k, s_k^2).

    theta holds the log-weights, the means mu and numbers r with log s = log f + softplus(r - log f), about r where s is far
    above the floor f; s stays below e^30, so that what a position draws does not overflow in the ones after it.

    Without a floor the likelihood has no upper bound: a normal distribution about a number that does not vary, or that the
    rest of a row tells exactly, may be as narrow as it likes. With it, log p(x) is at most -log(f sqrt(2 pi)).

    Args:
        components: how many.
        floor: f, what standard deviations stay above: the precision to which the data are known, in their unit. By default
            e^-7 = 0.0009, below which a spike of standardised data is an atom.

    Raises:
        ValueError: a floor that is not positive.

    Example:
        >>> import torch
        >>> from anabranch.families import Gaussians
        >>> family = Gaussians(components=2)
        >>> theta = torch.tensor([0.0, 0.0, -1.0, 1.0, 0.0, 0.0])  # two of equal weight at -1 and 1, of deviation 1
        >>> family.below(torch.tensor(0.0), theta)[0], family.mean(theta)
        (tensor(0.5000), tensor(0.))
    """

    def __init__(self, components: int = 5, floor: float | None = None) -> None:
        self.components = positive_int("components", components)
        self.floor = None if floor is None else positive("floor", floor)
        super().__init__(3 * self.components, inputs=1)

    @property
    def _least(self) -> float:
        return LEAST_LOG_SCALE if self.floor is None else math.log(self.floor)

    def log_prob(self, x: Tensor, theta: Tensor) -> Tensor:
        log_w, loc, log_s = self._read(theta)
        t = (x.unsqueeze(-1) - loc) * (-log_s).exp()
        return torch.logsumexp(log_w - 0.5 * t.square() - log_s - _HALF_LOG_TAU, dim=-1)

    def sample(self, theta: Tensor) -> Tensor:
        log_w, loc, log_s = self._read(theta)
        chosen = draw_levels(log_w).unsqueeze(-1)
        loc, s = loc.gather(-1, chosen).squeeze(-1), log_s.gather(-1, chosen).squeeze(-1).exp()
        return loc + s * torch.randn_like(loc)

    def below(self, x: Tensor, theta: Tensor) -> tuple[Tensor, Tensor]:
        p = _below(x, *self._read(theta))
        return p, p

    def quantile(self, u: Tensor, theta: Tensor) -> Tensor:
        log_w, loc, log_s = self._read(theta)
        each = loc + log_s.exp() * ndtri(u.unsqueeze(-1))
        return quantile_of_mixture(_below, u, each, (log_w, loc, log_s))

    def mean(self, theta: Tensor) -> Tensor:
        log_w, loc, _ = self._read(theta)
        return (log_w.exp() * loc).sum(dim=-1)

    def variance(self, theta: Tensor) -> Tensor:
        log_w, loc, log_s = self._read(theta)
        w = log_w.exp()
        mean = (w * loc).sum(dim=-1, keepdim=True)
        return (w * ((loc - mean).square() + (2 * log_s).exp())).sum(dim=-1)

    def features(self, x: Tensor) -> Tensor:
        return x.unsqueeze(-1)

    def start(self, x: Tensor) -> Tensor:
        k = self.components
        loc = quantiles_of(x, (torch.arange(k) + 0.5) / k)
        spread = x.std(correction=0) if len(x) > 1 else x.new_ones(())
        # twice the distance to the neighbours, so that together they are smooth; alone, of the sample's deviation
        scale = (min(2.0 / k, 1.0) * spread).clamp(min=1e-2).expand(k)
        raw = scale.log()
        if self.floor is not None:
            above = raw.clamp(min=self._least + _LEAST_ABOVE) - self._least
            raw = self._least + above + torch.log1p(-(-above).exp())  # which softplus undoes
        return torch.cat([x.new_zeros(k), loc, raw])

    def floored(self, theta: Tensor) -> Tensor:
        log_w, _, log_s = self._read(theta)
        return ((log_s < self._least + _NEAR) & (log_w > math.log(_COUNTS))).any(dim=-1)

    def _read(self, theta: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return read_mixture(theta, theta.new_full((), LARGEST_LOG_SCALE), self._least)


def _below(x: Tensor, log_w: Tensor, loc: Tensor, log_s: Tensor) -> Tensor:
    return (log_w.exp() * normal_cdf((x.unsqueeze(-1) - loc) * (-log_s).exp())).sum(dim=-1)
