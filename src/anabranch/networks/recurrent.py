"""Recurrent network of gated units (GRU)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from anabranch.checks import positive_int
from anabranch.kernels.layout import as_rows, batch_of, by_rows
from anabranch.kernels.modes import takes_operations_alone
from anabranch.networks.causal_window import CausalWindow, WindowSteps
from anabranch.networks.context_shifts import ContextShifts
from anabranch.networks.layered import LayeredCausalNetwork
from anabranch.networks.network import Shape, as_vectors


@dataclass
class RecurrentState:
    """The states of all layers, their weights, and what the context adds to what each reads."""

    batch_shape: torch.Size
    window: WindowSteps
    shifts: list[Tensor | None]
    weights: list[list[nn.Parameter]]
    memories: list[Tensor]


class Recurrent(LayeredCausalNetwork):
    r"""Gated recurrent units in layers, with residuals (GRU; Cho et al., 2014, arXiv:1406.1078):

    .. math:: s_{l,d} = \mathrm{GRU}_l(h_{l-1,d} + V_l c, \; s_{l,d-1}), \qquad h_{l,d} = h_{l-1,d} + s_{l,d}, \qquad
              y_d = R h_{L,d}.

    h_0 at position d is a linear map of the value before it, and s before the first position is 0. A position sees
    everything before it, and a step keeps the states alone.

    Recurrences multiply in the dtype of the parameters, whatever `product_dtype` says, since what one position rounds all
    later ones inherit. Forward is `torch.nn.GRU`, in transforms of `torch.func` a step for each position. `torch.compile`
    does not take it: of a compiled density with such a network in it, log_prob stays as it is.

    Args:
        features: number of positions D, or their shape; they come row by row, as one sequence.
        outputs: numbers per position.
        context: size of the context, or its shape; 0 for none. Every layer reads it at every position.
        hidden: width of h and of the states s.
        layers: L.
        embed_positions: whether each position has a learned vector, which is added to h_0.
        zero_start: start with the last layer at zero, so that every output starts at 0.
        channels: numbers in one position; None: one number, and x has no dimension for them.

    Raises:
        ValueError: numbers below 1.

    Example:
        >>> import torch
        >>> from anabranch.networks import Recurrent
        >>> network = Recurrent(features=5, outputs=2, hidden=16)
        >>> x = torch.randn(10, 5)
        >>> network(x).shape
        torch.Size([10, 5, 2])
        >>> state = network.start(torch.Size([10]))
        >>> first, state = network.step(state, None)
        >>> second, state = network.step(state, x[:, 0])
        >>> torch.allclose(second, network(x)[:, 1], atol=1e-6)
        True
    """

    unrolls = True

    def __init__(
        self,
        features: Shape,
        outputs: int,
        context: Shape | None = 0,
        hidden: int = 128,
        layers: int = 2,
        embed_positions: bool = False,
        zero_start: bool = False,
        channels: int | None = None,
    ) -> None:
        super().__init__(features, outputs, context, channels)
        width, count = positive_int("hidden", hidden), positive_int("layers", layers)
        self.widths: Sequence[int] = [width] * count
        self.window = CausalWindow(self.positions, self.channels or 1, width, 1, embed_positions)
        self.recurrences = nn.ModuleList(nn.GRU(width, width, batch_first=True) for _ in range(count))
        self.shifts = ContextShifts(self.context, [width] * count)
        self.last = nn.Linear(width, self.outputs)
        if zero_start:
            for parameter in self.last.parameters():
                nn.init.zeros_(parameter)

    def hidden(self, x: Tensor, context: Tensor | None = None) -> list[Tensor]:
        x, context = as_vectors(x, self.event_shape), self._context_vectors(context)
        batch_shape = batch_of(x, context)
        shape = (*batch_shape, *self.positions, self.widths[0])
        h = self.window(as_rows(x, batch_shape), self.product_dtype).to(self.last.weight.dtype)
        states = []
        for recurrence, shift in zip(self.recurrences, self.shifts(context, batch_shape), strict=True):
            h = h + _states(recurrence, h if shift is None else h + shift.unsqueeze(1))
            states.append(h.reshape(shape))
        return states

    def read(self, h: Tensor) -> Tensor:
        weight = self.last.weight
        return by_rows(weight, self.last.bias, h, self.product_dtype).to(weight.dtype)

    def start(self, batch_shape: torch.Size, context: Tensor | None = None) -> RecurrentState:
        rows, shifts = batch_shape.numel(), self.shifts(self._context_vectors(context), batch_shape)
        nothing = [self.last.weight.new_zeros(rows, width) for width in self.widths]
        weights = [list(recurrence.parameters()) for recurrence in self.recurrences]
        return RecurrentState(batch_shape, self.window.start(rows), shifts, weights, nothing)

    def enter(self, state: RecurrentState, x_previous: Tensor | None) -> tuple[Tensor, RecurrentState]:
        return state.window.step(x_previous), state

    def deepen(
        self, state: RecurrentState, depth: int, h: Tensor, rows: Tensor | None = None
    ) -> tuple[Tensor, RecurrentState]:
        layer, shift = depth - 1, state.shifts[depth - 1]
        s = _next(h if shift is None else h + shift, state.memories[layer], state.weights[layer])
        state.memories[layer] = s
        return h + s, state

    def batch_of(self, state: RecurrentState) -> torch.Size:
        return state.batch_shape

    def _context_vectors(self, context: Tensor | None) -> Tensor | None:
        return None if context is None or self.context_shape is None else as_vectors(context, self.context_shape)


def _states(recurrence: nn.Module, u: Tensor) -> Tensor:
    """s of all positions, (rows, positions, width), where u is of the same shape."""
    if not takes_operations_alone():
        states: Tensor = recurrence(u)[0]
        return states
    s, weights = torch.zeros_like(u[:, 0]), list(recurrence.parameters())
    each = []
    for u_d in u.unbind(1):
        s = _next(u_d, s, weights)
        each.append(s)
    return torch.stack(each, dim=1)


def _next(u: Tensor, s: Tensor, weights: Sequence[Tensor]) -> Tensor:
    """GRU(u, s), for weights of u, of s, and their biases, each of r, z and n."""
    if not takes_operations_alone():
        return torch.gru_cell(u, s, *weights)
    of_u, of_s, shift_u, shift_s = weights
    (r_u, z_u, n_u), (r_s, z_s, n_s) = linear(u, of_u, shift_u).chunk(3, -1), linear(s, of_s, shift_s).chunk(3, -1)
    n = torch.tanh(n_u + torch.sigmoid(r_u + r_s) * n_s)
    return n + torch.sigmoid(z_u + z_s) * (s - n)
