"""Numbers that a layer learns: constants, or constants that a network moves with the context."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from anabranch.networks import Network
from anabranch.networks.of_context import network_of_context, read_distinct


class Learned(nn.Module):
    r"""The numbers theta(c) = theta_0 + n(c) of a layer: trainable constants, and a network of the context, if any.

    With a network that starts at zero, the layer starts at its constants. Constants of 0 would not do for every layer: some
    have a gradient of 0 there, and would never leave that point.

    Args:
        start: theta_0, (size).
        network: n, from a context to `size` numbers; None: no context.
        what: the words of an error for the numbers.

    Raises:
        ValueError: a network of another size, or one that needs a context beside its x.
    """

    def __init__(self, start: Tensor, network: Network | None = None, what: str = "numbers") -> None:
        super().__init__()
        if network is not None:
            network = network_of_context(network, f"{len(start)} {what}", len(start))
        self.constants = nn.Parameter(start)
        self.network = network

    @property
    def context_shape(self) -> torch.Size | None:
        """The shape of one context, or None."""
        return None if self.network is None else self.network.in_shape

    def forward(self, context: Tensor | None) -> Tensor:
        """(size), or (*batch, size) at contexts (*batch, *context), with 1 where the batch only repeats contexts."""
        if self.network is None:
            return self.constants
        y = read_distinct(self.network, context)
        return self.constants + y.flatten(y.dim() - len(self.network.out_shape))
