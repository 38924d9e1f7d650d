"""Stacks of dilated causal convolutions (WaveNet)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle, islice

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from anabranch.checks import numbers_below, positive_int
from anabranch.kernels.layout import as_rows, batch_of, by_rows, cast
from anabranch.networks.causal_window import CausalWindow, WindowSteps
from anabranch.networks.context_shifts import ContextShifts
from anabranch.networks.dilated_convolution import DilatedConvolution, DilatedSteps
from anabranch.networks.layered import LayeredCausalNetwork
from anabranch.networks.network import Shape, as_vectors


@dataclass
class CausalConvolutionState:
    """What every layer keeps of the positions before, and (u_l, h_l) of the position at hand, side by side."""

    batch_shape: torch.Size
    window: WindowSteps
    layers: list[DilatedSteps]
    mixing: list[Tensor]
    beginning: Tensor
    stream: Tensor


class CausalConvolution(LayeredCausalNetwork):
    r"""Dilated causal convolutions with gates, residuals and skips (WaveNet; van den Oord et al., 2016, arXiv:1609.03499,
    equations 1 to 4):

    .. math:: g_l = \tanh(V_l * u_{l-1} + A_l c) \cdot \sigma(W_l * u_{l-1} + B_l c), \qquad
              u_l = u_{l-1} + R_l g_l, \qquad h_l = h_{l-1} + S_l g_l,

    .. math:: y = P a(Q a(h_L) + q) + p, \qquad a = \max(\cdot, 0).

    u_0 at position d is a linear map of the value before it, and h_0 a vector. A convolution * with k taps and dilation s
    reads u at d, d - s, ..., d - (k - 1) s, where u is zero before the first position. The last layer has no R_L.

    Steps keep in a ring, for every layer, the values that its taps will reach. A step multiplies one matrix for the taps of
    a layer and one for R_l and S_l: all steps together cost the multiply-adds of one forward pass.

    Args:
        features: number of positions D, or their shape; they come row by row, as one sequence.
        outputs: numbers per position.
        context: size of the context, or its shape; 0 for none. It conditions every gate.
        hidden: width of the residual stream u and of the gates g.
        skip: width of the skips h.
        layers: L.
        kernel_size: k, the number of taps.
        dilations: those of the layers, over again from the first where there are more layers; by default 1, 2, 4, ... as
            long as they are below D.
        embed_positions: whether each position has a learned vector, which is added to u_0.
        zero_start: start with the last layer at zero, so that every output starts at 0.
        channels: numbers in one position; None: one number, and x has no dimension for them.

    Raises:
        ValueError: numbers below 1, no dilations.

    Example:
        >>> import torch
        >>> from anabranch.networks import CausalConvolution
        >>> network = CausalConvolution(features=64, outputs=2, hidden=16, skip=16, layers=4)
        >>> network(torch.randn(10, 64)).shape
        torch.Size([10, 64, 2])
        >>> network.dilations
        [1, 2, 4, 8]
        >>> int(network.receptive_field[-1].sum())
        16
    """

    def __init__(
        self,
        features: Shape,
        outputs: int,
        context: Shape | None = 0,
        hidden: int = 64,
        skip: int = 64,
        layers: int = 10,
        kernel_size: int = 2,
        dilations: Sequence[int] | None = None,
        embed_positions: bool = False,
        zero_start: bool = False,
        channels: int | None = None,
    ) -> None:
        super().__init__(features, outputs, context, channels)
        width, readable = positive_int("hidden", hidden), positive_int("skip", skip)
        count, taps = positive_int("layers", layers), positive_int("kernel_size", kernel_size)
        self.dilations = _dilations(dilations, self.features, count)
        self.widths: Sequence[int] = [readable] * count
        self.hidden_width = width
        self.window = CausalWindow(self.positions, self.channels or 1, width, 1, embed_positions)
        self.convolutions = nn.ModuleList(DilatedConvolution(width, 2 * width, taps, s) for s in self.dilations)
        # R_l above S_l
        self.mixing = nn.ModuleList(
            nn.Linear(width, readable + (width if layer < count - 1 else 0), bias=False) for layer in range(count)
        )
        self.beginning = nn.Parameter(torch.zeros(readable))
        self.shifts = ContextShifts(self.context, [2 * width] * count)
        self.inner, self.last = nn.Linear(readable, readable), nn.Linear(readable, self.outputs)
        if zero_start:
            for parameter in self.last.parameters():
                nn.init.zeros_(parameter)

    @property
    def receptive_field(self) -> Tensor:
        """(features, features), at [d, e] whether the outputs of position d depend on x_e."""
        back = torch.zeros(self.features, dtype=torch.bool)
        back[0] = True
        for convolution in self._convolutions():
            taps = range(0, min(convolution.kernel_size * convolution.dilation, self.features), convolution.dilation)
            back = torch.stack([back.roll(s).index_fill(0, torch.arange(s), False) for s in taps]).any(dim=0)
        # back[i]: whether d looks at position d - 1 - i
        places = torch.arange(self.features)
        distance = places.unsqueeze(1) - 1 - places
        return back[distance.clamp(min=0)] & (distance >= 0)

    def hidden(self, x: Tensor, context: Tensor | None = None) -> list[Tensor]:
        x, context = as_vectors(x, self.event_shape), self._context_vectors(context)
        batch_shape, dtype = batch_of(x, context), self.product_dtype
        shape = (*batch_shape, *self.positions, self.widths[0])
        shifts = self.shifts(context, batch_shape, dtype)
        u = self.window(as_rows(x, batch_shape), dtype)
        (h,) = cast(dtype, self.beginning)
        states = []
        for convolution, mixing, shift in zip(self.convolutions, self._mixing(), shifts, strict=True):
            z = convolution(u, dtype)
            mixed = linear(*cast(dtype, _gated(z if shift is None else z + shift.unsqueeze(1)), mixing))
            if mixed.shape[-1] > self.widths[0]:
                to_u, mixed = mixed.split([self.hidden_width, self.widths[0]], dim=-1)
                u = u + to_u
            h = h + mixed
            states.append(h.reshape(shape))
        return states

    def read(self, h: Tensor) -> Tensor:
        inner, last, dtype = self.inner, self.last, self.product_dtype
        h = by_rows(inner.weight, inner.bias, torch.relu(h), dtype)
        return by_rows(last.weight, last.bias, torch.relu(h), dtype).to(last.weight.dtype)

    def start(self, batch_shape: torch.Size, context: Tensor | None = None) -> CausalConvolutionState:
        rows, shifts = batch_shape.numel(), self.shifts(self._context_vectors(context), batch_shape)
        beginning = self.beginning.expand(rows, -1)
        return CausalConvolutionState(
            batch_shape,
            self.window.start(rows),
            [layer.start(rows, shift) for layer, shift in zip(self._convolutions(), shifts, strict=True)],
            [weight.mT for weight in self._mixing()],
            beginning,
            beginning,
        )

    def enter(self, state: CausalConvolutionState, x_previous: Tensor | None) -> tuple[Tensor, CausalConvolutionState]:
        state.stream = torch.cat([state.window.step(x_previous), state.beginning], dim=-1)
        return state.beginning, state

    def deepen(
        self, state: CausalConvolutionState, depth: int, h: Tensor, rows: Tensor | None = None
    ) -> tuple[Tensor, CausalConvolutionState]:
        # h is in the stream already
        z = state.layers[depth - 1].step(state.stream[:, : self.hidden_width])
        if depth == self.depths:
            return torch.addmm(state.stream[:, self.hidden_width :], _gated(z), state.mixing[depth - 1]), state
        state.stream = torch.addmm(state.stream, _gated(z), state.mixing[depth - 1])
        return state.stream[:, self.hidden_width :], state

    def batch_of(self, state: CausalConvolutionState) -> torch.Size:
        return state.batch_shape

    def _convolutions(self) -> list[DilatedConvolution]:
        return [layer for layer in self.convolutions if isinstance(layer, DilatedConvolution)]

    def _mixing(self) -> list[Tensor]:
        return [layer.weight for layer in self.mixing if isinstance(layer, nn.Linear)]

    def _context_vectors(self, context: Tensor | None) -> Tensor | None:
        return None if context is None or self.context_shape is None else as_vectors(context, self.context_shape)


def _gated(z: Tensor) -> Tensor:
    values, gates = z.chunk(2, dim=-1)
    return torch.tanh(values) * torch.sigmoid(gates)


def _dilations(given: Sequence[int] | None, features: int, layers: int) -> list[int]:
    """One for each layer."""
    powers = [2**i for i in range(max(1, (features - 1).bit_length()))]
    known = powers if given is None else numbers_below("dilations", given)
    if not known or min(known) == 0:
        raise ValueError(f"dilations: expected a list of at least one number, each of at least 1, got {given!r}")
    return list(islice(cycle(known), layers))
