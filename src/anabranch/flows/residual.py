"""The recipe of residual flows."""

from __future__ import annotations

from collections.abc import Sequence

from anabranch.checks import positive_int
from anabranch.flows.numbered import numbered
from anabranch.networks import LipschitzMLP
from anabranch.transforms import ActNorm, Chain, Memory, Residual, Standardise
from anabranch.transforms.residual import LogDet


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

    Scoring takes one pass, with the exact log-determinant (for few features) or an estimate of it (for many). Sampling
    iterates.

    Source: Chen et al., 2019, arXiv:1906.02735.

    Args:
        features: number of features.
        context: size of the context, 0 for none.
        blocks: number of layers.
        hidden: hidden sizes of each layer's network.
        coefficient: the largest Lipschitz constant of each g, below 1. A layer stretches by at most 1 + coefficient and
            shrinks by at most 1 - coefficient.
        log_det: "exact", at the cost of as many passes back as there are features, or "estimate".
        memory: what the chain keeps for the gradients, see `Chain`.

    Example:
        >>> import anabranch as ab
        >>> ab.Flow(ab.flows.residual(features=3, log_det="estimate")).likelihood
        'estimate'
    """

    def layer() -> Chain:
        network = LipschitzMLP(features, features, context, hidden, coefficient, zero_start=True)
        return Chain({"norm": ActNorm(features), "residual": Residual(network, log_det)})

    layers = [layer() for _ in range(positive_int("blocks", blocks))]
    return numbered("residual", layers, memory, standardise=Standardise(features))
