"""Multilayer perceptron."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from anabranch.kernels.layout import as_rows, batch_of, by_columns, by_rows, from_columns, from_input
from anabranch.networks.activation import activation_function
from anabranch.networks.linear_layers import linear_layers, start_at_zero
from anabranch.networks.network import Network, Shape


class MLP(Network):
    r"""Multilayer perceptron, y = W_n a(... a(W_1 x + V c + b_1) ...) + b_n.

    The context enters the first layer through its own matrix V, so it may have fewer batch dimensions than x.

    Args:
        features: size of x, or its shape: the layers see an array as one vector.
        outputs: size of y, or its shape.
        context: size of the context, or its shape; 0 for none.
        hidden: sizes of the hidden layers; () makes the function linear.
        activation: "relu", "silu", "gelu", "elu" or "tanh".
        zero_start: start with the last layer at zero, so that every output starts at 0.

    Example:
        >>> import torch
        >>> from anabranch.networks import MLP
        >>> network = MLP(3, 4, context=2, hidden=(16,))
        >>> network(torch.randn(10, 3), torch.randn(2)).shape
        torch.Size([10, 4])
    """

    def __init__(
        self,
        features: Shape,
        outputs: Shape,
        context: Shape | None = 0,
        hidden: Sequence[int] = (64, 64),
        activation: str = "relu",
        zero_start: bool = False,
    ) -> None:
        super().__init__(features, outputs, context)
        self.activation = activation_function(activation)
        self.layers = linear_layers(self.features, hidden, self.outputs)
        first = hidden[0] if len(hidden) else self.outputs
        self.context_layer = nn.Linear(self.context, first, bias=False) if self.context else None
        if zero_start:
            start_at_zero(self.layers[-1], None if len(hidden) else self.context_layer)

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        x, context = self._as_vectors(x, context)
        batch_shape, dtype = batch_of(x, context), self.product_dtype
        *hidden, last = (layer for layer in self.layers if isinstance(layer, nn.Linear))
        from_context = None if self.context_layer is None else as_rows(self.context_layer(context), batch_shape)
        h = as_rows(x, batch_shape)
        for i, layer in enumerate(hidden):
            if i == 0:
                h = from_input(layer.weight, layer.bias, h, dtype)
                h = h if from_context is None else h + from_context
            else:
                h = by_rows(layer.weight, layer.bias, self.activation(h), dtype)
        y = by_columns(last.weight, last.bias, self.activation(h.mT) if hidden else h.mT, dtype)
        if not hidden and from_context is not None:
            y = y + from_context.mT
        return self._as_outputs(from_columns(y.to(x.dtype), batch_shape))
