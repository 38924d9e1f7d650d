"""Residual multilayer perceptron."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from anabranch.checks import positive_int
from anabranch.kernels.layout import as_rows, batch_of, by_columns, by_rows, from_columns, from_input
from anabranch.networks.activation import activation_function
from anabranch.networks.network import Network, Shape


class ResidualMLP(Network):
    r"""Residual network: h_{i+1} = h_i + B_i a(A_i a(h_i)), between a linear layer in and a linear layer out.

    Each block's second matrix starts at zero, so that the network starts as a linear map and deep ones train as easily as
    shallow ones (He et al., 2016, "Identity mappings in deep residual networks").

    Args:
        features: size of x, or its shape: the layers see an array as one vector.
        outputs: size of y, or its shape.
        context: size of the context, or its shape; 0 for none. It enters with x and again in every block.
        hidden: width of the residual stream.
        blocks: number of residual blocks.
        activation: "relu", "silu", "gelu", "elu" or "tanh".
        zero_start: start with the last layer at zero, so that every output starts at 0.

    Example:
        >>> import torch
        >>> from anabranch.networks import ResidualMLP
        >>> ResidualMLP(3, 4, hidden=16, blocks=2)(torch.randn(10, 3)).shape
        torch.Size([10, 4])
    """

    def __init__(
        self,
        features: Shape,
        outputs: Shape,
        context: Shape | None = 0,
        hidden: int = 64,
        blocks: int = 2,
        activation: str = "relu",
        zero_start: bool = False,
    ) -> None:
        super().__init__(features, outputs, context)
        self.activation = activation_function(activation)
        width, count = positive_int("hidden", hidden), positive_int("blocks", blocks)
        self.first = nn.Linear(self.features, width)
        self.last = nn.Linear(width, self.outputs)
        self.inner = nn.ModuleList(nn.Linear(width, width) for _ in range(count))
        self.outer = nn.ModuleList(nn.Linear(width, width) for _ in range(count))
        self.context_layers = (
            nn.ModuleList(nn.Linear(self.context, width, bias=False) for _ in range(count + 1))
            if self.context
            else None
        )
        for layer in [*self.outer, *([self.last] if zero_start else [])]:
            for parameter in layer.parameters():
                nn.init.zeros_(parameter)

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        x, context = self._as_vectors(x, context)
        batch_shape = batch_of(x, context)
        h = self._product(from_input, self.first, as_rows(x, batch_shape))
        if self.context_layers is not None:
            h = h + as_rows(self.context_layers[0](context), batch_shape)
        for i, (inner, outer) in enumerate(zip(self.inner, self.outer, strict=True)):
            u = self._product(by_rows, inner, self.activation(h))
            if self.context_layers is not None:
                u = u + as_rows(self.context_layers[i + 1](context), batch_shape)
            h = h + self._product(by_rows, outer, self.activation(u))
        y = self._product(by_columns, self.last, self.activation(h.mT))
        return self._as_outputs(from_columns(y.to(x.dtype), batch_shape))

    def _product(self, product: Callable[..., Tensor], layer: nn.Module, h: Tensor) -> Tensor:
        return product(layer.weight, layer.bias, h, self.product_dtype)
