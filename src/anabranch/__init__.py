"""Anabranch: densities with a likelihood you can trust.

Flows, exact mixtures of flows and the densities they stand on: one kind of object that can be fitted, scored, sampled
and saved.
"""

from anabranch import densities, flows, models, networks, training, transforms
from anabranch.models import DepthMixture, Flow, FlowMixture, PiecewiseFlow
from anabranch.storage import load, save
from anabranch.training import History, NonFiniteError, fit
from anabranch.version import __version__

__all__ = [
    "DepthMixture",
    "Flow",
    "FlowMixture",
    "History",
    "NonFiniteError",
    "PiecewiseFlow",
    "__version__",
    "densities",
    "fit",
    "flows",
    "load",
    "models",
    "networks",
    "save",
    "training",
    "transforms",
]
