"""Recipes: the well-known flows as chains of named blocks, with good defaults.

Each returns a `Chain`; every prefix of its blocks is a transform of its own, so any of them can be given to `Flow` or to
`DepthMixture`. The first block standardises rows that are far from mean 0 and deviation 1, as its first batch shows
(`transforms.Standardise`): rows may be given as they come.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch

from anabranch.checks import as_shape, one_of, positive, positive_int
from anabranch.networks import MLP, CausalTransformer, MaskedMLP, Network
from anabranch.networks.network import Shape
from anabranch.transforms import (
    Affine,
    Autoregressive,
    Chain,
    Coupling,
    Elementwise,
    Householder,
    Inverse,
    LULinear,
    Memory,
    Permutation,
    Planar,
    Radial,
    RationalQuadraticSpline,
    Reshape,
    Shift,
    Standardise,
    Sylvester,
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
    named = _taking_rows(build("spline", spline, features, context, blocks, hidden, activation), features)
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
    affine = _affine(max_scale, positive_int("blocks", blocks))
    layers = _autoregressive("affine", affine, features, context, blocks, hidden, activation)
    return Chain(_taking_rows(layers, features), memory=memory)


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
    affine = _affine(max_scale, positive_int("blocks", blocks))
    layers = _autoregressive("affine", affine, features, context, blocks, hidden, activation)
    turned: dict[str, Transform] = {f"inverse_{name}": Inverse(layer) for name, layer in layers.items()}
    return Chain(_taking_rows(turned, features), memory=memory)


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
    affine = _affine(max_scale, math.ceil(positive_int("blocks", blocks) / 2))
    layers = _coupling("affine", affine, features, context, blocks, hidden, activation)
    return Chain(_taking_rows(layers, features), memory=memory)


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
    return Chain(_taking_rows(layers, features, scaled=False), memory=memory)


def planar(
    features: int,
    context: int = 0,
    blocks: int = 8,
    hidden: Sequence[int] = (64,),
    activation: str = "relu",
    memory: str | Memory = "store",
) -> Chain:
    """Planar flow: layers that bend space along one direction each, turned round for variational inference.

    It samples by a formula, which also scores what it samples, and scores data by the root of a function of one number for
    each layer. Many layers make a supple density of few features; of many features prefer `sylvester` or `iaf`.

    Source: Rezende and Mohamed, 2015, arXiv:1505.05770.

    Args:
        features: number of features.
        context: size of the context, 0 for none; networks then move the layers' parameters.
        blocks: number of layers.
        hidden: hidden sizes of each layer's network of the context.
        activation: the networks' nonlinearity.
        memory: what the chain keeps for the gradients, see `Chain`.

    Example:
        >>> import anabranch as ab
        >>> ab.flows.planar(features=2).scoring
        'iterative'
    """

    def layer(network: Network | None) -> Transform:
        return Inverse(Planar(features, network))

    layers = _whole("planar", layer, 2 * features + 1, context, blocks, hidden, activation)
    return Chain(_taking_rows(layers, features), memory=memory)


def radial(
    features: int,
    context: int = 0,
    blocks: int = 8,
    hidden: Sequence[int] = (64,),
    activation: str = "relu",
    memory: str | Memory = "store",
) -> Chain:
    """Radial flow: layers that stretch or squeeze space around a point each. Scoring and sampling are both formulas.

    Source: Rezende and Mohamed, 2015, arXiv:1505.05770.

    Args:
        features, context, blocks, hidden, activation, memory: as in `planar`.

    Example:
        >>> import anabranch as ab
        >>> ab.flows.radial(features=2).inversion
        'closed'
    """

    def layer(network: Network | None) -> Transform:
        return Inverse(Radial(features, network))

    layers = _whole("radial", layer, features + 2, context, blocks, hidden, activation)
    return Chain(_taking_rows(layers, features), memory=memory)


def sylvester(
    features: int,
    context: int = 0,
    blocks: int = 4,
    units: int | None = None,
    basis: str = "orthogonal",
    hidden: Sequence[int] = (64,),
    activation: str = "relu",
    memory: str | Memory = "store",
) -> Chain:
    """Sylvester flow: residual layers of many hidden units, turned round for variational inference as in `planar`.

    Source: van den Berg et al., 2018, arXiv:1803.05649.

    Args:
        features, context, blocks, hidden, activation, memory: as in `planar`.
        units: hidden units of each layer, at most and by default as many as features.
        basis: "orthogonal", "householder", or "triangular", with the features turned round between layers.

    Example:
        >>> import anabranch as ab
        >>> ab.Flow(ab.flows.sylvester(features=3, units=2)).sample((10,)).shape
        torch.Size([10, 3])
    """

    def layer(network: Network | None) -> Transform:
        turned = Inverse(Sylvester(features, units, basis, network=network))
        return turned if basis != "triangular" else Chain([turned, Permutation(range(features - 1, -1, -1))])

    numbers = Sylvester.numbers(features, units, basis)
    layers = _whole("sylvester", layer, numbers, context, blocks, hidden, activation)
    return Chain(_taking_rows(layers, features), memory=memory)


def householder(
    features: int,
    context: int = 0,
    blocks: int = 1,
    reflections: int | None = None,
    hidden: Sequence[int] = (64,),
    activation: str = "relu",
    memory: str | Memory = "store",
) -> Chain:
    """Householder flow: an affine map of every feature, then reflections. Over a normal base it is a normal density of full
    covariance, at every context another.

    Source: Tomczak and Welling, 2016, arXiv:1611.09630.

    Args:
        features, context, hidden, activation, memory: as in `planar`.
        blocks: number of pairs of an affine map and reflections; one reaches every covariance.
        reflections: of each block, by default as many as features.

    Example:
        >>> import anabranch as ab
        >>> ab.flows.householder(features=3, context=2).affine
        True
    """
    count = features if reflections is None else reflections

    def layer(network: Network | None) -> Transform:
        scaling = None if network is None else MLP(context, 2 * features, 0, hidden, activation, zero_start=True)
        return Chain([Householder(features, count, network), Elementwise(Affine(), features, scaling)])

    layers = _whole("householder", layer, count * features, context, blocks, hidden, activation)
    return Chain(_taking_rows(layers, features), memory=memory)


def tarflow(
    features: Sequence[int],
    context: Shape | None = 0,
    patch: int = 2,
    blocks: int = 4,
    hidden: int = 128,
    layers: int = 4,
    heads: int = 4,
    dropout: float = 0.0,
    memory: str | Memory = "store",
    max_scale: float = 1000.0,
) -> Chain:
    """Transformer autoregressive flow of images: affine layers over patches, whose order turns round from each to the next.

    The numbers of a patch are one position: each is shifted and scaled as a causal transformer says of the patches before.
    z has the shape (height / patch, width / patch, channels patch^2).

    Source: Zhai et al., 2024, "Normalizing flows are capable generative models", arXiv:2412.06329, section 2.2.

    Args:
        features: the shape of the images, (channels, height, width).
        context: size of the context, or its shape; 0 for none.
        patch: side of a patch, of which height and width are multiples.
        blocks: number of affine layers.
        hidden: width of each transformer.
        layers: of each transformer.
        heads: of its attention.
        dropout: of each transformer.
        memory, max_scale: as in `maf`.

    Raises:
        ValueError: shapes that do not fit.

    Example:
        >>> import torch
        >>> import anabranch as ab
        >>> flow = ab.Flow(ab.flows.tarflow((1, 8, 8), blocks=2, hidden=16, layers=1))
        >>> flow.sample((5,)).shape
        torch.Size([5, 1, 8, 8])
    """
    shape, side = as_shape("features", features), positive_int("patch", patch)
    if len(shape) != 3 or shape[1] % side or shape[2] % side:
        raise ValueError(
            f"features: expected (channels, height, width) with multiples of {side}, the patch, got {tuple(shape)}"
        )
    channels, height, width = shape
    numbers, positions = shape.numel(), (height // side, width // side)
    univariate = _affine(max_scale, positive_int("blocks", blocks))
    named: dict[str, Transform] = {}
    for i in range(blocks):
        g, inside = univariate(), channels * side**2
        network = CausalTransformer(
            positions,
            inside * g.size,
            context,
            hidden,
            layers,
            heads,
            dropout=dropout,
            zero_start=True,
            channels=inside,
        )
        order = range(network.features) if i % 2 == 0 else range(network.features - 1, -1, -1)
        named[f"affine_{i + 1}"] = Autoregressive(g, network, order)
    # (channels, rows, side, columns, side) to (rows, columns, channels, side, side)
    cut = torch.arange(numbers).reshape(channels, positions[0], side, positions[1], side).permute(1, 3, 0, 2, 4)
    named["affine_1"] = Chain(
        {
            "vector": Reshape(shape, numbers),
            "standardise": Standardise(numbers),
            "cut": Permutation(cut.flatten().tolist()),
            "patches": Reshape(numbers, (*positions, inside)),
            "layer": named["affine_1"],
        }
    )
    return Chain(named, memory=memory)


def _affine(max_scale: float, layers: int) -> Callable[[], UnivariateMap]:
    """Affine maps that, so many after each other, stretch a number by max_scale at most."""
    if positive("max_scale", max_scale) <= 1:
        raise ValueError(f"max_scale: expected a number above 1, got {max_scale}")
    return lambda: Affine(max_scale ** (1 / layers))


def _taking_rows(layers: dict[str, Transform], features: int, scaled: bool = True) -> dict[str, Transform]:
    """The layers, the first of which standardises rows that are far from mean 0 and deviation 1."""
    first, *later = layers
    taking = Chain({"standardise": Standardise(features, scaled), "layer": layers[first]})
    return {first: taking, **{name: layers[name] for name in later}}


def _whole(
    kind: str,
    layer: Callable[[Network | None], Transform],
    numbers: int,
    context: int,
    blocks: int,
    hidden: Sequence[int],
    activation: str,
) -> dict[str, Transform]:
    """Layers of whole vectors, the numbers of each moved by a network of the context if there is one."""
    layers: dict[str, Transform] = {}
    for i in range(positive_int("blocks", blocks)):
        network = MLP(context, numbers, 0, hidden, activation, zero_start=True) if context else None
        layers[f"{kind}_{i + 1}"] = layer(network)
    return layers


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
