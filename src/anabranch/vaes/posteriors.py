"""Recipes of posteriors q(z | h) given an encoder's features h: each a function that returns a density with a context.

All of them draw a z and score it in one pass, as the lower bound asks. What they cost where another z is to be scored (the
aggregated posterior, a VampPrior) is said in each.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from anabranch import flows
from anabranch.checks import positive_int
from anabranch.densities import Density, Normal
from anabranch.models import Flow
from anabranch.networks import MLP


def diagonal(latent: int, features: int, hidden: Sequence[int] | None = None) -> Normal:
    """A normal density with a diagonal covariance.

    Args:
        latent: how many numbers z has.
        features: how many numbers h has.
        hidden: hidden sizes of the network from h to means and scales; by default one layer as wide as h.

    Example:
        >>> import torch
        >>> import anabranch as ab
        >>> ab.vaes.posteriors.diagonal(latent=8, features=32).sample(context=torch.zeros(32)).shape
        torch.Size([8])
    """
    latent = positive_int("latent", latent)
    return Normal(torch.zeros(latent), network=_network(features, 2 * latent, hidden))


def full(latent: int, features: int, hidden: Sequence[int] | None = None) -> Normal:
    """A normal density with a full covariance; the arguments are those of `diagonal`.

    Example:
        >>> import anabranch as ab
        >>> ab.vaes.posteriors.full(latent=8, features=32).context_shape
        torch.Size([32])
    """
    latent = positive_int("latent", latent)
    outputs = 2 * latent + latent * (latent - 1) // 2
    return Normal(torch.zeros(latent), scale_tril=torch.eye(latent), network=_network(features, outputs, hidden))


def planar(latent: int, features: int, blocks: int = 8, hidden: Sequence[int] = (64,)) -> Flow:
    """A planar flow of `diagonal`: layers whose parameters h tells. Another z is scored by a search in every layer.

    Source: Rezende and Mohamed, 2015, arXiv:1505.05770.

    Args:
        latent, features: as in `diagonal`.
        blocks: number of layers.
        hidden: hidden sizes of each layer's network of h.

    Example:
        >>> import anabranch as ab
        >>> ab.vaes.posteriors.planar(latent=8, features=32, blocks=2).context_shape
        torch.Size([32])
    """
    return Flow(flows.planar(latent, features, blocks, hidden), diagonal(latent, features))


def radial(latent: int, features: int, blocks: int = 8, hidden: Sequence[int] = (64,)) -> Flow:
    """A radial flow of `diagonal`; the arguments are those of `planar`. Another z is scored by a formula.

    Source: Rezende and Mohamed, 2015, arXiv:1505.05770.

    Example:
        >>> import anabranch as ab
        >>> ab.vaes.posteriors.radial(latent=8, features=32, blocks=2).context_shape
        torch.Size([32])
    """
    return Flow(flows.radial(latent, features, blocks, hidden), diagonal(latent, features))


def sylvester(
    latent: int, features: int, blocks: int = 4, units: int | None = None, hidden: Sequence[int] = (64,)
) -> Flow:
    """A Sylvester flow of `diagonal`. Another z is scored by a search in every layer.

    Source: van den Berg et al., 2018, arXiv:1803.05649.

    Args:
        latent, features, blocks, hidden: as in `planar`.
        units: hidden units of each layer, at most and by default as many as latent numbers.

    Example:
        >>> import anabranch as ab
        >>> ab.vaes.posteriors.sylvester(latent=8, features=32, blocks=1).context_shape
        torch.Size([32])
    """
    return Flow(flows.sylvester(latent, features, blocks, units, hidden=hidden), diagonal(latent, features))


def householder(latent: int, features: int, blocks: int = 1, hidden: Sequence[int] = (64,)) -> Flow:
    """Reflections of `diagonal`, a normal density of full covariance; the arguments are those of `planar`.

    Source: Tomczak and Welling, 2016, arXiv:1611.09630.

    Example:
        >>> import anabranch as ab
        >>> ab.vaes.posteriors.householder(latent=8, features=32).context_shape
        torch.Size([32])
    """
    return Flow(flows.householder(latent, features, blocks, hidden=hidden), diagonal(latent, features))


def iaf(latent: int, features: int, blocks: int = 2, hidden: Sequence[int] = (64,)) -> Flow:
    """An inverse autoregressive flow of `diagonal`, `Inverse` of `maf`'s layers: z is drawn in one pass of each.

    Another z is scored in one step for each number.
    Source: Kingma et al., 2016, arXiv:1606.04934.

    Args:
        latent, features, blocks, hidden: as in `planar`.

    Example:
        >>> import anabranch as ab
        >>> ab.vaes.posteriors.iaf(latent=8, features=32).context_shape
        torch.Size([32])
    """
    return Flow(flows.iaf(latent, features, blocks, hidden), diagonal(latent, features))


def _network(features: int, outputs: int, hidden: Sequence[int] | None) -> MLP:
    return MLP(features, outputs, hidden=(features,) if hidden is None else hidden, activation="silu")


NAMED: dict[str, Callable[[int, int], Density]] = {
    "diagonal": diagonal,
    "full": full,
    "planar": planar,
    "radial": radial,
    "sylvester": sylvester,
    "householder": householder,
    "iaf": iaf,
}
"""The recipes by short names."""
