"""Networks between images of two sizes: squares of pixels read as channels, and pixels repeated to squares."""

from __future__ import annotations

from torch import Tensor

from anabranch.checks import instance_of, positive_int
from anabranch.networks.network import Network


class OfSquares(Network):
    r"""y = f(u, c), where u holds the squares of x of so many pixels as channels: a network that reads x at a coarser scale.

    Args:
        network: f, of images (channels factor^2, height, width).
        factor: the side of a square.

    Raises:
        ValueError: a network of no images, or of a number of channels that is no multiple of factor^2.

    Example:
        >>> import torch
        >>> from anabranch.networks import Convolutional, OfSquares
        >>> OfSquares(Convolutional((4, 4, 4), (16, 4, 4)), factor=2)(torch.randn(5, 1, 8, 8)).shape
        torch.Size([5, 16, 4, 4])
    """

    def __init__(self, network: Network, factor: int = 2) -> None:
        instance_of("network", network, Network)
        side = positive_int("factor", factor)
        if len(network.in_shape) != 3 or network.in_shape[0] % side**2:
            raise ValueError(
                f"network: expected one of images whose channels are a multiple of {side**2}, got one of "
                f"{tuple(network.in_shape)}"
            )
        channels, height, width = network.in_shape
        super().__init__((channels // side**2, height * side, width * side), network.out_shape, network.context_shape)
        self.network = network
        self.factor = side

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        _, height, width = self.network.in_shape
        parts = x.unflatten(-1, (width, self.factor)).unflatten(-3, (height, self.factor))
        y: Tensor = self.network(parts.movedim((-3, -1), (-4, -3)).flatten(-5, -3), context)
        return y


class Enlarged(Network):
    r"""y = f(x, c) with every pixel repeated to a square: images of a finer scale.

    Source: Odena et al., 2016, "Deconvolution and checkerboard artifacts", Distill (repeated pixels leave no pattern).

    Args:
        network: f, whose outputs are images.
        factor: the side of a square.

    Raises:
        ValueError: outputs that are no images.

    Example:
        >>> import torch
        >>> from anabranch.networks import Convolutional, Enlarged
        >>> Enlarged(Convolutional((2, 4, 4), (16, 4, 4)), factor=2)(torch.randn(5, 2, 4, 4)).shape
        torch.Size([5, 16, 8, 8])
    """

    def __init__(self, network: Network, factor: int = 2) -> None:
        instance_of("network", network, Network)
        side = positive_int("factor", factor)
        if len(network.out_shape) != 3:
            raise ValueError(f"network: expected one whose outputs are images, got {tuple(network.out_shape)}")
        channels, height, width = network.out_shape
        super().__init__(network.in_shape, (channels, height * side, width * side), network.context_shape)
        self.network = network
        self.factor = side

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        y: Tensor = self.network(x, context)
        return y.repeat_interleave(self.factor, dim=-2).repeat_interleave(self.factor, dim=-1)
