"""Anabranch: densities with a likelihood you can trust.

Flows, exact mixtures of flows and the densities they stand on: one kind of object that can be fitted, scored, sampled
and saved.
"""

from anabranch import densities, diffusions, flows, models, networks, objectives, queries, training, transforms, vaes
from anabranch.draws import drawing
from anabranch.models import VAE, DepthMixture, Ensemble, Flow, FlowMixture, LatentVariable, PiecewiseFlow
from anabranch.storage import load, save
from anabranch.training import History, NonFiniteError, fit, fit_best_of, fit_ensemble, fit_variational, start_from
from anabranch.version import __version__

__all__ = [
    "VAE",
    "DepthMixture",
    "Ensemble",
    "Flow",
    "FlowMixture",
    "History",
    "LatentVariable",
    "NonFiniteError",
    "PiecewiseFlow",
    "__version__",
    "densities",
    "diffusions",
    "drawing",
    "fit",
    "fit_best_of",
    "fit_ensemble",
    "fit_variational",
    "flows",
    "load",
    "models",
    "networks",
    "objectives",
    "queries",
    "save",
    "start_from",
    "training",
    "transforms",
    "vaes",
]
