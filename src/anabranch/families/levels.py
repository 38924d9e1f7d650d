"""Categories."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot, pad

from anabranch.checks import positive_int
from anabranch.families.draw_levels import draw_levels
from anabranch.families.family import Family
from anabranch.families.point_masses import PointMasses


class Levels(Family):
    r"""x in 0, ..., count - 1 with probabilities softmax(theta); anything else has probability 0.

    `below`, `quantile` and `mean` take the levels in their order. One theta (count,) for all x costs no more for many x.

    Args:
        count: how many levels.
        read: up to so many levels a network reads a number for each; of more, as long a learned vector.

    Example:
        >>> import torch
        >>> from anabranch.families import Levels
        >>> Levels(3).log_prob(torch.tensor(2.0), torch.zeros(3)).exp()
        tensor(0.3333)
    """

    discrete = True
    whole = True

    def __init__(self, count: int, read: int = 32) -> None:
        self.count, read = positive_int("count", count), positive_int("read", read)
        super().__init__(self.count, min(self.count, read))
        self.vectors = nn.Parameter(torch.randn(self.count, read)) if self.count > read else None

    def log_prob(self, x: Tensor, theta: Tensor) -> Tensor:
        return levels_log_prob(x, theta, self.count)

    def contains(self, x: Tensor) -> Tensor:
        return x == self._level(x)

    def nearest(self, x: Tensor) -> Tensor:
        return self._level(x).to(x.dtype)

    def ends(self) -> tuple[float, float]:
        return 0.0, self.count - 1.0

    def point_masses(self, most: int, like: Tensor) -> PointMasses:
        return PointMasses(torch.arange(self.count).to(like) if self.count <= most else None, alone=True)

    def sample(self, theta: Tensor) -> Tensor:
        return draw_levels(theta).to(theta.dtype)

    def below(self, x: Tensor, theta: Tensor) -> tuple[Tensor, Tensor]:
        # those below the first, and below each of the next
        less = pad(theta.softmax(dim=-1).cumsum(dim=-1).clamp(max=1.0), (1, 0))
        levels = (level.nan_to_num().clamp(0, self.count).long() for level in (x.ceil(), x.floor() + 1))
        left, right = (torch.where(x.isnan(), torch.nan, _at(less, level)) for level in levels)
        return left, right

    def quantile(self, u: Tensor, theta: Tensor) -> Tensor:
        ends = theta.softmax(dim=-1).cumsum(dim=-1)
        if theta.dim() == 1:
            return torch.searchsorted(ends, u.contiguous()).clamp(max=self.count - 1).to(theta.dtype)
        reached = ends < u.unsqueeze(-1)
        return reached.sum(dim=-1).clamp(max=self.count - 1).to(theta.dtype)

    def mean(self, theta: Tensor) -> Tensor:
        return theta.softmax(dim=-1) @ torch.arange(self.count, dtype=theta.dtype, device=theta.device)

    def variance(self, theta: Tensor) -> Tensor:
        levels = torch.arange(self.count, dtype=theta.dtype, device=theta.device)
        return (theta.softmax(dim=-1) * (levels - self.mean(theta).unsqueeze(-1)).square()).sum(dim=-1)

    def features(self, x: Tensor) -> Tensor:
        level = self._level(x)
        return one_hot(level, self.count).to(x.dtype) if self.vectors is None else self.vectors[level]

    def start(self, x: Tensor) -> Tensor:
        seen = torch.bincount(self._level(x).cpu(), minlength=self.count).to(x)
        return ((seen + 0.5) / (seen.sum() + 0.5 * self.count)).log()

    def _level(self, x: Tensor) -> Tensor:
        return x.nan_to_num().round().clamp(0, self.count - 1).long()


def levels_log_prob(x: Tensor, theta: Tensor, count: int | Tensor) -> Tensor:
    """log P(x | theta), (*batch), of `count` levels; theta (*batch, levels), or (levels) for all, may be padded by -inf."""
    x = x if x.is_floating_point() else x.long()
    most = torch.as_tensor(count, dtype=x.dtype, device=x.device) - 1
    level = torch.minimum(x.nan_to_num().round().clamp(min=0), most)
    chosen = _at(theta.log_softmax(dim=-1), level.long())
    return torch.where(x.isnan(), torch.nan, torch.where(x == level, chosen, -torch.inf))


def _at(values: Tensor, level: Tensor) -> Tensor:
    """The values (*batch, levels), or of a shape that broadcasts against the batch, at a level each (*batch)."""
    if values.dim() == 1:
        return values[level]
    batch = torch.broadcast_shapes(values.shape[:-1], level.shape)
    return values.expand(*batch, -1).gather(-1, level.expand(batch).unsqueeze(-1)).squeeze(-1)
