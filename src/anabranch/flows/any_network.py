"""Recipes of flows whose layers take any network: residual ones, and one in continuous time."""

from __future__ import annotations

from collections.abc import Sequence

from anabranch.checks import positive_int
from anabranch.flows.rows import standardising
from anabranch.networks import LipschitzMLP, VelocityMLP
from anabranch.transforms import ActNorm, Chain, Continuous, Memory, Residual, Solver, Standardise, Transform
from anabranch.transforms.continuous import Trace
from anabranch.transforms.residual import LogDet


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
        solver: "adaptive", "fixed", or a `Solver` with settings of its own.

    Example:
        >>> import anabranch as ab
        >>> list(ab.flows.continuous(features=3).blocks)
        ['standardise', 'continuous']
    """
    field = VelocityMLP(features, context, hidden, activation, zero_start=True)
    return Chain({"standardise": Standardise(features), "continuous": Continuous(field, trace, solver)})


def residual(
    features: int,
    context: int = 0,
    blocks: int = 8,
    hidden: Sequence[int] = (64, 64),
    coefficient: float = 0.9,
    log_det: LogDet = "exact",
    memory: str | Memory = "store",
) -> Chain:
    """Residual flow: layers x + g(x) by contractions g, each behind an activation normalisation.

    Scoring takes one pass with the exact log-determinant in low dimension, or an estimate of it above; sampling iterates.

    Source: Chen et al., 2019, arXiv:1906.02735.

    Args:
        features: number of features.
        context: size of the context, 0 for none.
        blocks: number of layers.
        hidden: hidden sizes of each layer's network.
        coefficient: the largest Lipschitz constant of each g, below 1: a layer stretches or shrinks by 1 ± coefficient at
            most.
        log_det: "exact", at the cost of as many passes back as there are features, or "estimate".
        memory: what the chain keeps for the gradients, see `Chain`.

    Example:
        >>> import anabranch as ab
        >>> ab.Flow(ab.flows.residual(features=3, log_det="estimate")).likelihood
        'estimate'
    """
    layers: dict[str, Transform] = {}
    for i in range(positive_int("blocks", blocks)):
        network = LipschitzMLP(features, features, context, hidden, coefficient, zero_start=True)
        layers[f"residual_{i + 1}"] = Chain({"norm": ActNorm(features), "residual": Residual(network, log_det)})
    return Chain(standardising(layers, features), memory=memory)
