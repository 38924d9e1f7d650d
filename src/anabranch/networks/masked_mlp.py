"""Masked multilayer perceptron (MADE)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from anabranch.checks import positive_int
from anabranch.kernels.layout import as_rows, batch_of, by_rows, from_columns, from_input
from anabranch.kernels.modes import autocasts, may_write, no_autocast
from anabranch.kernels.staircase import panels, staircase_product
from anabranch.networks.activation import activation_function
from anabranch.networks.causal import CausalNetwork
from anabranch.networks.masked_steps import InPlaceSteps, RecordedSteps, Staircases, Steps
from anabranch.networks.network import Shape, as_vectors

Weights = Sequence[tuple[Tensor, Tensor]]
"""(units, units of the layer before) and (units) of every layer, the last for the outputs."""


@dataclass
class MaskedMLPState:
    """What the steps so far have computed, and the shape of the batch."""

    batch_shape: torch.Size
    steps: Steps


class MaskedMLP(CausalNetwork):
    r"""Masked autoencoder for distribution estimation (MADE; Germain et al., 2015, arXiv:1502.03509, equations 12 and 13).

    Every input has a degree, its position 1 ... D; every hidden unit has a degree m and sees only units of degree at most
    m in the layer before; the outputs of position d see the hidden units of degree below d. The degrees of a layer are
    sorted and spread evenly, so each mask is a staircase and the units that a new value unlocks are one contiguous block.

    A step computes those blocks alone. Over a whole pass each weight that the masks let through is used exactly once, so
    all steps together cost the multiply-adds of the unmasked part of one forward pass.

    Steps multiply in the dtype of the parameters, whatever `product_dtype` or autocast say, since what one step rounds all
    later ones inherit. They agree with a forward pass in full precision; with one in bfloat16 to the rounding of that pass.

    Args:
        features: number of positions D, or their shape; they come row by row.
        outputs: numbers per position.
        context: size of the context, or its shape; 0 for none. Every unit sees all of it.
        hidden: sizes of the hidden layers.
        activation: "relu", "silu", "gelu", "elu" or "tanh".
        zero_start: start with the last layer at zero, so that every output starts at 0.
        channels: numbers in one position, which all see the positions before and not each other; None: one number, and x has
            no dimension for them.

    Example:
        >>> import torch
        >>> from anabranch.networks import MaskedMLP
        >>> network = MaskedMLP(features=5, outputs=2, hidden=(32, 32))
        >>> x = torch.randn(10, 5)
        >>> network(x).shape
        torch.Size([10, 5, 2])
        >>> state = network.start(torch.Size([10]))
        >>> first, state = network.step(state, None)
        >>> second, state = network.step(state, x[:, 0])
        >>> torch.allclose(second, network(x)[:, 1], atol=1e-6)
        True
    """

    def __init__(
        self,
        features: Shape,
        outputs: int,
        context: Shape | None = 0,
        hidden: Sequence[int] = (64, 64),
        activation: str = "relu",
        zero_start: bool = False,
        channels: int | None = None,
    ) -> None:
        super().__init__(features, outputs, context, channels)
        self.activation = activation_function(activation)
        widths = [positive_int("hidden", width) for width in hidden]
        if not widths:
            raise ValueError("hidden: expected at least one layer size, got ()")

        # Without a context a hidden unit of degree 0 would see nothing at all; with one it sees the context.
        lowest = 0 if self.context or self.features == 1 else 1
        degrees = [torch.arange(1, self.features + 1).repeat_interleave(self.channels or 1)]
        for width in widths:
            degrees.append(lowest + torch.arange(width) * (self.features - lowest) // width)
        # A unit may look at degrees up to its own; position d at degrees up to d - 1.
        reach = [*degrees[1:], torch.arange(self.features).repeat_interleave(self.outputs)]

        linears = [nn.Linear(len(a), len(b)) for a, b in zip(degrees, reach, strict=True)]
        self.layers = nn.ModuleList(linears)
        self.context_layer = nn.Linear(self.context, widths[0], bias=False) if self.context else None
        self._panels = []
        for i, (a, b) in enumerate(zip(degrees, reach, strict=True)):
            mask = b[:, None] >= a[None, :]
            self.register_buffer(f"mask_{i}", mask, persistent=False)
            self._panels.append(panels(mask.sum(dim=1).tolist(), len(a)))
        # counts[i][m]: how many units of layer i (or, last, outputs) have degree m
        self._counts = [[int((d == m).sum()) for m in range(self.features)] for d in degrees]
        self._counts.append([self.outputs] * self.features)
        if zero_start:
            nn.init.zeros_(linears[-1].weight)
            nn.init.zeros_(linears[-1].bias)

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        return self.forward_with(self.weights(), x, context)

    def start(self, batch_shape: torch.Size, context: Tensor | None = None) -> MaskedMLPState:
        return self.start_with(self.weights(), batch_shape, context)

    def weights(self) -> Weights:
        """Of every layer, before they are masked."""
        return [(layer.weight, layer.bias) for layer in self.layers if isinstance(layer, nn.Linear)]

    def forward_with(self, weights: Weights, x: Tensor, context: Tensor | None = None) -> Tensor:
        """`forward` with other weights, whose shapes are those of `weights()`."""
        x, context = as_vectors(x, self.event_shape), self._context_vectors(context)
        batch_shape, dtype = batch_of(x, context), self.product_dtype
        h = as_rows(x, batch_shape)
        last = len(weights) - 1
        for i, (dense, bias) in enumerate(weights):
            weight = dense * self.get_buffer(f"mask_{i}")
            if i == last or len(self._panels[i]) > 1:
                h = staircase_product(weight, bias, self.activation(h.mT) if i else h.mT, self._panels[i], dtype).mT
            elif i:
                h = by_rows(weight, bias, self.activation(h), dtype)
            else:
                h = from_input(weight, bias, h, dtype)
            if i == 0 and self.context_layer is not None:
                h = h + as_rows(self.context_layer(context), batch_shape)
        return from_columns(h.mT.to(x.dtype), batch_shape).unflatten(-1, (*self.positions, self.outputs))

    def start_with(self, weights: Weights, batch_shape: torch.Size, context: Tensor | None = None) -> MaskedMLPState:
        """`start` with other weights, whose shapes are those of `weights()`."""
        context = self._context_vectors(context)
        layers = Staircases([w for w, _ in weights], [b for _, b in weights], self._counts, self.activation)
        kind, (weight, _) = InPlaceSteps if may_write() else RecordedSteps, weights[0]
        if context is not None and autocasts(weight.device):  # what autocast made may be half as wide
            context = context.to(torch.promote_types(context.dtype, weight.dtype))
        with no_autocast(weight.device):
            from_context = None if self.context_layer is None else as_rows(self.context_layer(context), batch_shape).mT
            return MaskedMLPState(batch_shape, kind(layers, batch_shape.numel(), from_context))

    def step(self, state: MaskedMLPState, x_previous: Tensor | None) -> tuple[Tensor, MaskedMLPState]:
        """The outputs of the next position.

        Raises:
            ValueError: x_previous is not of the dtype of the parameters.
        """
        weight = state.steps.layers.weights[0]
        if x_previous is not None and x_previous.dtype != weight.dtype:
            raise ValueError(f"x_previous: expected dtype {weight.dtype} (the network's), got {x_previous.dtype}")
        with no_autocast(weight.device):
            y = state.steps.step(None if x_previous is None else x_previous.reshape(-1, self.channels or 1).mT)
        return from_columns(y, state.batch_shape), state

    def _context_vectors(self, context: Tensor | None) -> Tensor | None:
        return None if context is None or self.context_shape is None else as_vectors(context, self.context_shape)
