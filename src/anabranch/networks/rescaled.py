"""A network behind a change of units."""

from __future__ import annotations

from torch import Tensor

from anabranch.checks import instance_of, positive
from anabranch.networks.network import Network


class Rescaled(Network):
    r"""y = f((x - shift) / scale, c): a network that reads numbers of any range as numbers of about -1 to 1.

    Args:
        network: f.
        shift: what is taken off x.
        scale: by what it is divided then.

    Raises:
        ValueError: a scale that is not positive.

    Example:
        >>> import torch
        >>> from anabranch.networks import MLP, Rescaled
        >>> encoder = Rescaled(MLP((8, 8), 16), shift=8, scale=8)  # of grey levels from 0 to 16
        >>> encoder(torch.randint(17, (5, 8, 8)).float()).shape
        torch.Size([5, 16])
    """

    def __init__(self, network: Network, shift: float, scale: float) -> None:
        instance_of("network", network, Network)
        super().__init__(network.in_shape, network.out_shape, network.context_shape)
        self.network = network
        self.shift = float(shift)
        self.scale = positive("scale", scale)

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        y: Tensor = self.network((x - self.shift) / self.scale, context)
        return y
