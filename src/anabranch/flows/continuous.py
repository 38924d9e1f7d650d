"""The recipe of flows in continuous time."""

from __future__ import annotations

from collections.abc import Sequence

from anabranch.networks import VelocityMLP
from anabranch.transforms import Chain, Continuous, Solver, Standardise
from anabranch.transforms.continuous import Trace


def continuous(
    features: int,
    context: int = 0,
    hidden: Sequence[int] = (64, 64, 64),
    activation: str = "silu",
    trace: Trace = "exact",
    solver: str | Solver = "adaptive",
) -> Chain:
    """Flow in continuous time: rows drift along a vector field that changes with time.

    It needs torchdiffeq: `pip install "anabranch[ode]"`. `objectives.FlowMatching` fits it without solving anything.

    Source: Chen et al., 2018, arXiv:1806.07366; Grathwohl et al., 2019, arXiv:1810.01367.

    Args:
        features: number of features.
        context: size of the context, 0 for none.
        hidden: hidden sizes of the field's network.
        activation: its nonlinearity, a smooth one.
        trace: "exact", in as many passes back as there are features, or "hutchinson", an estimate.
        solver: "adaptive", "fixed", or a `Solver`, which has its settings.

    Example:
        >>> import anabranch as ab
        >>> list(ab.flows.continuous(features=3).blocks)
        ['standardise', 'continuous']
    """
    field = VelocityMLP(features, context, hidden, activation, zero_start=True)
    return Chain({"standardise": Standardise(features), "continuous": Continuous(field, trace, solver)})
