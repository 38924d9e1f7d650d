"""Recipes for rows of features with smooth univariate maps whose inverse is a search: monotone networks and polynomials."""

from __future__ import annotations

from collections.abc import Sequence

from anabranch.flows.numbered import numbered
from anabranch.flows.row_layers import RowLayers
from anabranch.transforms import BernsteinPolynomial, Chain, DeepSigmoid, Memory, Standardise, UnivariateMap


def naf(
    features: int,
    context: int = 0,
    blocks: int = 3,
    hidden: Sequence[int] = (128, 128),
    units: int = 8,
    layers: int = 1,
    structure: str = "autoregressive",
    activation: str = "relu",
    memory: str | Memory = "store",
) -> Chain:
    """Neural autoregressive flow: monotone networks of sigmoids (`DeepSigmoid`), autoregressive or coupling.

    Scoring takes one pass. Sampling searches for each feature of each layer, with 32 evaluations of the map.

    Source: Huang et al., 2018, arXiv:1804.00779.

    Args:
        features, context, blocks, hidden, structure, activation, memory: as in `nsf`.
        units: number of hidden units of each layer of the monotone network of a feature.
        layers: number of layers of that network.

    Example:
        >>> import anabranch as ab
        >>> ab.flows.naf(features=3).inversion
        'iterative'
    """

    def network() -> UnivariateMap:
        return DeepSigmoid(units, layers)

    rows = RowLayers(features, context, blocks, hidden, activation)
    return numbered("sigmoid", rows.of_structure(structure, network), memory, standardise=Standardise(features))


def bernstein(
    features: int,
    context: int = 0,
    blocks: int = 5,
    hidden: Sequence[int] = (128, 128),
    degree: int = 16,
    bound: float = 5.0,
    structure: str = "autoregressive",
    activation: str = "relu",
    memory: str | Memory = "store",
) -> Chain:
    """Bernstein polynomial flow: smooth rising polynomials (`BernsteinPolynomial`), autoregressive or coupling.

    Source: Ramasinghe et al., 2021, arXiv:2102.03509.

    Args:
        features, context, blocks, hidden, bound, structure, activation, memory: as in `nsf`.
        degree: degree of the polynomials.

    Example:
        >>> import anabranch as ab
        >>> list(ab.flows.bernstein(features=3, blocks=2).blocks)
        ['bernstein_1', 'bernstein_2']
    """

    def polynomial() -> UnivariateMap:
        return BernsteinPolynomial(degree, bound)

    rows = RowLayers(features, context, blocks, hidden, activation)
    return numbered("bernstein", rows.of_structure(structure, polynomial), memory, standardise=Standardise(features))
