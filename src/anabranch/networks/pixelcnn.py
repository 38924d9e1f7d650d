"""Gated PixelCNN."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, pad, silu

from anabranch.checks import fraction, positive_int
from anabranch.kernels.layout import cast
from anabranch.networks.layered import LayeredCausalNetwork
from anabranch.networks.network import Shape
from anabranch.networks.pixel_stacks import PixelsToTheLeft, RowsAbove, convolve, gated, order_mask
from anabranch.networks.pixel_steps import PixelCNNState, PixelRow


class PixelCNN(LayeredCausalNetwork):
    r"""Gated PixelCNN: each pixel sees the rows above and the pixels to its left, by two stacks of convolutions.

    .. math::
        v_l &= v_{l-1} + g(W_l * v_{l-1} + V_l c), \qquad g(a, b) = \tanh(a / 2) \odot \sigma(b) \\
        h_l &= h_{l-1} + U_l\, g(W'_l * h_{l-1} + M_l v_l + V'_l c) \\
        y &= B\, s(A\, s(h_L) + a) + b, \qquad s(u) = u\, \sigma(u)

    The vertical stack v reads whole rows, k pixels wide and k // 2 of them before the one at hand; v_0 reads the rows above
    alone, so that no row of v knows of its pixels. The horizontal stack h reads k // 2 pixels to the left of the one at
    hand, and h_0 those alone. Together they see every pixel above and to the left within reach: there is no blind spot.
    The convolutions are shifted and padded, in place of masks, so that none multiplies by zero (but those of an order of
    channels).

    In steps, the vertical stack of a row is computed at once as the row begins, from its rows above that are kept; then each
    pixel costs two small products a horizontal layer. What steps keep is made in the dtype of the parameters.

    Source: van den Oord et al., 2016, "Conditional image generation with PixelCNN decoders", arXiv:1606.05328, section 2.
    The vertical stack is residual too, and what it tells is taken after its gate. Skip connections to the read-out are the
    residual stream h itself.

    Args:
        features: the shape of the positions, (H, W), or with an order of channels (H, W, C): then each channel of a pixel
            sees the earlier ones too.
        outputs: numbers per position.
        context: the size of a vector, or the shape (c, H, W) of an image; 0 for none. It shifts every gate.
        hidden: units of each stack; with an order of channels, of each channel's part of the horizontal one.
        layers: how many layers there are.
        kernel_size: of the layers' convolutions, an odd number.
        first_kernel_size: of the convolution of x itself, an odd number.
        dropout: share of the units that a fit silences, each for a whole image. Steps drop none.
        embed_positions: whether each place has a learned vector, which is added to v_0 and h_0.
        zero_start: start with the last layer at zero, so that every output starts at 0.
        channels: numbers in one position; None: one number, and x has no dimension for them.

    Raises:
        ValueError: shapes that do not fit, an even kernel size.

    Example:
        >>> import torch
        >>> from anabranch.networks import PixelCNN
        >>> network = PixelCNN((8, 8), outputs=3, hidden=16, layers=4)
        >>> x = torch.randn(10, 8, 8)
        >>> network(x).shape
        torch.Size([10, 8, 8, 3])
        >>> int(network.receptive_field[-1].sum())  # the last pixel sees all before it
        63
    """

    def __init__(
        self,
        features: Sequence[int],
        outputs: int,
        context: Shape | None = 0,
        hidden: int = 32,
        layers: int = 8,
        kernel_size: int = 3,
        first_kernel_size: int = 7,
        dropout: float = 0.0,
        embed_positions: bool = True,
        zero_start: bool = False,
        channels: int | None = None,
    ) -> None:
        super().__init__(features, outputs, context, channels)
        if len(self.positions) not in (2, 3):
            raise ValueError(
                f"features: expected (height, width) or (height, width, ordered channels), got {tuple(self.positions)}"
            )
        self.height, self.width, *order = self.positions
        self.groups = order[0] if order else 1
        if self.context_shape is not None and len(self.context_shape) != 1:
            size = (self.height, self.width)
            if len(self.context_shape) != 3 or tuple(self.context_shape[1:]) != size:
                raise ValueError(
                    f"context: expected the size of a vector or (channels, {size[0]}, {size[1]}), "
                    f"got {tuple(self.context_shape)}"
                )
        units = positive_int("hidden", hidden)
        reach = _half("kernel_size", kernel_size)
        self.first_reach = _half("first_kernel_size", first_kernel_size)
        self.widths = [units] * positive_int("layers", layers)
        self.units, self.reach = units, reach
        numbers, across = self.groups * (self.channels or 1), self.groups * units
        self.numbers = numbers

        self.first_above = nn.Conv2d(
            numbers, units, (self.first_reach, first_kernel_size), padding=(0, self.first_reach)
        )
        # the pixel at hand is read for its earlier channels alone
        self.first_left = nn.Conv2d(numbers, across, (1, self.first_reach + (self.groups > 1)))
        if self.groups > 1:
            self.register_buffer(
                "first_mask", order_mask(self.first_left, self.groups, strictly=True), persistent=False
            )
        self.embed_positions = embed_positions
        if embed_positions:
            self.place_above = nn.Parameter(torch.zeros(self.height, self.width, units))
            self.place_left = nn.Parameter(torch.zeros(self.height, self.width, across))
        self.above = nn.ModuleList(RowsAbove(units, 2 * across, reach, kernel_size) for _ in self.widths)
        self.left = nn.ModuleList(PixelsToTheLeft(units, reach, self.groups) for _ in self.widths)
        self.dropout = nn.Dropout2d(fraction("dropout", dropout))
        self.read_inner = nn.Linear(units, units)
        self.read_outer = nn.Linear(units, self.outputs)
        if self.context_shape is not None:
            given = self.context
            self.of_image = None
            if len(self.context_shape) == 3:
                given = units
                self.of_image = nn.Conv2d(self.context_shape[0], units, kernel_size, padding=reach)
            self.of_context = nn.ModuleList(nn.Linear(given, 2 * units + 2 * across, bias=False) for _ in self.widths)
        if zero_start:
            nn.init.zeros_(self.read_outer.weight)
            nn.init.zeros_(self.read_outer.bias)

    @property
    def receptive_field(self) -> Tensor:
        """(features, features), at [d, e] whether the outputs of position d depend on x_e."""
        farthest = self.first_reach + self.depths * self.reach
        shape = (self.height, self.width, self.groups)
        row, column, channel = (
            place.flatten() for place in torch.meshgrid(*(torch.arange(size) for size in shape), indexing="ij")
        )
        up, left = row[:, None] - row, column[:, None] - column
        above = (up >= 1) & (up <= farthest) & (left.abs() <= farthest)
        before = (up == 0) & (left >= 1) & (left <= farthest)
        return above | before | ((up == 0) & (left == 0) & (channel[:, None] > channel))

    def hidden(self, x: Tensor, context: Tensor | None = None) -> list[Tensor]:
        batch, dtype = self._batch(x, context), self.product_dtype
        conditions = self._conditions(batch, context)
        x = x.expand(*batch, *self.event_shape).reshape(batch.numel(), self.height, self.width, self.numbers)
        (pixels,) = cast(dtype, x)
        v = convolve(self.first_above, pad(pixels[:, :-1], (0, 0, 0, 0, self.first_reach, 0)), dtype)
        if self.groups > 1:
            shifted = pad(pixels, (0, 0, self.first_reach, 0))
            h = convolve(self.first_left, shifted, dtype, self.get_buffer("first_mask"))
        else:
            h = convolve(self.first_left, pad(pixels[:, :, :-1], (0, 0, self.first_reach, 0)), dtype)
        if self.embed_positions:
            above, left = cast(dtype, self.place_above, self.place_left)
            v, h = v + above, h + left
        states = []
        for depth, (above_layer, left_layer) in enumerate(zip(*self._layers(), strict=True)):
            to_gate, to_message = self._condition(conditions, depth, slice(None), dtype)
            v = v + above_layer(pad(v, (0, 0, 0, 0, self.reach, 0)), to_gate, dtype)
            h = left_layer(h, above_layer.tell(v, to_message, dtype), self.dropout, dtype)
            states.append(h.to(x.dtype).reshape(*batch, *self.positions, self.units))
        return states

    def read(self, h: Tensor) -> Tensor:
        inner, outer = self.read_inner, self.read_outer
        g, a, b, c, d = cast(self.product_dtype, h, inner.weight, inner.bias, outer.weight, outer.bias)
        return linear(silu(linear(silu(g), a, b)), c, d).to(h.dtype)

    def start(self, batch_shape: torch.Size, context: Tensor | None = None) -> PixelCNNState:
        rows, like, reach = batch_shape.numel(), self.read_outer.weight, self.reach
        across = self.groups * self.units
        return PixelCNNState(
            batch_shape,
            self._conditions(batch_shape, context),
            0,
            PixelRow.of(like, rows, self.first_reach * self.numbers, self.width * self.numbers),
            like.new_zeros(rows, self.first_reach, self.width, self.numbers),
            [PixelRow.of(like, rows, reach * across, self.width * across) for _ in self.widths],
            [like.new_zeros(rows, reach, self.width, self.units) for _ in self.widths],
            [],
            self._taps(self.first_left, self.first_reach, self.channels or 1, own=False),
            [self._taps(layer.convolution, reach, self.units, own=True) for layer in self._layers()[1]],
            [[w[:, :, 0, 0].t() for w in layer.out.weight.chunk(self.groups)] for layer in self._layers()[1]],
        )

    def batch_of(self, state: PixelCNNState) -> torch.Size:
        return state.batch_shape

    def enter(self, state: PixelCNNState, x_previous: Tensor | None) -> tuple[Tensor, PixelCNNState]:
        dtype = self.read_outer.weight.dtype
        if x_previous is not None and x_previous.dtype != dtype:
            raise ValueError(f"x_previous: expected dtype {dtype} (the network's), got {x_previous.dtype}")
        if x_previous is not None and state.place > 0:
            state.x_row.append(x_previous.reshape(-1, self.channels or 1))
        row, column, channel = self._where(state.place)
        if column == 0 and channel == 0:
            self._begin_row(state, row)
        weight = state.first_taps[channel]
        units = slice(channel * self.units, (channel + 1) * self.units)
        bias = self.first_left.get_parameter("bias")[units]
        bias = bias + self.place_left[row, column, units] if self.embed_positions else bias
        begin = column * self.numbers
        h = torch.addmm(bias, state.x_row.window(begin, begin + len(weight)), weight)
        state.place += 1
        return h, state

    def deepen(
        self, state: PixelCNNState, depth: int, h: Tensor, rows: Tensor | None = None
    ) -> tuple[Tensor, PixelCNNState]:
        _, column, channel = self._where(state.place - 1)
        known, weight = state.h_row[depth - 1], state.taps[depth - 1][channel]
        known.append(h)
        begin = column * self.groups * self.units
        message = state.messages[depth - 1][:, column, 2 * channel * self.units : 2 * (channel + 1) * self.units]
        u = torch.addmm(message, known.window(begin, begin + len(weight)), weight)
        return torch.addmm(h, gated(u), state.outs[depth - 1][channel]), state

    def _begin_row(self, state: PixelCNNState, row: int) -> None:
        """The vertical stack of a row, all pixels at once, and what it tells the horizontal one."""
        if row > 0:
            first = self.first_reach * self.numbers
            done = state.x_row.window(first, first + self.width * self.numbers)
            done = done.reshape(-1, 1, self.width, self.numbers)
            state.x_above = torch.cat([state.x_above[:, 1:], done], dim=1)
        for begun in (state.x_row, *state.h_row):
            begun.begin()
        v = convolve(self.first_above, state.x_above)
        if self.embed_positions:
            v = v + self.place_above[row]
        state.messages = []
        for depth, layer in enumerate(self._layers()[0]):
            to_gate, to_message = self._condition(state.conditions, depth, slice(row, row + 1))
            state.v_above[depth] = torch.cat([state.v_above[depth][:, -self.reach :], v], dim=1)
            v = v + layer(state.v_above[depth], to_gate, None)
            state.messages.append(layer.tell(v, to_message, None)[:, 0])

    def _layers(self) -> tuple[list[RowsAbove], list[PixelsToTheLeft]]:
        above = [layer for layer in self.above if isinstance(layer, RowsAbove)]
        return above, [layer for layer in self.left if isinstance(layer, PixelsToTheLeft)]

    def _where(self, place: int) -> tuple[int, int, int]:
        """Row, column and channel of a position."""
        pixel, channel = divmod(place, self.groups)
        return *divmod(pixel, self.width), channel

    def _taps(self, convolution: nn.Conv2d, left: int, numbers: int, own: bool) -> list[Tensor]:
        """The weights of a horizontal convolution as a matrix for each channel, of the numbers it sees and no others.

        It sees all numbers of so many pixels to the left, and at the pixel at hand those of earlier channels or, too, of its
        own.
        """
        weight = convolution.weight[:, :, 0].transpose(1, 2).flatten(1)  # tap after tap, as the pixels lie in a row
        seen = [numbers * (left * self.groups + channel + own) for channel in range(self.groups)]
        return [w[:, :count].t() for w, count in zip(weight.chunk(self.groups), seen, strict=True)]

    def _batch(self, x: Tensor, context: Tensor | None) -> torch.Size:
        batch = x.shape[: x.dim() - len(self.event_shape)]
        if context is None or self.context_shape is None:
            return batch
        return torch.broadcast_shapes(batch, context.shape[: context.dim() - len(self.context_shape)])

    def _conditions(self, batch: torch.Size, context: Tensor | None) -> list[Tensor] | None:
        """What the context says to each layer, (rows, 1 or H, 1 or W, units)."""
        if context is None or self.context_shape is None:
            return None
        c = context.expand(*batch, *self.context_shape).reshape(batch.numel(), *self.context_shape)
        c = c[:, None, None] if self.of_image is None else silu(convolve(self.of_image, c.permute(0, 2, 3, 1)))
        return [layer(c) for layer in self.of_context]

    def _condition(
        self, conditions: list[Tensor] | None, depth: int, rows: slice, dtype: torch.dtype | None = None
    ) -> tuple[Tensor | None, Tensor | None]:
        """What the context says to a layer of the vertical stack and to its message."""
        if conditions is None:
            return None, None
        (c,) = cast(dtype, conditions[depth])
        c = c if self.of_image is None else c[:, rows]
        return c[..., : 2 * self.units], c[..., 2 * self.units :]


def _half(name: str, size: int) -> int:
    if positive_int(name, size, least=3) % 2 == 0:
        raise ValueError(f"{name}: expected an odd number, got {size}")
    return size // 2
