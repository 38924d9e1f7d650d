"""Networks from a context alone."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from anabranch.networks.network import Network


def network_of_context(network: Any, outputs: str, count: int) -> Network:
    """Return `network` if it is one from a context, which it takes as its x, to so many outputs.

    Raises:
        ValueError: it is something else, or wants a context beside its x; `outputs` says in words which outputs there are.
    """
    if not isinstance(network, Network):
        raise ValueError(f"network: expected a Network, got {type(network).__name__}")
    if network.context_shape is not None:
        raise ValueError(
            f"network: expected one that takes the context as its x, and no other, got one with a context of "
            f"{network.context} beside its {network.features} features; build it with features={network.context}"
        )
    if network.outputs != count:
        raise ValueError(f"network: expected {outputs}, got {network.outputs}")
    return network


def read_once(network: Network, context: Tensor) -> Tensor:
    """What a network says of contexts (*batch, *in): (*batch, *out). Of many draws at each it reads each only once."""
    batch = context.shape[: context.dim() - len(network.in_shape)]
    return read_distinct(network, context).expand(*batch, *network.out_shape)


def read_distinct(network: Network, context: Tensor | None) -> Tensor:
    """`read_once` with 1 in place of each size of the batch along which contexts only repeat: (*batch or 1, *out).

    What a layer makes of it, such as a matrix, is then made once too.
    """
    y: Tensor = network(context if context is None else once(context, len(network.in_shape)))
    return y


def once(value: Tensor, event_dim: int) -> Tensor:
    """(*batch, *event) with 1 in place of each size of the batch along which the tensor only repeats, as `expand` does.

    As it is where it is differentiated: the repeated events may be the variables, each with a derivative.
    """
    if value.requires_grad and torch.is_grad_enabled():
        return value
    for dim in range(value.dim() - event_dim):
        if value.shape[dim] > 1 and value.stride(dim) == 0:
            value = value.narrow(dim, 0, 1)
    return value
