"""Recipes for rows of features: spline, affine and additive flows as chains of named blocks.

The first block standardises rows if its first batch is far from mean 0 and deviation 1 (`transforms.Standardise`), so that
rows need no preparation.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from anabranch.checks import one_of
from anabranch.flows.numbered import numbered
from anabranch.flows.row_layers import RowLayers
from anabranch.flows.scales import affine_maps
from anabranch.transforms import (
    Chain,
    HeavyTails,
    Inverse,
    LULinear,
    Memory,
    RationalQuadraticSpline,
    Shift,
    Standardise,
    UnivariateMap,
)


def nsf(
    features: int,
    context: int = 0,
    blocks: int = 5,
    hidden: Sequence[int] = (128, 128),
    bins: int = 8,
    bound: float | None = None,
    structure: str = "autoregressive",
    linear: bool = True,
    activation: str = "relu",
    memory: str | Memory = "store",
    tails: str = "normal",
) -> Chain:
    """Neural spline flow: rational-quadratic splines, autoregressive or coupling.

    Source: Durkan et al., 2019, arXiv:1906.04032.

    Args:
        features: number of features.
        context: size of the context, 0 for none.
        blocks: number of layers.
        hidden: hidden sizes of each layer's network.
        bins: bins of each spline.
        bound: the splines act within [-bound, bound] and are linear outside. It is 5 by default, since standardised data
            hardly lie beyond, or 2 with heavy tails.
        structure: "autoregressive" (closer fits, samples in one step per feature) or "coupling" (both ways in one pass).
        linear: whether each layer but the first begins with an LU-factored linear map, as in the paper. Strongly correlated
            columns are then fitted far better, for about a tenth more time.
        activation: the networks' nonlinearity.
        memory: what the chain keeps for the gradients, see `Chain`.
        tails: "normal" for the tails of the base, which every flow keeps that is linear far out. "heavy" for generalised
            Pareto tails, with an index for each side of each feature (`transforms.HeavyTails`). An index starts at an
            estimate from the first batch and is trained. The splines are then the identity outside, so that the indices
            alone determine the tails.

    Example:
        >>> import anabranch as ab
        >>> list(ab.flows.nsf(features=7, blocks=2).blocks)
        ['spline_1', 'spline_2']
    """

    heavy = one_of("tails", tails, ("normal", "heavy")) == "heavy"
    width = (2.0 if heavy else 5.0) if bound is None else bound

    def spline() -> UnivariateMap:
        # at an end of slope 1 a wider bin keeps the derivative within it away from 0
        least = 0.4 / bins if heavy else None
        return RationalQuadraticSpline(bins, width, least, unit_tails=heavy)

    layers = RowLayers(features, context, blocks, hidden, activation).of_structure(structure, spline)
    if linear and features > 1:
        first, *later = layers
        layers = [first, *(Chain({"linear": LULinear(features), "spline": layer}) for layer in later)]
    tails_first = {"tails": HeavyTails(features)} if heavy else {}
    return numbered("spline", layers, memory, standardise=Standardise(features), **tails_first)


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
        max_scale: the largest factor by which all layers together may stretch or shrink a feature; the layers share it
            evenly. Outside the data the outputs of a network grow without end, and every scale reaches its limit. A float32
            has seven digits, so that a limit above 1000 makes inverses there wrong.

    Example:
        >>> import anabranch as ab
        >>> ab.flows.maf(features=3).inversion
        'sequential'
    """
    rows = RowLayers(features, context, blocks, hidden, activation)
    layers = rows.autoregressive(affine_maps(max_scale, rows.blocks))
    return numbered("affine", layers, memory, standardise=Standardise(features))


def iaf(
    features: int,
    context: int = 0,
    blocks: int = 5,
    hidden: Sequence[int] = (128, 128),
    activation: str = "relu",
    memory: str | Memory = "store",
    max_scale: float = 1000.0,
) -> Chain:
    """Inverse autoregressive flow: the inverse of `maf`. Sampling takes one pass, and scoring one step per feature.

    Source: Kingma et al., 2016, arXiv:1606.04934.

    Args:
        features, context, blocks, hidden, activation, max_scale: as in `maf`.

    Example:
        >>> import anabranch as ab
        >>> ab.Flow(ab.flows.iaf(features=3)).sample((10,)).shape
        torch.Size([10, 3])
    """
    rows = RowLayers(features, context, blocks, hidden, activation)
    layers = map(Inverse, rows.autoregressive(affine_maps(max_scale, rows.blocks)))
    return numbered("inverse_affine", layers, memory, standardise=Standardise(features))


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
    rows = RowLayers(features, context, blocks, hidden, activation)
    # a feature moves in one layer of each pair
    layers = rows.coupling(affine_maps(max_scale, math.ceil(rows.blocks / 2)))
    return numbered("affine", layers, memory, standardise=Standardise(features))


def nice(
    features: int,
    context: int = 0,
    blocks: int = 8,
    hidden: Sequence[int] = (128, 128),
    activation: str = "relu",
    memory: str | Memory = "store",
) -> Chain:
    """NICE: additive coupling layers, which preserve volume: the log-determinant is 0 everywhere.

    Source: Dinh et al., 2015, arXiv:1410.8516, without its final diagonal scaling.

    Example:
        >>> import torch
        >>> import anabranch as ab
        >>> float(ab.flows.nice(features=4)(torch.randn(4))[1])
        0.0
    """
    layers = RowLayers(features, context, blocks, hidden, activation).coupling(Shift)
    return numbered("additive", layers, memory, standardise=Standardise(features, scaled=False))
