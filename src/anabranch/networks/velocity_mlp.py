"""A vector field that changes with time."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from anabranch.checks import as_context_shape, positive_int
from anabranch.kernels.layout import as_rows, batch_of, by_rows
from anabranch.networks.activation import activation_function
from anabranch.networks.linear_layers import linear_layers, shifts_of, start_at_zero
from anabranch.networks.network import Network, Shape


class VelocityMLP(Network):
    r"""A vector field v(x, t, c): a multilayer perceptron whose layers all read the time and the context.

    .. math:: v = W_n h_{n-1} + V_n e + b_n, \quad h_i = a(W_i h_{i-1} + V_i e + b_i), \quad h_0 = x, \qquad
              e = (t, \sin 2 \pi k t, \cos 2 \pi k t, c), \quad k = 1, \ldots, K

    As a `Network` it takes time and context together, as one vector (t, c). `transforms.Continuous` integrates any network
    whose context begins with the time.

    Args:
        features: size of x, or its shape, which is that of v too: the layers see an array as one vector.
        context: size of the context without the time, or its shape; 0 for none.
        hidden: sizes of the hidden layers.
        activation: "relu", "silu", "gelu", "elu" or "tanh"; a solver of many steps wants a smooth one.
        waves: K, the number of frequencies.
        zero_start: start with the last layer at zero, so that v is 0 and nothing moves.

    Example:
        >>> import torch
        >>> from anabranch.networks import VelocityMLP
        >>> field = VelocityMLP(2, hidden=(16,))
        >>> time = torch.tensor([0.5])
        >>> field(torch.randn(10, 2), time).shape
        torch.Size([10, 2])
    """

    def __init__(
        self,
        features: Shape,
        context: Shape | None = 0,
        hidden: Sequence[int] = (64, 64, 64),
        activation: str = "silu",
        waves: int = 3,
        zero_start: bool = False,
    ) -> None:
        beside = as_context_shape("context", context)
        super().__init__(features, features, 1 + (0 if beside is None else beside.numel()))
        self.activation = activation_function(activation)
        self.layers = linear_layers(self.features, hidden, self.outputs)
        waves = positive_int("waves", waves, least=0)
        self.shifts = shifts_of(self.layers, self.context + 2 * waves)
        self.register_buffer("frequencies", 2 * math.pi * torch.arange(1.0, waves + 1), persistent=False)
        if zero_start:
            start_at_zero(self.layers[-1], self.shifts)

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        x, context = self._as_vectors(x, context)
        batch_shape, dtype = batch_of(x, context), self.product_dtype
        shifts = self.shifts(self._read(context), batch_shape, dtype)
        h = as_rows(x, batch_shape)
        layers = [layer for layer in self.layers if isinstance(layer, nn.Linear)]
        for i, (layer, shift) in enumerate(zip(layers, shifts, strict=True)):
            h = by_rows(layer.weight, layer.bias, self.activation(h) if i else h, dtype)
            h = h if shift is None else h + shift
        return self._as_outputs(h.to(x.dtype).reshape(*batch_shape, self.outputs))

    def _read(self, context: Tensor | None) -> Tensor | None:
        """Time and context, and the waves of the time."""
        if context is None:
            return None
        angles = context[..., :1] * self.get_buffer("frequencies")
        return torch.cat([context, angles.sin(), angles.cos()], dim=-1)
