"""How a mask cuts an event in two: what is kept, which a network reads, and what moves."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from anabranch.kernels.layout import features_first
from anabranch.kernels.reordering import reordered


class Partition(nn.Module, ABC):
    """An event in two parts, in the memory layout that suits its shape.

    Attributes:
        seen_shape: the shape of what a network reads.
        moved_shape: the shape of what it gives parameters for.
    """

    seen_shape: torch.Size
    moved_shape: torch.Size

    @abstractmethod
    def split(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x (*batch, *event) as what is kept and what moves, in this partition's layout."""

    @abstractmethod
    def seen(self, kept: Tensor) -> Tensor:
        """What is kept as a network reads it: (*batch, *seen_shape)."""

    @abstractmethod
    def parameters_for(self, parameters: Tensor) -> Tensor:
        """Parameters (*batch, *moved_shape, size) of a network, in the layout of what moves, with their number last."""

    @abstractmethod
    def join(self, kept: Tensor, moved: Tensor) -> Tensor:
        """The event (*batch, *event) of the two parts."""

    @abstractmethod
    def total(self, log_derivative: Tensor) -> Tensor:
        """The sum over what moves: (*batch)."""


class Features(Partition):
    """Features of a vector: features first in memory, so that each is one run over the rows."""

    def __init__(self, mask: Tensor) -> None:
        super().__init__()
        kept, moved = (~mask).nonzero().flatten(), mask.nonzero().flatten()
        self.seen_shape, self.moved_shape = torch.Size([len(kept)]), torch.Size([len(moved)])
        order = torch.cat([kept, moved])
        self._sizes = (len(kept), len(moved))
        self.register_buffer("order", order, persistent=False)
        self.register_buffer("places", order.argsort(), persistent=False)

    def split(self, x: Tensor) -> tuple[Tensor, Tensor]:
        kept, moved = reordered(features_first(x), self.get_buffer("order"), self.get_buffer("places")).split(
            self._sizes
        )
        return kept, moved

    def seen(self, kept: Tensor) -> Tensor:
        return kept.movedim(0, -1)

    def parameters_for(self, parameters: Tensor) -> Tensor:
        return parameters.movedim(-2, 0)

    def join(self, kept: Tensor, moved: Tensor) -> Tensor:
        x = torch.cat([kept, moved])
        return reordered(x, self.get_buffer("places"), self.get_buffer("order")).movedim(0, -1)

    def total(self, log_derivative: Tensor) -> Tensor:
        return log_derivative.sum(dim=0)


class Channels(Partition):
    """Whole entries of the first dimension of an event (channels, *rest)."""

    def __init__(self, mask: Tensor) -> None:
        super().__init__()
        of_channels = mask.flatten(1)[:, 0]
        kept, moved = (~of_channels).nonzero().flatten(), of_channels.nonzero().flatten()
        rest = mask.shape[1:]
        self.seen_shape, self.moved_shape = torch.Size([len(kept), *rest]), torch.Size([len(moved), *rest])
        self._dim = -mask.dim()
        self.register_buffer("kept", kept, persistent=False)
        self.register_buffer("moved", moved, persistent=False)
        self.register_buffer("places", torch.cat([kept, moved]).argsort(), persistent=False)

    def split(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return tuple(x.index_select(self._dim, self.get_buffer(name)) for name in ("kept", "moved"))  # type: ignore[return-value]

    def seen(self, kept: Tensor) -> Tensor:
        return kept

    def parameters_for(self, parameters: Tensor) -> Tensor:
        return parameters

    def join(self, kept: Tensor, moved: Tensor) -> Tensor:
        return torch.cat([kept, moved], dim=self._dim).index_select(self._dim, self.get_buffer("places"))

    def total(self, log_derivative: Tensor) -> Tensor:
        return log_derivative.sum(dim=tuple(range(self._dim, 0)))


class Places(Partition):
    """Any places of an event, such as a checkerboard's: the network reads the event with 0 where something moves.

    It gives parameters for the whole event; those of what is kept are not read.
    """

    def __init__(self, mask: Tensor) -> None:
        super().__init__()
        self.seen_shape = self.moved_shape = mask.shape
        self._event_dim = mask.dim()
        self.register_buffer("mask", mask.clone(), persistent=False)
        self.register_buffer("moved", mask.flatten().nonzero().flatten(), persistent=False)

    def split(self, x: Tensor) -> tuple[Tensor, Tensor]:
        kept = torch.where(self.get_buffer("mask"), 0.0, x)
        return kept, x.flatten(-self._event_dim).index_select(-1, self.get_buffer("moved"))

    def seen(self, kept: Tensor) -> Tensor:
        return kept

    def parameters_for(self, parameters: Tensor) -> Tensor:
        return parameters.flatten(-self._event_dim - 1, -2).index_select(-2, self.get_buffer("moved"))

    def join(self, kept: Tensor, moved: Tensor) -> Tensor:
        flat = kept.flatten(-self._event_dim)
        return flat.index_copy(-1, self.get_buffer("moved"), moved).reshape(kept.shape)

    def total(self, log_derivative: Tensor) -> Tensor:
        return log_derivative.sum(dim=-1)


def partition_of(mask: Tensor, seen: torch.Size) -> Partition | None:
    """The partition by a mask for a network that reads arrays of shape `seen`; None if it fits none."""
    candidates: list[Partition] = []
    if mask.dim() == 1:
        candidates.append(Features(mask))
    elif bool((mask == mask.flatten(1)[:, :1].reshape(-1, *(1 for _ in mask.shape[1:]))).all()):
        candidates.append(Channels(mask))
    candidates.append(Places(mask))
    return next((partition for partition in candidates if partition.seen_shape == seen), None)
