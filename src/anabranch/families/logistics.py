"""Mixtures of logistic distributions."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid, softplus

from anabranch.checks import positive_int
from anabranch.densities.categorical import draw_levels
from anabranch.families.family import Family, quantiles_of

# e^-7 = 0.0009 standard deviations: a spike narrower than that is an atom, which has a family of its own
_LEAST_LOG_SCALE = -7.0
_BISECTIONS = 60
# of y^2, y^4, ... in log(sinh(y) / y)
_LOG_SINHC = (1 / 6, -1 / 180, 1 / 2835, -1 / 37800, 1 / 467775, -691 / 3831077250, 2 / 127702575)
# what a network reads of an x further out than this is that it is there
_READ = 10.0


class Logistics(Family):
    r"""p(x | theta) = sum_k w_k l((x - mu_k) / s_k) / s_k with the logistic density l(t) = e^{-t} / (1 + e^{-t})^2.

    theta holds the log-weights, the means mu and numbers r with log s = -7 + softplus(r + 7), about r where s is not tiny.
    The distribution function is a sum of sigmoids, tails are exponential. A network reads x as it is and in a piecewise
    linear encoding: how far it has come through each bin of a sample's quantiles.
    Source: Salimans et al., 2017, arXiv:1701.05517 (mixtures of logistics); Gorishniy et al., 2022, arXiv:2203.05556 (the
    encoding).

    Args:
        components: how many.
        bins: of the encoding.

    Example:
        >>> import torch
        >>> from anabranch.families import Logistics
        >>> family = Logistics(components=2)
        >>> theta = torch.tensor([0.0, 0.0, -1.0, 1.0, 0.0, 0.0])  # two of equal weight at -1 and 1, of scale 1
        >>> family.below(torch.tensor(0.0), theta)[0], family.mean(theta)
        (tensor(0.5000), tensor(0.))
    """

    def __init__(self, components: int = 8, bins: int = 12) -> None:
        self.components = positive_int("components", components)
        bins = positive_int("bins", bins)
        super().__init__(3 * self.components, 1 + bins)
        self.register_buffer("knots", torch.linspace(-2.0, 2.0, bins + 1))

    def log_prob(self, x: Tensor, theta: Tensor) -> Tensor:
        return mixture_log_prob(x, theta)

    def log_probability(self, low: Tensor, high: Tensor, theta: Tensor) -> Tensor:
        """log P(low < X <= high), (*batch), also where both are far out; low may be -inf and high inf."""
        return mixture_log_probability(low, high, high - low, theta)

    def sample(self, theta: Tensor) -> Tensor:
        log_w, loc, log_s = read_mixture(theta)
        chosen = draw_levels(log_w).unsqueeze(-1)
        u = torch.rand_like(loc[..., 0])
        u = u.clamp(torch.finfo(u.dtype).tiny, 1 - torch.finfo(u.dtype).eps / 2)
        return loc.gather(-1, chosen).squeeze(-1) + log_s.gather(-1, chosen).squeeze(-1).exp() * torch.logit(u)

    def below(self, x: Tensor, theta: Tensor) -> tuple[Tensor, Tensor]:
        log_w, loc, log_s = read_mixture(theta)
        p = (log_w.exp() * torch.sigmoid((x.unsqueeze(-1) - loc) * (-log_s).exp())).sum(dim=-1)
        return p, p

    def quantile(self, u: Tensor, theta: Tensor) -> Tensor:
        _, loc, log_s = read_mixture(theta)
        each = loc + log_s.exp() * torch.logit(u).unsqueeze(-1)
        low, high = each.amin(dim=-1), each.amax(dim=-1)
        for _ in range(_BISECTIONS):  # the quantile of a mixture lies between those of its components
            middle = 0.5 * (low + high)
            left = self.below(middle, theta)[1] < u
            low, high = torch.where(left, middle, low), torch.where(left, high, middle)
        return high

    def mean(self, theta: Tensor) -> Tensor:
        log_w, loc, _ = read_mixture(theta)
        return (log_w.exp() * loc).sum(dim=-1)

    def features(self, x: Tensor) -> Tensor:
        return come_through(x, self.get_buffer("knots").to(x))

    def start(self, x: Tensor) -> Tensor:
        k = self.components
        loc = quantiles_of(x, (torch.arange(k) + 0.5) / k)
        spread = x.std(correction=0) if len(x) > 1 else x.new_ones(())
        # twice the distance to the neighbours, so that together they are smooth; alone, of the sample's own deviation
        scale = (min(2 / k, math.sqrt(3) / math.pi) * spread).clamp(min=1e-2).expand(k)
        return torch.cat([x.new_zeros(k), loc, scale.log()])

    def initialize(self, x: Tensor) -> None:
        """Set the bins of the encoding at quantiles of x (n)."""
        knots = self.get_buffer("knots")
        with torch.no_grad():
            # where a few values have many rows quantiles coincide: then finer ones, until there are enough different
            count = len(knots)
            found = quantiles_of(x, torch.linspace(0, 1, count))
            distinct = found.unique()
            while len(distinct) < len(knots) and count < len(x):
                count *= 2
                distinct = quantiles_of(x, torch.linspace(0, 1, count)).unique()
            if len(distinct) > len(found.unique()):
                place = torch.linspace(0, len(distinct) - 1, len(knots)).round().long()
                found = distinct[place]
            knots.copy_(found)


def read_mixture(theta: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Log-weights, means and logarithms of scales in theta (*batch, 3 components)."""
    logits, loc, raw = theta.chunk(3, dim=-1)
    return logits.log_softmax(dim=-1), loc, _LEAST_LOG_SCALE + softplus(raw - _LEAST_LOG_SCALE)


