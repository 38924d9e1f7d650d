"""Convolutional networks from images down to vectors, and from vectors up to images."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn.functional import dropout, interpolate

from anabranch.checks import fraction, positive_int
from anabranch.networks.activation import activation_function
from anabranch.networks.network import Network, Shape


class Downsampling(Network):
    r"""From an image to a vector: convolutions, each but the first of which halves height and width, then a linear layer.

    The usual encoder of images. It takes no context.

    Args:
        features: the shape of x, (channels, height, width).
        outputs: the size of y.
        hidden: channels of the convolutions, of which the first keeps the size and each other one halves it (upwards).
        activation: "relu", "silu", "gelu", "elu" or "tanh".
        drop: the share of channels that are left out in training, at random, behind every convolution.

    Raises:
        ValueError: features that are no images, outputs that are no vector, no hidden layer.

    Example:
        >>> import torch
        >>> from anabranch.networks import Downsampling
        >>> Downsampling((1, 28, 28), 16, hidden=(8, 16, 16))(torch.randn(5, 1, 28, 28)).shape
        torch.Size([5, 16])
    """

    def __init__(
        self,
        features: Sequence[int],
        outputs: Shape,
        hidden: Sequence[int] = (32, 64, 64),
        activation: str = "relu",
        drop: float = 0.0,
    ) -> None:
        super().__init__(features, outputs)
        widths = _check("features", self.in_shape, "outputs", self.out_shape, hidden)
        self.activation = activation_function(activation)
        self.drop = 0.0 if drop == 0 else fraction("drop", drop)
        self.convolutions = nn.ModuleList(
            nn.Conv2d(a, b, 3, stride=1 if i == 0 else 2, padding=1)
            for i, (a, b) in enumerate(zip([self.in_shape[0], *widths], widths, strict=False))
        )
        high, wide = _sizes(self.in_shape, len(widths))[-1]
        self.last = nn.Linear(widths[-1] * high * wide, self.outputs)

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        batch = x.shape[: x.dim() - 3]
        h = x.reshape(batch.numel(), *self.in_shape)
        for convolution in self.convolutions:
            h = dropout(self.activation(convolution(h)), self.drop, self.training)
        return self.last(h.flatten(1)).reshape(*batch, *self.out_shape)


class Upsampling(Network):
    r"""From a vector to an image: a linear layer, then convolutions, between which height and width are doubled.

    The usual decoder of images, `Downsampling` turned round. Images are enlarged by their nearest pixels, which leaves no
    pattern of a checkerboard as transposed convolutions do. It takes no context.
    Source: Odena et al., 2016, "Deconvolution and checkerboard artifacts", Distill.

    Args:
        features: the size of x.
        outputs: the shape of y, (channels, height, width).
        hidden: channels, from the smallest image to the largest, each half (upwards) as high and as wide as the next.
        activation, drop: as in `Downsampling`.

    Raises:
        ValueError: outputs that are no images, features that are no vector, no hidden layer.

    Example:
        >>> import torch
        >>> from anabranch.networks import Upsampling
        >>> Upsampling(16, (3, 28, 28), hidden=(16, 16, 8))(torch.randn(5, 16)).shape
        torch.Size([5, 3, 28, 28])
    """

    def __init__(
        self,
        features: Shape,
        outputs: Sequence[int],
        hidden: Sequence[int] = (64, 64, 32),
        activation: str = "relu",
        drop: float = 0.0,
    ) -> None:
        super().__init__(features, outputs)
        widths = _check("outputs", self.out_shape, "features", self.in_shape, hidden)
        self.activation = activation_function(activation)
        self.drop = 0.0 if drop == 0 else fraction("drop", drop)
        self.sizes = _sizes(self.out_shape, len(widths))[::-1]
        high, wide = self.sizes[0]
        self.first = nn.Linear(self.features, widths[0] * high * wide)
        self.convolutions = nn.ModuleList(
            nn.Conv2d(a, b, 3, padding=1) for a, b in zip(widths, [*widths[1:], self.out_shape[0]], strict=True)
        )
        self.channels = widths[0]

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        batch = x.shape[:-1]
        h = self.first(x.reshape(batch.numel(), self.features)).unflatten(-1, (self.channels, *self.sizes[0]))
        for i, convolution in enumerate(self.convolutions):
            h = dropout(self.activation(h), self.drop, self.training)
            h = convolution(interpolate(h, size=self.sizes[i + 1]) if i + 1 < len(self.sizes) else h)
        return h.reshape(*batch, *self.out_shape)


def _check(images: str, shape: Sequence[int], vectors: str, other: Sequence[int], hidden: Sequence[int]) -> list[int]:
    """The hidden layers' channels, where the shapes are those of images and vectors."""
    if len(shape) != 3:
        raise ValueError(f"{images}: expected the shape (channels, height, width), got {tuple(shape)}")
    if len(other) != 1:
        raise ValueError(f"{vectors}: expected the size of a vector, got {tuple(other)}")
    widths = [positive_int("hidden", width) for width in hidden]
    if not widths:
        raise ValueError("hidden: expected at least one layer, got ()")
    return widths


def _sizes(shape: Sequence[int], levels: int) -> list[tuple[int, int]]:
    """Heights and widths, the largest first, each half of the one before, upwards."""
    sizes = [(shape[1], shape[2])]
    for _ in range(levels - 1):
        high, wide = sizes[-1]
        sizes.append((-(-high // 2), -(-wide // 2)))
    return sizes
