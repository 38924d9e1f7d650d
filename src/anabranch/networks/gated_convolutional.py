"""Gated residual convolutions, with attention or without."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, layer_norm

from anabranch.checks import fraction, positive_int
from anabranch.kernels.layout import cast
from anabranch.networks.activation import activation_function
from anabranch.networks.images import channels_in, check_images, image_rows, vector_context
from anabranch.networks.network import Network, Shape
from anabranch.networks.transformer_block import attention


class GatedConvolutional(Network):
    r"""Residual network of gated convolutions over images, the size of which stays; with attention each block ends in one.

    .. math::
        h_0 &= W_0 * x + p, \qquad g(a, b) = a \odot \sigma(b) \\
        h' &= h + g(B * s(A * s(n(h)) + V c)) \\
        h'' &= h' + g(O\, \text{softmax}(q^\top k / \sqrt{m})\, v), \qquad (q, k, v) = Q\, n(h') \\
        y &= W_L * s(n(h_L))

    s is the activation, n normalises the channels at every place, and p is a learned map: photographs look alike
    everywhere, digits and clothes do not. B and O start at zero, so that the network starts as one convolution. Convolutions
    reach `blocks` steps further than their kernel; attention reads the whole image, at a cost of places squared.

    Source: Ho et al., 2019, "Flow++", arXiv:1902.00275, section 3.3 (gated convolutions and attention in couplings).

    Args:
        features: the shape of x, (channels, height, width).
        outputs: the shape of y, (channels, height, width).
        context: the size of a context that is a vector, which shifts every block, or the shape (channels, height, width) of
            one that is an image, which goes in as further channels (as in `Convolutional`); 0 for none.
        hidden: channels of the residual stream.
        blocks: how many there are.
        attention: heads of each block's attention, which divide `hidden`; 0 for none.
        kernel_size: of the convolutions, an odd number; B is 1 x 1.
        activation: "relu", "silu", "gelu", "elu" or "tanh".
        dropout: share of the channels inside a block that a fit silences, each for a whole image.
        embed_positions: whether there is a map p.
        zero_start: start with the last layer at zero, so that every output starts at 0.

    Raises:
        ValueError: shapes that do not fit, an even kernel size, heads that do not divide the channels.

    Example:
        >>> import torch
        >>> from anabranch.networks import GatedConvolutional
        >>> network = GatedConvolutional((2, 8, 8), (4, 8, 8), hidden=16, blocks=2, attention=4)
        >>> network(torch.randn(5, 2, 8, 8)).shape
        torch.Size([5, 4, 8, 8])
    """

    def __init__(
        self,
        features: Sequence[int],
        outputs: Sequence[int],
        context: Shape | None = 0,
        hidden: int = 32,
        blocks: int = 2,
        attention: int = 0,
        kernel_size: int = 3,
        activation: str = "silu",
        dropout: float = 0.0,
        embed_positions: bool = True,
        zero_start: bool = False,
    ) -> None:
        super().__init__(features, outputs, context)
        check_images(self, to_vector=False)
        if positive_int("kernel_size", kernel_size) % 2 == 0:
            raise ValueError(f"kernel_size: expected an odd number, got {kernel_size}")
        width, count = positive_int("hidden", hidden), positive_int("blocks", blocks)
        heads = positive_int("attention", attention, least=0)
        if heads and width % heads:
            raise ValueError(f"attention: expected heads that divide the {width} hidden channels, got {heads}")
        self.activation = activation_function(activation)
        self.heads = heads
        self.first = nn.Conv2d(channels_in(self), width, kernel_size, padding=kernel_size // 2)
        self.last = nn.Conv2d(width, self.out_shape[0], kernel_size, padding=kernel_size // 2)
        self.inner = nn.ModuleList(nn.Conv2d(width, width, kernel_size, padding=kernel_size // 2) for _ in range(count))
        self.outer = nn.ModuleList(nn.Conv2d(width, 2 * width, 1) for _ in range(count))
        vector = vector_context(self)
        self.context_layers = nn.ModuleList(nn.Linear(vector, width, bias=False) for _ in range(count if vector else 0))
        self.asked = nn.ModuleList(nn.Conv2d(width, 3 * width, 1) for _ in range(count if heads else 0))
        self.attended = nn.ModuleList(nn.Conv2d(width, 2 * width, 1) for _ in range(count if heads else 0))
        self.places = nn.Parameter(torch.zeros(width, *self.in_shape[1:])) if embed_positions else None
        self.dropout = nn.Dropout2d(fraction("dropout", dropout))
        for layer in [*self.outer, *self.attended, *([self.last] if zero_start else [])]:
            for parameter in layer.parameters():
                nn.init.zeros_(parameter)

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        batch, rows, given = image_rows(self, x, context)
        h = self._convolved(self.first, rows)
        if self.places is not None:
            h = h + self.places
        for i, (inner, outer) in enumerate(zip(self.inner, self.outer, strict=True)):
            u = self._convolved(inner, self.activation(_normalised(h)))
            if given is not None:
                u = u + self.context_layers[i](given)[..., None, None]
            h = h + _gated(self._convolved(outer, self.dropout(self.activation(u))))
            if self.heads:
                h = h + _gated(self._convolved(self.attended[i], self._attention(self.asked[i], _normalised(h))))
        y = self._convolved(self.last, self.activation(_normalised(h)))
        return y.to(x.dtype).reshape(*batch, *self.out_shape)

    def _attention(self, asked: nn.Module, h: Tensor) -> Tensor:
        """What every place is told by all: (rows, channels, height, width)."""
        # (rows, 3 heads n, H, W) to three of (rows, heads, places, n)
        query, keys, values = self._convolved(asked, h).flatten(2).unflatten(1, (3, self.heads, -1)).mT.unbind(dim=1)
        told = attention(query, keys, values, causal=False)
        return told.mT.reshape(h.shape)

    def _convolved(self, layer: Any, h: Tensor) -> Tensor:
        if self.product_dtype is None:
            y: Tensor = layer(h)
            return y
        h, weight, bias = cast(self.product_dtype, h, layer.weight, layer.bias)
        return conv2d(h, weight, bias, padding=layer.kernel_size[0] // 2)


def _normalised(h: Tensor) -> Tensor:
    """Mean 0 and variance 1 over the channels of every place."""
    return layer_norm(h.movedim(1, -1), h.shape[1:2]).movedim(-1, 1)


def _gated(h: Tensor) -> Tensor:
    a, b = h.chunk(2, dim=1)
    return a * b.sigmoid()
