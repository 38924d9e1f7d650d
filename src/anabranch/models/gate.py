"""The gate of a mixture whose components start from one base: which of them a z goes to."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from anabranch.checks import one_of
from anabranch.networks import MLP, Constant, Network, Select
from anabranch.networks.reader import check_reader, outputs_of


def read_gate(
    gate: str | Network,
    shape: torch.Size,
    components: int,
    context_shape: torch.Size | None,
    hidden: Sequence[int],
    lead: float = 0.0,
) -> Network:
    """The gate given, checked, or the one that its name stands for: "network" or "constant".

    Args:
        gate: a network, or a name.
        shape: of a z.
        components: how many outputs the gate has.
        context_shape: of the context that the network takes, None for none.
        hidden: its hidden sizes.
        lead: by how many nats the last component starts ahead of each other one; all start equal with 0. A network given
            starts as it is.

    Raises:
        ValueError: another name, or a network whose sizes do not fit.
    """
    if isinstance(gate, Network):
        check_reader("gate", gate, shape, components)
        return gate
    if one_of("gate", gate, ("network", "constant")) == "constant":
        constant = Constant(shape, components)
        start: Tensor = constant.values
        made: Network = constant
    else:
        made = MLP(shape, components, context=context_shape, hidden=hidden, zero_start=True)
        start = _last_bias(made)
    with torch.no_grad():
        start[:-1] -= lead
    return made


def is_constant(gate: Network) -> bool:
    """Whether the gate says the same of every z."""
    return isinstance(gate.network if isinstance(gate, Select) else gate, Constant)


def context_of_gate(gate: str | Network) -> torch.Size | None:
    """The shape of the context that a given gate takes; None if it takes none."""
    return gate.context_shape if isinstance(gate, Network) else None


def gate_logits(gate: Network, z: Tensor, event_dim: int, context: Tensor | None) -> Tensor:
    """What the gate says of z (*batch, *event): (*batch, components), not normalised."""
    return outputs_of(gate, z, event_dim, context)


def _last_bias(network: MLP) -> Tensor:
    last = network.layers[-1]
    if not isinstance(last, nn.Linear):
        raise TypeError(f"expected a linear layer, got {type(last).__name__}")
    return last.bias
