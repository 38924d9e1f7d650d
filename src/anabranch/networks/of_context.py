"""Networks from a context alone."""

from __future__ import annotations

from typing import Any

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
