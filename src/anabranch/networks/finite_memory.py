"""A multilayer perceptron over the last values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from anabranch.checks import positive_int
from anabranch.kernels.layout import as_rows, batch_of, by_rows
from anabranch.networks.activation import activation_function
from anabranch.networks.causal_window import CausalWindow, Memory, WindowSteps
from anabranch.networks.context_shifts import ContextShifts
from anabranch.networks.layered import LayeredCausalNetwork
from anabranch.networks.network import Shape, as_vectors


@dataclass
class FiniteMemoryState:
    """The values so far, and what the context adds to every layer."""

    batch_shape: torch.Size
    window: WindowSteps
    shifts: list[Tensor | None]


class FiniteMemory(LayeredCausalNetwork):
    r"""A residual network over a window of the values before each position, the same at every position:

    .. math:: h_0 = W (x_{d-m}, \ldots, x_{d-1}) + b_d + V_0 c, \qquad h_l = h_{l-1} + B_l a(A_l a(h_{l-1}) + V_l c), \qquad
              y_d = R a(h_L).

    Values before the first are zeros, and b_d = b + M o_d + e_d, where o_d marks their places with ones: nothing before a
    position differs from zeros before it.

    Sources: Bengio et al., 2003, "A neural probabilistic language model"; blocks as in He et al., 2016, whose second matrix
    starts at zero.

    Args:
        features: number of positions D, or their shape; they come row by row.
        outputs: numbers per position.
        context: size of the context, or its shape; 0 for none. Every layer sees all of it.
        memory: m, how many of the last values are seen; or, for features (height, width), (rows, columns): so many rows
            above, each with so many columns to both sides, and so many columns to the left.
        hidden: width of the residual stream.
        layers: L, the number of residual blocks.
        activation: "relu", "silu", "gelu", "elu" or "tanh".
        embed_positions: whether each position has a learned vector e_d; else there is none.
        zero_start: start with the last layer at zero, so that every output starts at 0.
        channels: numbers in one position; None: one number, and x has no dimension for them.

    Raises:
        ValueError: numbers below 1; a memory of two numbers for features that are no image.

    Example:
        >>> import torch
        >>> from anabranch.networks import FiniteMemory
        >>> network = FiniteMemory((8, 8), outputs=2, memory=(2, 2), hidden=32)
        >>> network(torch.randn(10, 8, 8)).shape
        torch.Size([10, 8, 8, 2])
        >>> network.receptive_field[3 * 8 + 4].reshape(8, 8).int()[:4]
        tensor([[0, 0, 0, 0, 0, 0, 0, 0],
                [0, 0, 1, 1, 1, 1, 1, 0],
                [0, 0, 1, 1, 1, 1, 1, 0],
                [0, 0, 1, 1, 0, 0, 0, 0]], dtype=torch.int32)
    """

    leaves_early = True

    def __init__(
        self,
        features: Shape,
        outputs: int,
        context: Shape | None = 0,
        memory: Memory = 16,
        hidden: int = 128,
        layers: int = 2,
        activation: str = "relu",
        embed_positions: bool = False,
        zero_start: bool = False,
        channels: int | None = None,
    ) -> None:
        super().__init__(features, outputs, context, channels)
        width, count = positive_int("hidden", hidden), positive_int("layers", layers)
        self.widths: Sequence[int] = [width] * count
        a = self.activation = activation_function(activation)
        self.window = CausalWindow(self.positions, self.channels or 1, width, memory, embed_positions)
        self.blocks = nn.ModuleList(_Block(width, a) for _ in range(count))
        self.shifts = ContextShifts(self.context, [width] * (count + 1))
        self.last = nn.Linear(width, self.outputs)
        if zero_start:
            for parameter in self.last.parameters():
                nn.init.zeros_(parameter)

    @property
    def receptive_field(self) -> Tensor:
        """(features, features), at [d, e] whether the outputs of position d depend on x_e."""
        return self.window.receptive_field

    def hidden(self, x: Tensor, context: Tensor | None = None) -> list[Tensor]:
        x, context = as_vectors(x, self.event_shape), self._context_vectors(context)
        batch_shape, dtype = batch_of(x, context), self.product_dtype
        shape = (*batch_shape, *self.positions, self.widths[0])
        shifts = [s if s is None else s.unsqueeze(1) for s in self.shifts(context, batch_shape, dtype)]
        h = _shifted(self.window(as_rows(x, batch_shape), dtype), shifts[0])
        states = []
        for block, shift in zip(self.blocks, shifts[1:], strict=True):
            h = block(h, shift, dtype)
            states.append(h.reshape(shape))
        return states

    def read(self, h: Tensor) -> Tensor:
        weight = self.last.weight
        return by_rows(weight, self.last.bias, self.activation(h), self.product_dtype).to(weight.dtype)

    def start(self, batch_shape: torch.Size, context: Tensor | None = None) -> FiniteMemoryState:
        shifts = self.shifts(self._context_vectors(context), batch_shape)
        return FiniteMemoryState(batch_shape, self.window.start(batch_shape.numel()), shifts)

    def enter(self, state: FiniteMemoryState, x_previous: Tensor | None) -> tuple[Tensor, FiniteMemoryState]:
        return _shifted(state.window.step(x_previous), state.shifts[0]), state

    def deepen(
        self, state: FiniteMemoryState, depth: int, h: Tensor, rows: Tensor | None = None
    ) -> tuple[Tensor, FiniteMemoryState]:
        shift = state.shifts[depth]
        return self.blocks[depth - 1](h, shift if rows is None or shift is None else shift[rows]), state

    def batch_of(self, state: FiniteMemoryState) -> torch.Size:
        return state.batch_shape

    def _context_vectors(self, context: Tensor | None) -> Tensor | None:
        return None if context is None or self.context_shape is None else as_vectors(context, self.context_shape)


class _Block(nn.Module):
    """h + B a(A a(h) + shift), where B starts at zero."""

    def __init__(self, width: int, activation: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.activation = activation
        self.inner = nn.Linear(width, width)
        self.outer = nn.Linear(width, width)
        nn.init.zeros_(self.outer.weight)
        nn.init.zeros_(self.outer.bias)

    def forward(self, h: Tensor, shift: Tensor | None, dtype: torch.dtype | None = None) -> Tensor:
        u = by_rows(self.inner.weight, self.inner.bias, self.activation(h), dtype)
        return h + by_rows(self.outer.weight, self.outer.bias, self.activation(_shifted(u, shift)), dtype)


def _shifted(h: Tensor, shift: Tensor | None) -> Tensor:
    return h if shift is None else h + shift