def mixture_log_prob(x: Tensor, theta: Tensor) -> Tensor:
    """log p(x | theta), (*batch)."""
    log_w, loc, log_s = read_mixture(theta)
    t = (x.unsqueeze(-1) - loc) * (-log_s).exp()
    return torch.logsumexp(log_w - t - 2 * softplus(-t) - log_s, dim=-1)


def mixture_log_probability(low: Tensor, high: Tensor, width: Tensor, theta: Tensor) -> Tensor:
    """log P(low < X <= high | theta), (*batch); low may be -inf and high inf.

    `width` is high - low, which the caller may know better than the difference of two rounded numbers does: the result is
    then right also where the cell is narrower than their last digit.
    """
    log_w, loc, log_s = read_mixture(theta)
    inverse = (-log_s).exp()
    # an infinite end is taken out before the products, whose gradients would be infinity times nothing
    no_low, no_high = low.isinf().unsqueeze(-1), high.isinf().unsqueeze(-1)
    no_end = no_low | no_high
    low, high = low.nan_to_num(neginf=0.0).unsqueeze(-1), high.nan_to_num(posinf=0.0).unsqueeze(-1)
    width = torch.where(no_end, 1.0, width.unsqueeze(-1))
    a, b = (high - loc) * inverse, (low - loc) * inverse
    # sigma(a) - sigma(b) = sigma(a) sigma(-b) (1 - e^{b - a})
    gap = (-width * inverse).clamp(max=-torch.finfo(theta.dtype).tiny)
    steep = gap < -math.log(2)
    # the second of two forms where no digits are lost; not log(-expm1(gap)), which compiled by torch.compile is -inf for
    # cells that are narrow enough for 1 - e^gap to be rounded to 0 (PyTorch 2.13, on CPUs)
    log_gap = torch.where(
        steep, torch.log1p(-gap.exp().clamp(max=0.6)), log_one_minus_exp(torch.where(steep, -0.5, gap))
    )
    log_gap = torch.where(no_end, 0.0, log_gap)
    left = torch.where(no_high, 0.0, logsigmoid(a))
    right = torch.where(no_low, 0.0, logsigmoid(-b))
    return torch.logsumexp(log_w + left + right + log_gap, dim=-1)


def log_one_minus_exp(x: Tensor) -> Tensor:
    r"""log(1 - e^x), (*batch), for -log 2 <= x < 0, however small.

    With y = -x / 2, by 1 - e^x = -x e^{x / 2} sinh(y) / y, and the series of log(sinh(y) / y) about 0, which converges for
    |y| < pi; what is left out is below 1e-16 here.
    """
    square = 0.25 * x * x
    series = torch.zeros_like(x)
    for coefficient in _LOG_SINHC[::-1]:
        series = (series + coefficient) * square
    return (-x).log() + 0.5 * x + series


def come_through(x: Tensor, knots: Tensor) -> Tensor:
    """x, and how far it has come through each of the bins between the knots (..., bins + 1): (*batch, 1 + bins)."""
    low, high = knots[..., :-1], knots[..., 1:]
    width = (high - low).clamp(min=torch.finfo(x.dtype).eps)
    come = ((x.unsqueeze(-1) - low) / width).clamp(0, 1)
    return torch.cat([x.unsqueeze(-1).clamp(-_READ, _READ), come], dim=-1)
