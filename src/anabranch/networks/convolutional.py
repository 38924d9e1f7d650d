"""Convolutional network."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from anabranch.checks import positive_int
from anabranch.networks.activation import activation_function
from anabranch.networks.images import channels_in, check_images, image_rows, vector_context
from anabranch.networks.network import Network, Shape


class Convolutional(Network):
    r"""Convolutions of images, y = W_n * a(... a(W_1 * x + V c + b_1) ...) + b_n, each padded so that the size stays.

    The outputs are an image of the same height and width, or a vector: then a linear layer over all that the convolutions
    give. A context that is a vector shifts the channels of the first layer, the same at every place; one that is an image of
    the same height and width goes in as further channels. An image f times as high and as wide goes in as well: its squares
    of f x f pixels become channels.

    Args:
        features: the shape of x, (channels, height, width).
        outputs: the shape of y, (channels, height, width), or the size of a vector.
        context: the size of a context that is a vector, or the shape (channels, height, width) of one that is an image;
            0 for none.
        hidden: channels of the hidden layers.
        kernel_size: of every convolution, an odd number.
        activation: "relu", "silu", "gelu", "elu" or "tanh".
        zero_start: start with the last layer at zero, so that every output starts at 0.

    Raises:
        ValueError: shapes that do not fit, an even kernel size.

    Example:
        >>> import torch
        >>> from anabranch.networks import Convolutional
        >>> Convolutional((1, 8, 8), (4, 8, 8), hidden=(16,))(torch.randn(5, 1, 8, 8)).shape
        torch.Size([5, 4, 8, 8])
        >>> Convolutional((1, 8, 8), 3, hidden=(16,))(torch.randn(5, 1, 8, 8)).shape
        torch.Size([5, 3])
    """

    def __init__(
        self,
        features: Sequence[int],
        outputs: Shape,
        context: Shape | None = 0,
        hidden: Sequence[int] = (32, 32),
        kernel_size: int = 3,
        activation: str = "relu",
        zero_start: bool = False,
    ) -> None:
        super().__init__(features, outputs, context)
        check_images(self)
        to_image = len(self.out_shape) > 1
        if positive_int("kernel_size", kernel_size) % 2 == 0:
            raise ValueError(f"kernel_size: expected an odd number, got {kernel_size}")
        self.activation = activation_function(activation)
        widths = [positive_int("hidden", width) for width in hidden]
        if not widths:
            raise ValueError("hidden: expected at least one layer, got ()")
        ends = [*widths, self.out_shape[0]] if to_image else widths
        self.convolutions = nn.ModuleList(
            nn.Conv2d(a, b, kernel_size, padding=kernel_size // 2)
            for a, b in zip([channels_in(self), *ends], ends, strict=False)
        )
        vector = vector_context(self)
        self.context_layer = nn.Linear(vector, widths[0], bias=False) if vector else None
        self.last = None if to_image else nn.Linear(widths[-1] * self.in_shape[1:].numel(), self.outputs)
        if zero_start:
            for parameter in (self.convolutions[-1] if self.last is None else self.last).parameters():
                nn.init.zeros_(parameter)

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        batch, h, given = image_rows(self, x, context)
        for i, convolution in enumerate(self.convolutions):
            h = convolution(self.activation(h) if i else h)
            if i == 0 and given is not None and self.context_layer is not None:
                h = h + self.context_layer(given)[..., None, None]
        if self.last is not None:
            h = self.last(self.activation(h).flatten(1))
        return h.reshape(*batch, *self.out_shape)
