"""Where the numbers of an event stand among the positions of a causal network."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from anabranch.checks import as_shape
from anabranch.networks.network import Shape
from anabranch.transforms.permutation import as_order


class Layout(nn.Module):
    """Events (*batch, *event) as a causal network takes them, (*batch, *positions) or (*batch, *positions, channels).

    Args:
        positions: their shape.
        channels: numbers in one position, None where it is one number.
        order: order[i] is the place, counted row by row, of position i; as they are by default.
        event_shape: of an event; by default that of the positions with their channels. (C, H, W) goes with positions (H, W)
            and C channels, and with positions (H, W, C); else any shape of as many numbers, counted row by row.
            Where the two shapes are the same, such as (3, 3, 3), channels come last.

    Raises:
        ValueError: an event shape of another number of numbers, an order that is no permutation of the positions.
    """

    def __init__(
        self, positions: torch.Size, channels: int | None, order: Sequence[int] | None, event_shape: Shape | None
    ) -> None:
        super().__init__()
        self.positions = positions
        self.channels = channels
        read = positions if channels is None else torch.Size([*positions, channels])
        self.event_shape = read if event_shape is None else as_shape("event_shape", event_shape)
        count = positions.numel()
        if self.event_shape.numel() != read.numel():
            raise ValueError(
                f"event_shape: expected {read.numel()} numbers, those of {tuple(read)}, got {tuple(self.event_shape)}"
            )
        places = torch.arange(read.numel())
        if len(read) == 3 and self.event_shape == torch.Size([read[2], *read[:2]]) and self.event_shape != read:
            places = places.reshape(self.event_shape).movedim(0, -1).flatten()
        turn = as_order(range(count) if order is None else order, count)
        places = places.reshape(count, -1)[turn].flatten()
        self.order = turn.tolist()
        self._stays = places.tolist() == list(range(len(places)))
        self.register_buffer("places", places, persistent=False)
        self.register_buffer("back", places.argsort(), persistent=False)

    def to_positions(self, x: Tensor) -> Tensor:
        """Events (*batch, *event) as the network takes them."""
        flat = x.flatten(x.dim() - len(self.event_shape))
        flat = flat if self._stays else flat.index_select(-1, self.get_buffer("places"))
        shape = self.positions if self.channels is None else (*self.positions, self.channels)
        return flat.unflatten(-1, shape)

    def to_event(self, x: Tensor) -> Tensor:
        """(*batch, positions) or (*batch, positions, channels), the positions counted one by one, as events."""
        flat = x if self.channels is None else x.flatten(-2)
        flat = flat if self._stays else flat.index_select(-1, self.get_buffer("back"))
        return flat.unflatten(-1, self.event_shape)
