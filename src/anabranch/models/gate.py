"""The gate of a mixture whose components start from one base: which of them a z goes to."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from anabranch.checks import one_of
from anabranch.networks import MLP, Constant, Network


def read_gate(gate: str | Network, size: int, components: int, context: int, hidden: Sequence[int]) -> Network:
    """The gate given, checked, or the one that its name stands for: "network" or "constant", both at equal weights.

    Raises:
        ValueError: another name, or a network whose sizes do not fit.
    """
    if not isinstance(gate, Network):
        if one_of("gate", gate, ("network", "constant")) == "network":
            return MLP(size, components, context=context, hidden=hidden, zero_start=True)
        return Constant(size, components)
    if (gate.features, gate.outputs) != (size, components):
        raise ValueError(
            f"gate: expected a network of {size} features and {components} outputs, "
            f"got {gate.features} and {gate.outputs}"
        )
    return gate


def context_of_gate(gate: str | Network) -> torch.Size | None:
    """The shape of the context that a given gate takes; None if it takes none."""
    return torch.Size([gate.context]) if isinstance(gate, Network) and gate.context else None


def gate_logits(gate: Network, z: Tensor, event_dim: int, context: Tensor | None) -> Tensor:
    """What the gate says of z (*batch, *event): (*batch, components), not normalised."""
    logits: Tensor = gate(z.flatten(z.dim() - event_dim), context if gate.context else None)
    return logits
