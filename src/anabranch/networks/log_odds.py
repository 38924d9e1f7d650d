"""Each output of a classifier against the rest."""

from __future__ import annotations

import torch
from torch import Tensor

from anabranch.checks import instance_of
from anabranch.networks.network import Network


class LogOdds(Network):
    r"""y_i = log p_i - log(1 - p_i), where p = softmax of another network's outputs.

    Args:
        network: the network, of at least two outputs.

    Raises:
        ValueError: it has but one output, whose probability is always 1.

    Example:
        >>> import torch
        >>> from anabranch.networks import MLP, LogOdds
        >>> network, z = MLP(3, 5), torch.randn(10, 3)
        >>> torch.allclose(torch.sigmoid(LogOdds(network)(z)), torch.softmax(network(z), dim=-1), atol=1e-6)
        True
    """

    def __init__(self, network: Network) -> None:
        instance_of("network", network, Network)
        if len(network.out_shape) != 1 or network.outputs < 2:
            raise ValueError(f"network: expected a vector of at least 2 outputs, got shape {tuple(network.out_shape)}")
        super().__init__(network.in_shape, network.outputs, network.context_shape)
        self.network = network

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        y: Tensor = self.network(x, context)
        # the rest is summed without the output itself, not as 1 - p: near p = 1 nothing is left of that difference
        own = torch.eye(self.outputs, dtype=torch.bool, device=y.device)
        return y - y.unsqueeze(-2).masked_fill(own, -torch.inf).logsumexp(dim=-1)
