"""Mixtures of logistic distributions over levels in their order."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from anabranch.checks import positive_int
from anabranch.families.draw_levels import draw_levels
from anabranch.families.family import Family
from anabranch.families.logistics import mixture_log_probability, read_mixture
from anabranch.families.point_masses import PointMasses

# a start leaves no scale narrower than so many levels
_LEAST_LEVELS = 0.5
# rounds of k-means from centres spread evenly
_ROUNDS = 10


class DiscretizedLogistics(Family):
    r"""x in 0, ..., count - 1: a mixture of logistics between half a level below and half a level above,

    .. math:: P(x) = \sum_k w_k \big( F_k(t + h) - F_k(t - h) \big), \qquad
              t = \frac{2 x}{\texttt{count} - 1} - 1, \quad h = \frac{1}{\texttt{count} - 1},

    where the first level has all that lies below it, and the last all that lies above, so that the probabilities sum to one
    exactly. Anything else has probability 0. theta holds the log-weights, the means and the scales as `Logistics` reads
    them, in the unit of t. A network reads t.
    Source: Salimans et al., 2017, arXiv:1701.05517 (PixelCNN++).

    Args:
        count: how many levels, 2 at least.
        components: of the mixture.

    Example:
        >>> import torch
        >>> from anabranch.families import DiscretizedLogistics
        >>> family = DiscretizedLogistics(5, components=1)
        >>> theta = torch.tensor([0.0, 0.0, -1.0])  # in the middle
        >>> family.log_prob(torch.arange(5), theta.expand(5, 3)).exp()
        tensor([0.1157, 0.2210, 0.3265, 0.2210, 0.1157])
    """

    discrete = True
    whole = True

    def __init__(self, count: int, components: int = 5) -> None:
        self.count = positive_int("count", count, least=2)
        self.components = positive_int("components", components)
        super().__init__(3 * self.components, inputs=1)

    def log_prob(self, x: Tensor, theta: Tensor) -> Tensor:
        level = self._level(x, theta)
        t = self._scaled(level)
        h = 1 / (self.count - 1)
        first, last = level <= 0, level >= self.count - 1
        low, high = torch.where(first, -torch.inf, t - h), torch.where(last, torch.inf, t + h)
        width = torch.where(first | last, torch.inf, torch.full_like(t, 2 * h))
        log_p = mixture_log_probability(low, high, width, theta)
        return torch.where(x.isnan(), torch.nan, torch.where(x == level, log_p, -torch.inf))

    def contains(self, x: Tensor) -> Tensor:
        return x == self._level(x, x)

    def nearest(self, x: Tensor) -> Tensor:
        return self._level(x, x)

    def ends(self) -> tuple[float, float]:
        return 0.0, self.count - 1.0

    def point_masses(self, most: int, like: Tensor) -> PointMasses:
        return PointMasses(torch.arange(self.count).to(like) if self.count <= most else None, alone=True)

    def sample(self, theta: Tensor) -> Tensor:
        log_w, loc, log_s = read_mixture(theta)
        chosen = draw_levels(log_w).unsqueeze(-1)
        u = torch.rand_like(loc[..., 0])
        # draws are multiples of eps / 2: a 0 stands for what is below half of that
        u = u.clamp(torch.finfo(u.dtype).eps / 4, 1 - torch.finfo(u.dtype).eps / 2)
        t = loc.gather(-1, chosen).squeeze(-1) + log_s.gather(-1, chosen).squeeze(-1).exp() * torch.logit(u)
        return self._level((t + 1) * (0.5 * (self.count - 1)), theta)

    def below(self, x: Tensor, theta: Tensor) -> tuple[Tensor, Tensor]:
        log_w, loc, log_s = read_mixture(theta)

        def up_to(level: Tensor) -> Tensor:
            """P(X <= level)."""
            edge = self._scaled(level.clamp(-1, self.count)) + 1 / (self.count - 1)
            p = (log_w.exp() * torch.sigmoid((edge.unsqueeze(-1) - loc) * (-log_s).exp())).sum(dim=-1)
            p = torch.where(level < 0, 0.0, torch.where(level >= self.count - 1, 1.0, p))
            return torch.where(level.isnan(), torch.nan, p)

        x = x.to(theta.dtype)
        return up_to(x.ceil() - 1), up_to(x.floor())

    def quantile(self, u: Tensor, theta: Tensor) -> Tensor:
        batch = torch.broadcast_shapes(u.shape, theta.shape[:-1])
        low = theta.new_zeros(batch)
        high = torch.full_like(low, self.count - 1)
        # the least level with P(X <= level) >= u lies between low and high, which come together by halves
        for _ in range((self.count - 1).bit_length()):
            middle = ((low + high) / 2).floor()
            enough = self.below(middle, theta)[1] >= u
            low, high = torch.where(enough, low, torch.minimum(middle + 1, high)), torch.where(enough, middle, high)
        return high

    def mean(self, theta: Tensor) -> Tensor:
        return _moment(self._probabilities(theta), 1)

    def variance(self, theta: Tensor) -> Tensor:
        p = self._probabilities(theta)
        return (_moment(p, 2) - _moment(p, 1).square()).clamp(min=0)

    def features(self, x: Tensor) -> Tensor:
        # what cannot be has probability 0 by itself; read as it is, an infinity would make NaN of other positions
        return self._scaled(x.clamp(0, self.count - 1)).unsqueeze(-1)

    def start(self, x: Tensor) -> Tensor:
        t = self._scaled(x)
        # the first and the last level are all that lies beyond
        t = torch.where(t.abs() < 1, t, t * (1 + 4 / (self.count - 1)))
        loc = (
            torch.linspace(0, 1, self.components + 2, dtype=t.dtype, device=t.device)[1:-1] * (t.max() - t.min())
            + t.min()
        )
        for _ in range(_ROUNDS):
            near = one_hot((t.unsqueeze(-1) - loc).abs().argmin(dim=-1), self.components).to(t.dtype)
            count = near.sum(dim=0)
            loc = torch.where(count > 0, near.mT @ t / count.clamp(min=1), loc)
        spread = (near * (t.unsqueeze(-1) - loc).square()).sum(dim=0).div(count.clamp(min=1)).sqrt()
        scale = (spread * (3**0.5 / torch.pi)).clamp(min=2 * _LEAST_LEVELS / (self.count - 1))
        return torch.cat([((count + 0.5) / (len(t) + 0.5)).log(), loc, scale.log()])

    def _level(self, x: Tensor, like: Tensor) -> Tensor:
        """The level next to x, in a floating dtype."""
        x = x if x.is_floating_point() else x.to(like.dtype if like.is_floating_point() else torch.get_default_dtype())
        return x.nan_to_num().round().clamp(0, self.count - 1)

    def _scaled(self, x: Tensor) -> Tensor:
        return x * (2 / (self.count - 1)) - 1

    def _probabilities(self, theta: Tensor) -> Tensor:
        """Of all levels: (*batch, count)."""
        levels = torch.arange(self.count, dtype=theta.dtype, device=theta.device)
        return self.log_prob(levels.expand(*theta.shape[:-1], -1), theta.unsqueeze(-2)).exp()


def _moment(p: Tensor, power: int) -> Tensor:
    return p @ torch.arange(p.shape[-1], dtype=p.dtype, device=p.device).pow(power)
