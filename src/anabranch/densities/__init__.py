"""Densities: the two contracts, the closed forms, products and Gaussian mixtures."""

from anabranch.densities.at_context import AtContext, at_context
from anabranch.densities.bernoulli import Bernoulli
from anabranch.densities.categorical import Categorical
from anabranch.densities.closed_form import ClosedForm
from anabranch.densities.composite import Composite, CompositeMixture
from anabranch.densities.density import Density
from anabranch.densities.dequantized import Dequantized
from anabranch.densities.distribution_view import DensityDistribution
from anabranch.densities.encoded import Encoded
from anabranch.densities.gaussian_mixture import GaussianMixture
from anabranch.densities.independent import Independent
from anabranch.densities.mixture import Mixture
from anabranch.densities.moments import Moments
from anabranch.densities.normal import Normal
from anabranch.densities.one_hot import OneHot
from anabranch.densities.parameters import Parameters
from anabranch.densities.regardless import Regardless
from anabranch.densities.reordered import Reordered
from anabranch.densities.resampled import Resampled
from anabranch.densities.student_t import StudentT
from anabranch.densities.symptoms import CollapseWarning, FloorWarning
from anabranch.densities.uniform import Uniform
from anabranch.families.distribution_function import DistributionFunction

__all__ = [
    "AtContext",
    "Bernoulli",
    "Categorical",
    "ClosedForm",
    "CollapseWarning",
    "Composite",
    "CompositeMixture",
    "Density",
    "DensityDistribution",
    "Dequantized",
    "DistributionFunction",
    "Encoded",
    "FloorWarning",
    "GaussianMixture",
    "Independent",
    "Mixture",
    "Moments",
    "Normal",
    "OneHot",
    "Parameters",
    "Regardless",
    "Reordered",
    "Resampled",
    "StudentT",
    "Uniform",
    "at_context",
]
