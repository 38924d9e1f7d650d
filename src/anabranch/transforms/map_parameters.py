"""How the outputs of a network are the parameters of a univariate map, for every number of an event."""

from __future__ import annotations

import torch
from torch import Tensor

from anabranch.networks import Network


def check_outputs(network: Network, shape: torch.Size, size: int) -> None:
    """Raise ValueError unless the network gives `size` parameters for every number of an event of this shape.

    They come as one vector, the parameters of one number side by side, or, as convolutions give them, as an array of
    `size` times the channels: (channels * size, *rest), the parameters of one channel one after the other.
    """
    flat, channels = torch.Size([shape.numel() * size]), torch.Size([shape[0] * size, *shape[1:]])
    if network.out_shape not in (flat, channels):
        either = "" if flat == channels else f", of shape {tuple(channels)} or {tuple(flat)}"
        raise ValueError(
            f"network: expected {_counted(network.in_shape, 'features')} and {_counted(shape, f'x {size} outputs')}"
            f"{either}, got {_counted(network.in_shape, 'features')} and {_counted(network.out_shape, 'outputs')}"
        )


def _counted(shape: torch.Size, what: str) -> str:
    return f"{shape[0] if len(shape) == 1 else tuple(shape)} {what}"


def parameters_of(y: Tensor, out_dim: int, shape: torch.Size, size: int) -> Tensor:
    """The outputs (*batch, *out_shape), of so many dimensions, as (*batch, *shape, size)."""
    if out_dim == 1:
        return y.unflatten(-1, (*shape, size))
    return y.unflatten(-len(shape), (shape[0], size)).movedim(-len(shape), -1)
