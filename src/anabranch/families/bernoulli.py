"""Zeros and ones."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from anabranch.families.family import Family
from anabranch.families.point_masses import PointMasses


class Bernoulli(Family):
    r"""x in 0, 1 with P(X = 1) = sigmoid(theta); anything else has probability 0.

    Example:
        >>> import torch
        >>> from anabranch.families import Bernoulli
        >>> Bernoulli().log_prob(torch.tensor([0.0, 1.0, 2.0]), torch.zeros(3, 1)).exp()
        tensor([0.5000, 0.5000, 0.0000])
    """

    discrete = True
    whole = True

    def __init__(self) -> None:
        super().__init__(parameters=1, inputs=1)

    def log_prob(self, x: Tensor, theta: Tensor) -> Tensor:
        logit = theta[..., 0]
        bit = x.to(logit.dtype).clamp(0, 1)
        # -inf of what is no bit, and NaN of NaN
        return torch.where(self.contains(x), logsigmoid((2 * bit - 1) * logit), bit - torch.inf)

    def contains(self, x: Tensor) -> Tensor:
        return (x == 0) | (x == 1)

    def nearest(self, x: Tensor) -> Tensor:
        return torch.where(x.isnan(), 0.0, (x > 0.5).to(x.dtype))

    def ends(self) -> tuple[float, float]:
        return 0.0, 1.0

    def point_masses(self, most: int, like: Tensor) -> PointMasses:
        return PointMasses(torch.arange(2).to(like) if most >= 2 else None, alone=True)

    def sample(self, theta: Tensor) -> Tensor:
        return torch.bernoulli(theta[..., 0].sigmoid())

    def below(self, x: Tensor, theta: Tensor) -> tuple[Tensor, Tensor]:
        zero = torch.sigmoid(-theta[..., 0])
        left, right = (
            torch.where(above_one, 1.0, torch.where(above_zero, zero, 0.0))
            for above_zero, above_one in ((x > 0, x > 1), (x >= 0, x >= 1))
        )
        return tuple(torch.where(x.isnan(), torch.nan, p) for p in (left, right))  # type: ignore[return-value]

    def quantile(self, u: Tensor, theta: Tensor) -> Tensor:
        return (u > torch.sigmoid(-theta[..., 0])).to(theta.dtype)

    def mean(self, theta: Tensor) -> Tensor:
        return theta[..., 0].sigmoid()

    def variance(self, theta: Tensor) -> Tensor:
        p = theta[..., 0].sigmoid()
        return p * (1 - p)

    def features(self, x: Tensor) -> Tensor:
        # what cannot be has probability 0 by itself; read as it is, an infinity would make NaN of other positions
        return x.clamp(0, 1).unsqueeze(-1)

    def start(self, x: Tensor) -> Tensor:
        ones = x.sum()
        return ((ones + 0.5) / (len(x) - ones + 0.5)).log().unsqueeze(0)
