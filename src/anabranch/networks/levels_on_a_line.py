"""Levels as places on a line, and which level a place is near."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from anabranch.checks import as_shape, positive, positive_int
from anabranch.networks.network import Network, Shape


class LevelPlaces(Network):
    """a_x = 2 x / (count - 1) - 1 for every level x of an array: equally spaced on [-1, 1].

    Args:
        features: the size of x, or its shape.
        count: how many levels.

    Example:
        >>> import torch
        >>> from anabranch.networks import LevelPlaces
        >>> LevelPlaces(3, count=3)(torch.tensor([0.0, 1.0, 2.0]))
        tensor([-1.,  0.,  1.])
    """

    def __init__(self, features: Shape, count: int) -> None:
        super().__init__(features, features)
        self.count = positive_int("count", count, least=2)
        # says dtype and device
        self.register_buffer("spacing", torch.tensor(2 / (self.count - 1)), persistent=False)

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        return 2 / (self.count - 1) * x - 1


class LevelScores(Network):
    r"""Log-odds of every level by how near its place is: -(u - a_v)^2 / (2 s^2) for a number u and the levels v.

    They are the log-likelihoods of the levels where u is a place with normal noise of deviation s. As the network of
    `Factorized(Levels(count), ...)`, which adds a number for each level, they give the posterior of a level under any prior.

    Source: Kingma et al., 2021, arXiv:2107.00630, section 3.3 and appendix B.

    Args:
        features: the size of u, or its shape.
        count: how many levels, at the places of `LevelPlaces`.
        scale: s at first; it is learned.

    Example:
        >>> import torch
        >>> from anabranch.networks import LevelScores
        >>> LevelScores(1, count=3, scale=0.5)(torch.tensor([0.5])).softmax(dim=-1).detach().round(decimals=2)
        tensor([0.0100, 0.5000, 0.5000])
    """

    def __init__(self, features: Shape, count: int, scale: float) -> None:
        shape, levels = as_shape("features", features), positive_int("count", count, least=2)
        super().__init__(shape, shape.numel() * levels)
        self.log_scale = nn.Parameter(torch.tensor(positive("scale", scale)).log())
        self.register_buffer("places", torch.linspace(-1, 1, levels), persistent=False)

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        apart = x.flatten(-len(self.in_shape)).unsqueeze(-1) - self.get_buffer("places")
        return (-0.5 * (apart * (-self.log_scale).exp()).square()).flatten(-2)
