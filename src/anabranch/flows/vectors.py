"""Recipes for rows of features: spline, affine and additive flows as chains of named blocks.

Each returns a `Chain`; every prefix of its blocks is a transform of its own, so any of them can be given to `Flow` or to
`DepthMixture`. The first block standardises rows that are far from mean 0 and deviation 1, as its first batch shows
(`transforms.Standardise`): rows may be given as they come.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from anabranch.checks import one_of, positive_int
from anabranch.flows.rows import standardising
from anabranch.flows.scales import affine_maps
from anabranch.networks import MLP, MaskedMLP
from anabranch.transforms import (
    Autoregressive,
    Chain,
    Coupling,
    Inverse,
    LULinear,
    Memory,
    RationalQuadraticSpline,
    Shift,
    Transform,
    UnivariateMap,
)


def nsf(
    features: int,
    context: int = 0,
    blocks: int = 5,
    hidden: Sequence[int] = (128, 128),
    bins: int = 8,
    bound: float = 5.0,
    structure: str = "autoregressive",
    linear: bool = True,
    activation: str = "relu",
    memory: str | Memory = "store",
) -> Chain:
    """Neural spline flow: rational-quadratic splines, autoregressive or coupling.

    Source: Durkan et al., 2019, arXiv:1906.04032.

    Args:
        features: number of features.
        context: size of the context, 0 for none.
        blocks: number of layers.
        hidden: hidden sizes of each layer's network.
        bins: bins of each spline.
        bound: the splines act within [-bound, bound] and are linear outside, where standardised data do not lie.
        structure: "autoregressive" (closer fits, samples in one step per feature) or "coupling" (both ways in one pass).
        linear: whether each layer but the first begins with an LU-factored linear map, as in the paper. Columns that are
            strongly correlated are then fitted far better, for about a tenth more time.
        activation: the networks' nonlinearity.
        memory: what the chain keeps for the gradients, see `Chain`.

    Example:
        >>> import anabranch as ab
        >>> list(ab.flows.nsf(features=7, blocks=2).blocks)
        ['spline_1', 'spline_2']
    """

    def spline() -> UnivariateMap:
        return RationalQuadraticSpline(bins=bins, bound=bound)

    layers = {"autoregressive": _autoregressive, "coupling": _coupling}
    build = layers[one_of("structure", structure, tuple(layers))]
    named = standardising(build("spline", spline, features, context, blocks, hidden, activation), features)
    if not linear or features == 1:
        return Chain(named, memory=memory)
    first, *later = named
    mixed = {name: Chain({"linear": LULinear(features), "spline": named[name]}) for name in later}
    return Chain({first: named[first], **mixed}, memory=memory)


def maf(
    features: int,
    context: int = 0,
    blocks: int = 5,
    hidden: Sequence[int] = (128, 128),
    activation: str = "relu",
    memory: str | Memory = "store",
    max_scale: float = 1000.0,
) -> Chain:
    """Masked autoregressive flow: affine autoregressive layers in alternating order. Scoring takes one pass.

    Source: Papamakarios et al., 2017, arXiv:1705.07057.

    Args:
        features: number of features.
        context: size of the context, 0 for none.
        blocks: number of layers.
        hidden: hidden sizes of each layer's network.
        activation: the networks' nonlinearity.
        memory: what the chain keeps for the gradients, see `Chain`.
        max_scale: the largest factor by which all layers together may stretch or shrink a feature; they share it evenly.
            Outside the data a network's outputs grow without end and every scale comes to its limit: a float32 keeps
            seven digits, so that beyond 1000 the way back is lost there.

    Example:
        >>> import anabranch as ab
        >>> ab.flows.maf(features=3).inversion
        'sequential'
    """
    affine = affine_maps(max_scale, positive_int("blocks", blocks))
    layers = _autoregressive("affine", affine, features, context, blocks, hidden, activation)
    return Chain(standardising(layers, features), memory=memory)


def iaf(
    features: int,
    context: int = 0,
    blocks: int = 5,
    hidden: Sequence[int] = (128, 128),
    activation: str = "relu",
    memory: str | Memory = "store",
    max_scale: float = 1000.0,
) -> Chain:
    """Inverse autoregressive flow: `maf` turned round, so that sampling takes one pass and scoring one step per feature.

    Source: Kingma et al., 2016, arXiv:1606.04934.

    Args:
        features, context, blocks, hidden, activation, max_scale: as in `maf`.

    Example:
        >>> import anabranch as ab
        >>> ab.Flow(ab.flows.iaf(features=3)).sample((10,)).shape
        torch.Size([10, 3])
    """
    affine = affine_maps(max_scale, positive_int("blocks", blocks))
    layers = _autoregressive("affine", affine, features, context, blocks, hidden, activation)
    turned: dict[str, Transform] = {f"inverse_{name}": Inverse(layer) for name, layer in layers.items()}
    return Chain(standardising(turned, features), memory=memory)


def realnvp(
    features: int,
    context: int = 0,
    blocks: int = 8,
    hidden: Sequence[int] = (128, 128),
    activation: str = "relu",
    memory: str | Memory = "store",
    max_scale: float = 1000.0,
) -> Chain:
    """Real NVP: affine coupling layers whose masks alternate. Scoring and sampling both take one pass.

    Source: Dinh et al., 2017, arXiv:1605.08803.

    Args:
        features, context, blocks, hidden, activation, max_scale: as in `maf`.

    Example:
        >>> import anabranch as ab
        >>> len(ab.flows.realnvp(features=4))
        8
    """
    # a feature moves in one layer of each pair
    affine = affine_maps(max_scale, math.ceil(positive_int("blocks", blocks) / 2))
    layers = _coupling("affine", affine, features, context, blocks, hidden, activation)
    return Chain(standardising(layers, features), memory=memory)


def nice(
    features: int,
    context: int = 0,
    blocks: int = 8,
    hidden: Sequence[int] = (128, 128),
    activation: str = "relu",
    memory: str | Memory = "store",
) -> Chain:
    """NICE: additive coupling layers. It preserves volume: the log-determinant is 0 everywhere.

    Source: Dinh et al., 2015, arXiv:1410.8516, without its final diagonal scaling.

    Example:
        >>> import torch
        >>> import anabranch as ab
        >>> float(ab.flows.nice(features=4)(torch.randn(4))[1])
        0.0
    """
    layers = _coupling("additive", Shift, features, context, blocks, hidden, activation)
    return Chain(standardising(layers, features, scaled=False), memory=memory)


def _autoregressive(
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


def _coupling(
    kind: str,
    univariate: Callable[[], UnivariateMap],
    features: int,
    context: int,
    blocks: int,
    hidden: Sequence[int],
    activation: str,
) -> dict[str, Transform]:
    """Coupling layers in pairs of opposite masks: odd against even features, then halves, and so on in powers of two.

    Two features in different halves meet in a later pair even if they share a side in the first.
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
        network = MLP(mask.count(False), mask.count(True) * g.size, context, hidden, activation, zero_start=True)
        layers[f"{kind}_{i + 1}"] = Coupling(mask, g, network)
    return layers
