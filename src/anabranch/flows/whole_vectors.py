"""Recipes of layers that move whole vectors, mainly for variational inference: planar, radial, Sylvester, Householder."""

from __future__ import annotations

from collections.abc import Sequence

from anabranch.flows.numbered import numbered
from anabranch.flows.row_layers import RowLayers
from anabranch.networks import Network
from anabranch.transforms import (
    Affine,
    Chain,
    Elementwise,
    Householder,
    Inverse,
    Memory,
    Permutation,
    Planar,
    Radial,
    Standardise,
    Sylvester,
    Transform,
)


def planar(
    features: int,
    context: int = 0,
    blocks: int = 8,
    hidden: Sequence[int] = (64,),
    activation: str = "relu",
    memory: str | Memory = "store",
) -> Chain:
    """Planar flow: layers that bend space along one direction each, inverted for variational inference.

    The flow samples, and scores its samples, by a formula. To score other data, each layer solves an equation for one
    number. Many layers make a flexible density of few features. For many features prefer `sylvester` or `iaf`.

    Source: Rezende and Mohamed, 2015, arXiv:1505.05770.

    Args:
        features: number of features.
        context: size of the context, from which networks move the parameters of the layers; 0 for none.
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

    layers = RowLayers(features, context, blocks, hidden, activation).whole(layer, 2 * features + 1)
    return numbered("planar", layers, memory, standardise=Standardise(features))


def radial(
    features: int,
    context: int = 0,
    blocks: int = 8,
    hidden: Sequence[int] = (64,),
    activation: str = "relu",
    memory: str | Memory = "store",
) -> Chain:
    """Radial flow: layers that each stretch or squeeze space around a point. Scoring and sampling are both formulas.

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

    layers = RowLayers(features, context, blocks, hidden, activation).whole(layer, features + 2)
    return numbered("radial", layers, memory, standardise=Standardise(features))


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
    """Sylvester flow: residual layers of several hidden units, inverted for variational inference as in `planar`.

    Source: van den Berg et al., 2018, arXiv:1803.05649.

    Args:
        features, context, blocks, hidden, activation, memory: as in `planar`. units: number of hidden units of each layer;
        by default as many as features, which is the most. basis: "orthogonal", "householder" or "triangular"; with the last
        one, layers alternate with a reversal of the features.

    Example:
        >>> import anabranch as ab
        >>> ab.Flow(ab.flows.sylvester(features=3, units=2)).sample((10,)).shape
        torch.Size([10, 3])
    """

    def layer(network: Network | None) -> Transform:
        turned = Inverse(Sylvester(features, units, basis, network=network))
        return turned if basis != "triangular" else Chain([turned, Permutation(range(features - 1, -1, -1))])

    parameters = Sylvester.size(features, units, basis)
    layers = RowLayers(features, context, blocks, hidden, activation).whole(layer, parameters)
    return numbered("sylvester", layers, memory, standardise=Standardise(features))


def householder(
    features: int,
    context: int = 0,
    blocks: int = 1,
    reflections: int | None = None,
    hidden: Sequence[int] = (64,),
    activation: str = "relu",
    memory: str | Memory = "store",
) -> Chain:
    """Householder flow: reflections, then an affine map of every feature. Over a normal base it is a normal density of full
    covariance, which depends on the context.

    Source: Tomczak and Welling, 2016, arXiv:1611.09630.

    Args:
        features, context, hidden, activation, memory: as in `planar`.
        blocks: number of blocks of reflections and an affine map; one block reaches every covariance.
        reflections: number of reflections of each block, by default as many as features.

    Example:
        >>> import anabranch as ab
        >>> ab.flows.householder(features=3, context=2).affine
        True
    """
    rows = RowLayers(features, context, blocks, hidden, activation)
    count = features if reflections is None else reflections

    def layer(network: Network | None) -> Transform:
        scaling = Elementwise(Affine(), features, rows.of_context(2 * features))
        return Chain([Householder(features, count, network), scaling])

    layers = rows.whole(layer, count * features)
    return numbered("householder", layers, memory, standardise=Standardise(features))
