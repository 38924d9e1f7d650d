"""Networks that read a whole event, as it is or as a vector."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from anabranch.checks import reference_tensor
from anabranch.networks.network import Network


def check_reader(name: str, network: Network, shape: torch.Size, outputs: int) -> None:
    """Raise ValueError unless the network reads events of this shape, or vectors of as many numbers, to so many outputs."""
    if network.in_shape in (shape, torch.Size([shape.numel()])) and network.out_shape == torch.Size([outputs]):
        return
    wanted = f"{shape[0]}" if len(shape) == 1 else f"{tuple(shape)} or {shape.numel()}"
    got = f"{network.features}" if len(network.in_shape) == 1 else f"{tuple(network.in_shape)}"
    raise ValueError(
        f"{name}: expected a network of {wanted} features and {outputs} output{'s' * (outputs > 1)}, "
        f"got {got} and {network.outputs if len(network.out_shape) == 1 else tuple(network.out_shape)}"
    )


def outputs_of(network: Network, x: Tensor, event_dim: int, context: Tensor | None) -> Tensor:
    """What a network says of events x (*batch, *event), which it reads as they are or as vectors: (*batch, outputs)."""
    x = as_read(x, network)
    x = x if len(network.in_shape) == event_dim else x.flatten(x.dim() - event_dim)
    y: Tensor = network(x, None if network.context_shape is None else context)
    return y


def as_read(x: Tensor, reader: nn.Module) -> Tensor:
    """x as layers take it: whole numbers and booleans in the dtype of the reader's parameters, floating ones as they are."""
    if x.is_floating_point():
        return x
    like = reference_tensor(reader)
    return x.to(torch.get_default_dtype() if like is None else like.dtype)
