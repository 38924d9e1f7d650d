"""Uniform distributions."""

from __future__ import annotations

import torch
from torch import Tensor

from anabranch.families.family import Family


class Uniform(Family):
    r"""p(x) = 1 / |b - a| for x between a and b, both ends included, and 0 elsewhere. theta holds a and b, in any order.

    Example:
        >>> import torch
        >>> from anabranch.families import Uniform
        >>> Uniform().log_prob(torch.tensor([1.0, 3.0]), torch.tensor([0.0, 2.0]))
        tensor([-0.6931,    -inf])
    """

    reparameterized = True

    def __init__(self) -> None:
        super().__init__(parameters=2, inputs=1)

    def log_prob(self, x: Tensor, theta: Tensor) -> Tensor:
        low, high = _ends(theta)
        # the upper end is inside too: low + u (high - low), u < 1, is often rounded to it
        log_p = torch.where((low <= x) & (x <= high), -(high - low).log(), -torch.inf)
        return torch.where(x.isnan(), torch.nan, log_p)

    def sample(self, theta: Tensor) -> Tensor:
        low, high = _ends(theta)
        return low + torch.rand_like(low) * (high - low)

    def below(self, x: Tensor, theta: Tensor) -> tuple[Tensor, Tensor]:
        low, high = _ends(theta)
        p = ((x - low) / (high - low)).clamp(0, 1)
        return p, p

    def quantile(self, u: Tensor, theta: Tensor) -> Tensor:
        low, high = _ends(theta)
        return low + u * (high - low)

    def mean(self, theta: Tensor) -> Tensor:
        return theta.mean(dim=-1)

    def variance(self, theta: Tensor) -> Tensor:
        low, high = _ends(theta)
        return (high - low).square() / 12

    def features(self, x: Tensor) -> Tensor:
        return x.unsqueeze(-1)

    def start(self, x: Tensor) -> Tensor:
        return torch.stack(x.aminmax())


def _ends(theta: Tensor) -> tuple[Tensor, Tensor]:
    return theta.amin(dim=-1), theta.amax(dim=-1)
