"""The network that looks at nothing."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from anabranch.networks.network import Network, Shape


class Constant(Network):
    r"""y = v, a trainable vector that starts at 0, whatever x is.

    Where a network is expected and a constant is wanted: the weights of a mixture, say.

    Args:
        features: size of x, or its shape.
        outputs: size of y, or its shape.

    Example:
        >>> import torch
        >>> from anabranch.networks import Constant
        >>> Constant(3, 2)(torch.randn(10, 3)).shape
        torch.Size([10, 2])
    """

    def __init__(self, features: Shape, outputs: Shape) -> None:
        super().__init__(features, outputs)
        self.values = nn.Parameter(torch.zeros(self.out_shape))

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        return self.values.expand(*x.shape[: x.dim() - len(self.in_shape)], *self.out_shape)
