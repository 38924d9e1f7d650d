"""A network whose outputs are added to its context."""

from __future__ import annotations

from torch import Tensor

from anabranch.checks import instance_of
from anabranch.networks.network import Network


class Skip(Network):
    r"""y = c + f(x, c): a residual cell, which passes a state c on and adds what x says.

    Args:
        network: f, whose outputs have the shape of its context.

    Raises:
        ValueError: a network without a context, or with outputs of another shape.

    Example:
        >>> import torch
        >>> from anabranch.networks import MLP, Skip
        >>> cell = Skip(MLP(2, 8, context=8, zero_start=True))
        >>> state = torch.randn(5, 8)
        >>> bool((cell(torch.randn(5, 2), state) == state).all())
        True
    """

    def __init__(self, network: Network) -> None:
        instance_of("network", network, Network)
        if network.context_shape != network.out_shape:
            raise ValueError(
                f"network: expected one whose context has the shape of its outputs, {tuple(network.out_shape)}, got "
                f"{'one without a context' if network.context_shape is None else tuple(network.context_shape)}"
            )
        super().__init__(network.in_shape, network.out_shape, network.context_shape)
        self.network = network

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        y: Tensor = self.network(x, context)
        return y if context is None else y + context
