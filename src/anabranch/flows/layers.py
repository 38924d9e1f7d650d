"""Layers of recipes for rows of features: a structure, a univariate map and networks."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from anabranch.checks import one_of, positive_int
from anabranch.networks import MLP, MaskedMLP, Network, OfAngles
from anabranch.transforms import Autoregressive, Coupling, Transform, UnivariateMap


def of_structure(name: str) -> Callable[..., dict[str, Transform]]:
    """What builds the layers of a structure, "autoregressive" or "coupling".

    Raises:
        ValueError: another name.
    """
    structures = {"autoregressive": autoregressive, "coupling": coupling}
    return structures[one_of("structure", name, tuple(structures))]


def autoregressive(
    kind: str,
    univariate: Callable[[], UnivariateMap],
    features: int,
    context: int,
    blocks: int,
    hidden: Sequence[int],
    activation: str,
) -> dict[str, Transform]:
    """Autoregressive layers whose order turns round from each to the next, so that every feature is first and last."""
    layers: dict[str, Transform] = {}
    for i in range(positive_int("blocks", blocks)):
        g = univariate()
        network = MaskedMLP(features, g.size, context, hidden, activation, zero_start=True)
        order = range(features) if i % 2 == 0 else range(features - 1, -1, -1)
        layers[f"{kind}_{i + 1}"] = Autoregressive(g, network, order)
    return layers


def coupling(
    kind: str,
    univariate: Callable[[], UnivariateMap],
    features: int,
    context: int,
    blocks: int,
    hidden: Sequence[int],
    activation: str,
    of_angles: bool = False,
) -> dict[str, Transform]:
    """Coupling layers in pairs of opposite masks: odd against even features, then halves, and so on in powers of two.

    Two features in different halves meet in a later pair even if they share a side in the first. Of angles the networks read
    cosines and sines.
    """
    if positive_int("features", features) < 2:
        raise ValueError(
            f"features: expected at least 2, since a coupling keeps some to move the others, got {features}"
        )
    layers: dict[str, Transform] = {}
    digits = max(1, (features - 1).bit_length())
    for i in range(positive_int("blocks", blocks)):
        digit = (i // 2) % digits
        mask = [((feature >> digit) + i) % 2 == 1 for feature in range(features)]
        g = univariate()
        inputs = mask.count(False) * (2 if of_angles else 1)
        network: Network = MLP(inputs, mask.count(True) * g.size, context, hidden, activation, zero_start=True)
        network = OfAngles(network) if of_angles else network
        layers[f"{kind}_{i + 1}"] = Coupling(mask, g, network)
    return layers
