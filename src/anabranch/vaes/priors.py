"""Recipes of priors p(z) over vectors of latent numbers: each a function that returns a density."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from anabranch.checks import positive_int
from anabranch.densities import Density, GaussianMixture, Normal, Resampled
from anabranch.families import Gaussians
from anabranch.flows import maf
from anabranch.models import Autoregressive, DepthMixture, Flow, VampPrior
from anabranch.networks import MLP, MaskedMLP


def normal(latent: int) -> Normal:
    """The standard normal density, of which the divergence of a normal posterior is a formula.

    Args:
        latent: how many numbers z has.

    Example:
        >>> import anabranch as ab
        >>> ab.vaes.priors.normal(8).event_shape
        torch.Size([8])
    """
    return Normal.standard(latent)


def gaussian_mixture(latent: int, components: int = 10) -> GaussianMixture:
    """A mixture of normal densities with diagonal covariances, all learned with the model: its components are clusters.

    The means start as draws of a standard normal density.

    Args:
        latent: how many numbers z has.
        components: how many.

    Example:
        >>> import anabranch as ab
        >>> ab.vaes.priors.gaussian_mixture(8, components=4).components
        4
    """
    means = torch.randn(positive_int("components", components), positive_int("latent", latent))
    return GaussianMixture(means, learnable=True)


def vamp(posterior: Density, components: int = 50) -> VampPrior:
    """The mixture of the posterior at pseudo-inputs, `models.VampPrior`.

    Args:
        posterior: of the model.
        components: how many pseudo-inputs.

    Example:
        >>> import anabranch as ab
        >>> from anabranch.families import Levels
        >>> model = ab.vaes.vae((8, 8), Levels(17), prior=lambda posterior: ab.vaes.priors.vamp(posterior, 20))
        >>> model.prior.components
        20
    """
    return VampPrior(posterior, components)


def flow(latent: int, blocks: int = 4, hidden: Sequence[int] = (64,)) -> Flow:
    """A masked autoregressive flow (`flows.maf`), which scores in one pass.

    Args:
        latent: how many numbers z has.
        blocks: number of layers.
        hidden: hidden sizes of each layer's network.

    Example:
        >>> import anabranch as ab
        >>> ab.vaes.priors.flow(8).sample((3,)).shape
        torch.Size([3, 8])
    """
    return Flow(maf(latent, blocks=blocks, hidden=hidden))


def autoregressive(latent: int, components: int = 5, hidden: Sequence[int] = (64,)) -> Autoregressive:
    """The chain rule over the numbers of z, each a mixture of normal distributions whose parameters the ones before it tell.

    Args:
        latent: how many numbers z has.
        components: of each number's mixture.
        hidden: hidden sizes of the masked network.

    Example:
        >>> import anabranch as ab
        >>> ab.vaes.priors.autoregressive(8).event_shape
        torch.Size([8])
    """
    family = Gaussians(components)
    return Autoregressive(family, MaskedMLP(latent, family.parameters_of_one, hidden=hidden, zero_start=True))


def depth_mixture(latent: int, blocks: int = 4, hidden: Sequence[int] = (64,)) -> DepthMixture:
    """A mixture from depth over the blocks of `flow`.

    Args:
        latent, blocks, hidden: as in `flow`.

    Example:
        >>> import anabranch as ab
        >>> ab.vaes.priors.depth_mixture(8, blocks=3).components
        3
    """
    return DepthMixture(maf(latent, blocks=blocks, hidden=hidden))


def resampled(latent: int, hidden: Sequence[int] = (64, 64), truncation: int = 100) -> Resampled:
    """The standard normal density, of whose draws a network refuses those that the posterior never gives.

    Source: Bauer and Mnih, 2019, arXiv:1810.11428.

    Args:
        latent: how many numbers z has.
        hidden: hidden sizes of the acceptance network.
        truncation: after how many draws one is accepted in any case.

    Example:
        >>> import anabranch as ab
        >>> ab.vaes.priors.resampled(8).sample((3,)).shape
        torch.Size([3, 8])
    """
    return Resampled(Normal.standard(latent), MLP(latent, 1, hidden=hidden), truncation)


NAMED: dict[str, Callable[[int], Density]] = {
    "normal": normal,
    "gaussian mixture": gaussian_mixture,
    "flow": flow,
    "autoregressive": autoregressive,
    "depth mixture": depth_mixture,
    "resampled": resampled,
}
"""The recipes that need no posterior, by short names."""
