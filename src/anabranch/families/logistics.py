"""Mixtures of logistic distributions."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import softplus

from anabranch.checks import positive, positive_int
from anabranch.families.cut_logistics import log_between, log_density_between, mean_between, quantile_between
from anabranch.families.draw_levels import draw_levels
from anabranch.families.family import Family, quantiles_of
from anabranch.families.inversion import quantile_of_mixture

# e^-7 = 0.0009 standard deviations: a spike narrower than that is an atom, which has a family of its own
LEAST_LOG_SCALE = -7.0
# what scales stay below where nothing is said
LARGEST_LOG_SCALE = 30.0
# how sharply scales turn below the widest, and where a start leaves them room
_BEND_AT_MOST, _BELOW_WIDEST = 4.0, 0.8
# what lies further out was set apart, as an atom
FAR = 1e12
# what a network reads of an x further out than this is that it is there
_READ = 10.0


class Logistics(Family):
    r"""p(x | theta) = sum_k w_k l((x - mu_k) / s_k) / s_k with the logistic density l(t) = e^{-t} / (1 + e^{-t})^2.

    theta holds the log-weights, the means mu and numbers r with log s = -7 + softplus(r + 7), about r where s is not tiny.
    The distribution function is a sum of sigmoids, tails are exponential. Where there are ends each component is cut there,

    .. math:: p(x) = \sum_k w_k \frac{l(t_k) / s_k}{F(b_k) - F(a_k)}, \qquad \texttt{low} \le x \le \texttt{high},

    with a_k and b_k the ends in its units, so that wide ones are even in between. A network reads x as it is and in a
    piecewise linear encoding: how far it has come through each bin of a sample's quantiles.
    Source: Salimans et al., 2017, arXiv:1701.05517 (mixtures of logistics); Gorishniy et al., 2022, arXiv:2203.05556 (the
    encoding).

    Args:
        components: how many.
        bins: of the encoding.
        low, high: the ends, None for none.
        widest: what scales stay below, None for nothing: no tail is heavier than that of a logistic this wide.

    Raises:
        ValueError: ends in the wrong order, a `widest` that is not positive.

    Example:
        >>> import torch
        >>> from anabranch.families import Logistics
        >>> family = Logistics(components=2)
        >>> theta = torch.tensor([0.0, 0.0, -1.0, 1.0, 0.0, 0.0])  # two of equal weight at -1 and 1, of scale 1
        >>> family.below(torch.tensor(0.0), theta)[0], family.mean(theta)
        (tensor(0.5000), tensor(0.))
        >>> even = Logistics(components=1, low=0.0, high=2.0)
        >>> even.log_prob(torch.tensor([0.5, 2.0, 2.5]), torch.tensor([0.0, 1.0, 9.0])).exp()
        tensor([0.5000, 0.5000, 0.0000])
    """

    def __init__(
        self,
        components: int = 8,
        bins: int = 12,
        low: float | None = None,
        high: float | None = None,
        widest: float | None = None,
    ) -> None:
        self.components = positive_int("components", components)
        bins = positive_int("bins", bins)
        super().__init__(3 * self.components, 1 + bins)
        self.low = -math.inf if low is None else float(low)
        self.high = math.inf if high is None else float(high)
        if not self.low < self.high:
            raise ValueError(f"high: expected more than low, {self.low:g}, got {self.high:g}")
        self.widest = math.inf if widest is None else positive("widest", widest)
        self.register_buffer("knots", torch.linspace(-2.0, 2.0, bins + 1))

    @property
    def numbers(self) -> tuple[float, float, float]:
        """low, high, and the logarithm of the widest scale."""
        return self.low, self.high, min(math.log(self.widest), LARGEST_LOG_SCALE)

    @property
    def has_ends(self) -> bool:
        """Whether x is bounded on some side."""
        return self.low > -math.inf or self.high < math.inf

    def log_prob(self, x: Tensor, theta: Tensor) -> Tensor:
        low, high, most = self._tensors(x)
        return mixture_log_prob(x, theta, most, *((low, high) if self.has_ends else ()))

    def contains(self, x: Tensor) -> Tensor:
        low, high, _ = self._tensors(x)
        return x.isfinite() & _within(x, low, high)

    def ends(self) -> tuple[float, float]:
        return self.low, self.high

    def seen(self) -> tuple[float, float]:
        knots = self.get_buffer("knots")
        return float(knots[0]), float(knots[-1])

    def sample(self, theta: Tensor) -> Tensor:
        log_w, loc, log_s = self._read(theta)
        chosen = draw_levels(log_w).unsqueeze(-1)
        u = torch.rand_like(loc[..., 0])
        # draws are multiples of eps / 2: a 0 stands for what is below half of that
        u = u.clamp(torch.finfo(u.dtype).eps / 4, 1 - torch.finfo(u.dtype).eps / 2)
        loc, s = loc.gather(-1, chosen).squeeze(-1), log_s.gather(-1, chosen).squeeze(-1).exp()
        return self._inverse(u, loc, s)

    def below(self, x: Tensor, theta: Tensor) -> tuple[Tensor, Tensor]:
        p = self._below(x, *self._read(theta))
        return p, p

    def quantile(self, u: Tensor, theta: Tensor) -> Tensor:
        log_w, loc, log_s = self._read(theta)
        each = self._inverse(u.unsqueeze(-1), loc, log_s.exp())
        return quantile_of_mixture(self._below, u, each, (log_w, loc, log_s))

    def mean(self, theta: Tensor) -> Tensor:
        log_w, loc, log_s = self._read(theta)
        if self.has_ends:
            loc = mean_between(loc.double(), log_s.exp().double(), self.low, self.high).to(loc)
        return (log_w.exp() * loc).sum(dim=-1)

    def features(self, x: Tensor) -> Tensor:
        return come_through(x, self.get_buffer("knots").to(x))

    def start(self, x: Tensor) -> Tensor:
        k = self.components
        loc = quantiles_of(x, (torch.arange(k) + 0.5) / k)
        spread = x.std(correction=0) if len(x) > 1 else x.new_ones(())
        # twice the distance to the neighbours, so that together they are smooth; alone, of the sample's own deviation
        scale = (min(2 / k, math.sqrt(3) / math.pi) * spread).clamp(min=1e-2, max=_BELOW_WIDEST * self.widest).expand(k)
        return torch.cat([x.new_zeros(k), loc, scale.log()])

    def initialize(self, x: Tensor) -> None:
        """Set the bins of the encoding at quantiles of x (n)."""
        knots = self.get_buffer("knots")
        near = x[x.abs() < FAR]
        x = near if len(near) else x  # what was set apart is no part of any bin
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

    def _below(self, x: Tensor, log_w: Tensor, loc: Tensor, log_s: Tensor) -> Tensor:
        """P(X <= x), (*batch), for what `read_mixture` gives."""
        inverse = (-log_s).exp()
        if not self.has_ends:
            return (log_w.exp() * torch.sigmoid((x.unsqueeze(-1) - loc) * inverse)).sum(dim=-1)
        low, high, _ = self._tensors(x)
        x = torch.maximum(torch.minimum(x, high), low)
        inside = log_between(low, x, x - low, loc, inverse, low, high)
        return torch.where(x <= low, 0.0, torch.where(x >= high, 1.0, (log_w + inside).exp().sum(dim=-1)))

    def _read(self, theta: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return read_mixture(theta, self._tensors(theta)[2])

    def _tensors(self, like: Tensor) -> tuple[Tensor, ...]:
        return torch.tensor(self.numbers, dtype=like.dtype, device=like.device).unbind()

    def _inverse(self, u: Tensor, loc: Tensor, s: Tensor) -> Tensor:
        """The number below which a component, cut at the ends, has probability u."""
        if not self.has_ends:
            return loc + s * torch.logit(u)
        low, high, _ = self._tensors(loc)
        return quantile_between(u, loc, s, low, high)


def read_mixture(
    theta: Tensor, most: Tensor | None = None, least: float = LEAST_LOG_SCALE
) -> tuple[Tensor, Tensor, Tensor]:
    """Log-weights, means and logarithms of scales in theta (*batch, 3 components).

    The last stay above `least` and below `most`, which is of shape (*batch) or broadcasts to it.
    """
    logits, loc, raw = theta.chunk(3, dim=-1)
    log_s = least + softplus(raw - least)
    if most is not None:
        log_s = log_s - softplus(log_s - most.unsqueeze(-1), beta=_BEND_AT_MOST)
    return logits.log_softmax(dim=-1), loc, log_s


def mixture_log_prob(
    x: Tensor, theta: Tensor, most: Tensor | None = None, low: Tensor | None = None, high: Tensor | None = None
) -> Tensor:
    """log p(x | theta), (*batch), of mixtures whose ends and widest log-scale broadcast against x."""
    log_w, loc, log_s = read_mixture(theta, most)
    inverse = (-log_s).exp()
    if low is None or high is None:
        # -t - 2 softplus(-t) is a difference of infinities far below, though log p is not
        infinite, most_t = x.isinf(), torch.finfo(loc.dtype).max / 8
        t = ((torch.where(infinite, 0.0, x).unsqueeze(-1) - loc) * inverse).clamp(-most_t, most_t)
        return torch.where(infinite, -torch.inf, torch.logsumexp(log_w - t - 2 * softplus(-t) - log_s, dim=-1))
    log_p = torch.logsumexp(log_w + log_density_between(x, loc, inverse, low, high) - log_s, dim=-1)
    return torch.where(_within(x, low, high) | x.isnan(), log_p, -torch.inf)


def mixture_log_probability(
    low: Tensor,
    high: Tensor,
    width: Tensor,
    theta: Tensor,
    most: Tensor | None = None,
    least: Tensor | None = None,
    largest: Tensor | None = None,
) -> Tensor:
    """log P(low < X <= high | theta), (*batch); low may be -inf and high inf.

    Args:
        low, high: within the ends.
        width: high - low, which the caller may know better than the difference of two rounded numbers does: the result is
            then right also where the cell is narrower than their last digit.
        theta: of the mixture.
        most: the logarithm of its widest scale, None for none.
        least, largest: its ends, None for none.
    """
    log_w, loc, log_s = read_mixture(theta, most)
    return torch.logsumexp(log_w + log_between(low, high, width, loc, (-log_s).exp(), least, largest), dim=-1)


def _within(x: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Whether x is between the ends, or rounded to beside one."""
    digit = 4 * torch.finfo(x.dtype).eps
    under = torch.where(low.isinf(), 0.0, low).abs()
    over = torch.where(high.isinf(), 0.0, high).abs()
    return (x >= low - digit * (1 + under)) & (x <= high + digit * (1 + over))


def come_through(x: Tensor, knots: Tensor) -> Tensor:
    """x, and how far it has come through each of the bins between the knots (..., bins + 1): (*batch, 1 + bins)."""
    low, high = knots[..., :-1], knots[..., 1:]
    width = (high - low).clamp(min=torch.finfo(x.dtype).eps)
    come = ((x.unsqueeze(-1) - low) / width).clamp(0, 1)
    return torch.cat([x.unsqueeze(-1).clamp(-_READ, _READ), come], dim=-1)
