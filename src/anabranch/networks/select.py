"""Some of another network's outputs, or of the numbers that come in."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from anabranch.checks import instance_of, reference_tensor
from anabranch.networks.network import Network


class Select(Network):
    r"""Outputs number i_1, ..., i_n of another network, in that order.

    Args:
        network: the network.
        chosen: which of its outputs, counted from 0.

    Raises:
        ValueError: there is no such output.

    Example:
        >>> import torch
        >>> from anabranch.networks import MLP, Select
        >>> Select(MLP(3, 5), chosen=[0, 2])(torch.randn(10, 3)).shape
        torch.Size([10, 2])
    """

    def __init__(self, network: Network, chosen: Sequence[int]) -> None:
        instance_of("network", network, Network)
        if len(network.out_shape) != 1:
            raise ValueError(f"network: expected one whose outputs are a vector, got shape {tuple(network.out_shape)}")
        chosen = list(chosen)
        if not chosen or min(chosen) < 0 or max(chosen) >= network.outputs:
            raise ValueError(f"chosen: expected numbers from 0 to {network.outputs - 1}, got {chosen}")
        super().__init__(network.in_shape, len(chosen), network.context_shape)
        self.network = network
        like = reference_tensor(network)
        index = torch.tensor(chosen, device=None if like is None else like.device)
        self.register_buffer("chosen", index, persistent=False)

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        return self.network(x, context).index_select(-1, self.get_buffer("chosen"))


class Pick(Network):
    r"""y = (x_{i_1}, ..., x_{i_n}): some of the numbers of a vector as they are.

    Args:
        features: the size of x.
        chosen: which numbers, counted from 0.

    Raises:
        ValueError: there is no such number.

    Example:
        >>> import torch
        >>> from anabranch.networks import Pick
        >>> Pick(3, [2, 0])(torch.tensor([1.0, 2.0, 3.0]))
        tensor([3., 1.])
    """

    def __init__(self, features: int, chosen: Sequence[int]) -> None:
        chosen = list(chosen)
        if not chosen or min(chosen) < 0 or max(chosen) >= features:
            raise ValueError(f"chosen: expected numbers from 0 to {features - 1}, got {chosen}")
        super().__init__(features, len(chosen))
        self.register_buffer("chosen", torch.tensor(chosen), persistent=False)

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        return x.index_select(-1, self.get_buffer("chosen"))
