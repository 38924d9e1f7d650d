"""The conformance suite: put your own transform, density, network or univariate map through what ours go through."""

from anabranch.testing.densities import check_density
from anabranch.testing.gaussian_chain import (
    chain_depths,
    chain_marginal,
    depths_marginal,
    guess_exactly,
    linear_gaussian_chain,
)
from anabranch.testing.linear_diffusion import diffusion_depths, diffusion_marginal, linear_diffusion
from anabranch.testing.linear_gaussian import linear_gaussian, marginal
from anabranch.testing.linear_gaussian_classes import (
    classes_marginal,
    linear_gaussian_classes,
    linear_gaussian_m2,
    m2_marginal,
)
from anabranch.testing.mixtures import check_mixture
from anabranch.testing.networks import check_causal_network, check_network
from anabranch.testing.normalisation import check_normalised
from anabranch.testing.peak_memory import peak_memory
from anabranch.testing.randomize import randomize
from anabranch.testing.transforms import check_transform
from anabranch.testing.univariate import check_univariate_map

__all__ = [
    "chain_depths",
    "chain_marginal",
    "check_causal_network",
    "check_density",
    "check_mixture",
    "check_network",
    "check_normalised",
    "check_transform",
    "check_univariate_map",
    "classes_marginal",
    "depths_marginal",
    "diffusion_depths",
    "diffusion_marginal",
    "guess_exactly",
    "linear_diffusion",
    "linear_gaussian",
    "linear_gaussian_chain",
    "linear_gaussian_classes",
    "linear_gaussian_m2",
    "m2_marginal",
    "marginal",
    "peak_memory",
    "randomize",
]
