"""Outputs that read a number of x each."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from anabranch.networks.network import Network


class Alone(Network):
    r"""y_i = a_i x_i + b_i: each output reads its own number of x and no other. a and b start at 0.

    As the missing model of `models.NotAtRandom` it is a logistic curve for each column: whether a number is missing depends
    on that number alone (self-masking).

    Args:
        features: how many numbers x has.

    Example:
        >>> import torch
        >>> from anabranch.networks import Alone
        >>> Alone(3)(torch.ones(5, 3)).shape
        torch.Size([5, 3])
    """

    def __init__(self, features: int) -> None:
        super().__init__(features, features)
        self.slope = nn.Parameter(torch.zeros(self.features))
        self.offset = nn.Parameter(torch.zeros(self.features))

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        return self.slope * x + self.offset
