"""Networks that read angles."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from anabranch.checks import instance_of, positive
from anabranch.networks.network import Network


class OfAngles(Network):
    r"""y = f(cos t_1, ..., cos t_n, sin t_1, ..., sin t_n; c) with t_i = 2 pi x_i / P: adding P to an x_i does not change y.

    An infinity, which is no angle, is read as 0.

    Args:
        network: f, of 2 n features.
        period: P.

    Raises:
        ValueError: a network of an odd number of features, or of an array.

    Example:
        >>> import torch
        >>> from anabranch.networks import MLP, OfAngles
        >>> network = OfAngles(MLP(2 * 3, 5))
        >>> x = torch.rand(4, 3)
        >>> torch.allclose(network(x), network(x + 2 * torch.pi), atol=1e-5)
        True
    """

    def __init__(self, network: Network, period: float = 2 * math.pi) -> None:
        instance_of("network", network, Network)
        if len(network.in_shape) != 1 or network.features % 2:
            raise ValueError(
                f"network: expected one of an even number of features, a cosine and a sine for each angle, "
                f"got one of shape {tuple(network.in_shape)}"
            )
        super().__init__(network.features // 2, network.out_shape, network.context_shape)
        self.network = network
        self.period = positive("period", period)

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        # an infinity is no angle and has density 0 by itself; its cosine would make NaN of the others
        angle = (2 * math.pi / self.period) * torch.where(x.isinf(), 0.0, x)
        return self.network(torch.cat([angle.cos(), angle.sin()], dim=-1), context)
