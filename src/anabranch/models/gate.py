"""The gate of a mixture whose components start from one base: which of them a z goes to."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from anabranch.checks import one_of
from anabranch.networks import MLP, Constant, Network, Select
from anabranch.networks.reader import check_reader, outputs_of


def read_gate(
    gate: str | Network,
    shape: torch.Size,
    components: int,
    context_shape: torch.Size | None,
    hidden: Sequence[int],
) -> Network:
    """The gate given, checked, or the one that its name stands for: "network" or "constant", both at equal weights.

    Raises:
        ValueError: another name, or a network whose sizes do not fit.
    """
    if not isinstance(gate, Network):
        if one_of("gate", gate, ("network", "constant")) == "network":
            return MLP(shape, components, context=context_shape, hidden=hidden, zero_start=True)
        return Constant(shape, components)
    check_reader("gate", gate, shape, components)
    return gate


def is_constant(gate: Network) -> bool:
    """Whether the gate says the same of every z."""
    return isinstance(gate.network if isinstance(gate, Select) else gate, Constant)


def context_of_gate(gate: str | Network) -> torch.Size | None:
    """The shape of the context that a given gate takes; None if it takes none."""
    return gate.context_shape if isinstance(gate, Network) else None


def gate_logits(gate: Network, z: Tensor, event_dim: int, context: Tensor | None) -> Tensor:
    """What the gate says of z (*batch, *event): (*batch, components), not normalised."""
    return outputs_of(gate, z, event_dim, context)
