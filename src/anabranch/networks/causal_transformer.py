"""Causal transformer."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import dropout

from anabranch.checks import fraction, one_of, positive_int
from anabranch.kernels.layout import as_rows, by_rows
from anabranch.networks.layered import LayeredCausalNetwork
from anabranch.networks.network import Shape, as_vectors
from anabranch.networks.transformer_block import KeysAndValues, TransformerBlock


@dataclass
class CausalTransformerState:
    """What the steps so far have computed.

    Attributes:
        batch_shape: of the events.
        place: how many positions are done.
        shifts: what is added to the value before each position, (positions, width) or (positions, rows, width).
        kept: keys and values of each layer.
    """

    batch_shape: torch.Size
    place: int
    shifts: Tensor
    kept: list[KeysAndValues]


class CausalTransformer(LayeredCausalNetwork):
    r"""Transformer in which a position attends to those before it: h_0 is made of the values moved on by one position.

    .. math:: h_{0,d} = E x_{d-1} + p_d + V c, \qquad h_l = \text{block}_l(h_{l-1}), \qquad y_d = R\, n(h_{L,d}) + r

    In the place of E x_0 stands a learned vector. p_d is learned; over positions of several dimensions it is the sum of a
    vector for each coordinate, of the row and of the column. A block is attention and an MLP, pre-norm
    (`TransformerBlock`).

    A step keeps keys and values: it costs its share of the one pass that `forward` is. With `reads="each"` every layer's
    keys and values come from the layer below it, as usual. With `reads="first"` all of them come from h_0: a layer at one
    position then needs no deep layer at another, so that a position may leave the stack early (`leaves_early`).

    Source: Vaswani et al., 2017, "Attention is all you need", arXiv:1706.03762, section 3; the norms come before each part,
    as in Radford et al., 2019, "Language models are unsupervised multitask learners", section 2.3.

    Args:
        features: number of positions D, or their shape; they come row by row.
        outputs: numbers per position.
        context: size of the context, or its shape; 0 for none. It is added to every position.
        hidden: width of the stream.
        layers: L.
        heads: of the attention; they share the width evenly.
        expansion: the MLPs' inner units for each of the stream's.
        reads: "each" or "first", where keys and values come from.
        dropout: share of what each part adds to the stream that a fit silences. Steps silence nothing.
        zero_start: start with the last layer at zero, so that every output starts at 0.
        channels: numbers in one position; None: one number, and x has no dimension for them.

    Raises:
        ValueError: a width that the heads cannot share.

    Example:
        >>> import torch
        >>> from anabranch.networks import CausalTransformer
        >>> network = CausalTransformer((8, 8), outputs=3, hidden=32, layers=2, heads=2)
        >>> x = torch.randn(10, 8, 8)
        >>> network(x).shape
        torch.Size([10, 8, 8, 3])
    """

    def __init__(
        self,
        features: Shape,
        outputs: int,
        context: Shape | None = 0,
        hidden: int = 128,
        layers: int = 4,
        heads: int = 4,
        expansion: int = 4,
        reads: str = "each",
        dropout: float = 0.0,
        zero_start: bool = False,
        channels: int | None = None,
    ) -> None:
        super().__init__(features, outputs, context, channels)
        width, count = positive_int("hidden", hidden), positive_int("layers", layers)
        if width % positive_int("heads", heads):
            raise ValueError(f"hidden: expected a multiple of {heads}, the number of heads, got {width}")
        self.widths = [width] * count
        self.leaves_early = one_of("reads", reads, ("each", "first")) == "first"
        self.dropout = fraction("dropout", dropout)
        self.first = nn.Linear(self.channels or 1, width, bias=False)
        self.beginning = nn.Parameter(torch.zeros(width))
        self.places = nn.ParameterList(nn.init.normal_(torch.empty(size, width), std=0.1) for size in self.positions)
        self.of_context = nn.Linear(self.context, width, bias=False) if self.context else None
        # the sum of 2 L parts is then no larger than one of them
        scale = 1 / math.sqrt(2 * count)
        self.blocks = nn.ModuleList(
            TransformerBlock(width, heads, positive_int("expansion", expansion), scale, self.dropout)
            for _ in range(count)
        )
        self.source_norm = nn.LayerNorm(width) if self.leaves_early else None
        self.norm, self.last = nn.LayerNorm(width), nn.Linear(width, self.outputs)
        if zero_start:
            for parameter in self.last.parameters():
                nn.init.zeros_(parameter)

    @property
    def receptive_field(self) -> Tensor:
        """(features, features), at [d, e] whether the outputs of position d depend on x_e: on all before."""
        return torch.ones(self.features, self.features, dtype=torch.bool).tril(-1)

    def hidden(self, x: Tensor, context: Tensor | None = None) -> list[Tensor]:
        batch, dtype = x.shape[: x.dim() - len(self.event_shape)], self.product_dtype
        context = self._context_vectors(context)
        if context is not None:
            batch = torch.broadcast_shapes(batch, context.shape[:-1])
        x = x.expand(*batch, *self.event_shape).reshape(batch.numel(), self.features, self.channels or 1)
        shifts = self._shifts(context, batch)
        h = torch.cat([shifts[:1].expand(1, len(x), -1), self.first(x[:, :-1]).transpose(0, 1) + shifts[1:]])
        h = h.transpose(0, 1)
        h = dropout(h, self.dropout, self.training) if self.dropout else h
        source, states = None if self.source_norm is None else self.source_norm(h), []
        for block in self._blocks():
            h = block(h, source, dtype)
            states.append(h.reshape(*batch, *self.positions, h.shape[-1]))
        return states

    def read(self, h: Tensor) -> Tensor:
        return by_rows(self.last.weight, self.last.bias, self.norm(h), self.product_dtype).to(h.dtype)

    def start(self, batch_shape: torch.Size, context: Tensor | None = None) -> CausalTransformerState:
        shifts = self._shifts(self._context_vectors(context), batch_shape)
        kept = [
            KeysAndValues.like(block.keys_values.weight[:, 0], batch_shape.numel(), self.features, block.heads)
            for block in self._blocks()
        ]
        return CausalTransformerState(batch_shape, 0, shifts, kept)

    def batch_of(self, state: CausalTransformerState) -> torch.Size:
        return state.batch_shape

    def enter(self, state: CausalTransformerState, x_previous: Tensor | None) -> tuple[Tensor, CausalTransformerState]:
        dtype, h = self.first.weight.dtype, state.shifts[state.place]
        if x_previous is not None and x_previous.dtype != dtype:
            raise ValueError(f"x_previous: expected dtype {dtype} (the network's), got {x_previous.dtype}")
        if x_previous is not None and state.place:
            h = h + self.first(x_previous.reshape(-1, self.channels or 1))
        h = h.expand(state.batch_shape.numel(), -1)
        state.place += 1
        if self.source_norm is not None:
            source = self.source_norm(h)
            for block, kept in zip(self._blocks(), state.kept, strict=True):
                kept.append(block.told(source))
        return h, state

    def deepen(
        self, state: CausalTransformerState, depth: int, h: Tensor, rows: Tensor | None = None
    ) -> tuple[Tensor, CausalTransformerState]:
        block, kept = self._blocks()[depth - 1], state.kept[depth - 1]
        if self.source_norm is None:
            kept.append(block.told(block.attention_norm(h)))
        return block.attend(h, kept, rows), state

    def _shifts(self, context: Tensor | None, batch: torch.Size) -> Tensor:
        """What is added to the value before each position: (positions, 1 or rows, width)."""
        shifts = self.first.weight.new_zeros(*self.positions, self.widths[0])
        for i, places in enumerate(self.places):
            shifts = shifts + places.reshape(-1, *[1] * (len(self.positions) - 1 - i), self.widths[0])
        shifts = shifts.flatten(0, -2)
        shifts = torch.cat([shifts[:1] + self.beginning, shifts[1:]]).unsqueeze(1)
        if context is None or self.of_context is None:
            return shifts
        return shifts + as_rows(self.of_context(context), batch)

    def _blocks(self) -> list[TransformerBlock]:
        return [block for block in self.blocks if isinstance(block, TransformerBlock)]

    def _context_vectors(self, context: Tensor | None) -> Tensor | None:
        return None if context is None or self.context_shape is None else as_vectors(context, self.context_shape)
