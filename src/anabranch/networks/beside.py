"""A network that reads a part of its inputs and hands the rest on."""

from __future__ import annotations

import torch
from torch import Tensor

from anabranch.checks import instance_of, positive_int
from anabranch.networks.network import Network


class Beside(Network):
    r"""(x, r) -> (f(x), r): a network f of the first numbers, beside the last ones as they are.

    The encoder of a posterior q(z | x, y): f reads an image, the class y stays what it is.

    Args:
        network: f, with a vector for its output.
        rest: how many numbers r has.

    Raises:
        ValueError: a network whose output is no vector, or that takes a context.

    Example:
        >>> import torch
        >>> from anabranch.networks import MLP, Beside
        >>> Beside(MLP((8, 8), 16), rest=3)(torch.zeros(5, 67)).shape
        torch.Size([5, 19])
    """

    def __init__(self, network: Network, rest: int) -> None:
        instance_of("network", network, Network)
        rest = positive_int("rest", rest)
        if len(network.out_shape) != 1 or network.context_shape is not None:
            raise ValueError(
                f"network: expected one to a vector, without a context, got one to {tuple(network.out_shape)} "
                f"with {'no context' if network.context_shape is None else 'a context'}"
            )
        super().__init__(network.in_shape.numel() + rest, network.outputs + rest)
        self.network = network
        self.rest = rest

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        read, rest = x[..., : -self.rest], x[..., -self.rest :]
        return torch.cat([self.network(read.unflatten(-1, self.network.in_shape)), rest], dim=-1)
