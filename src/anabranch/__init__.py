"""Anabranch: densities with a likelihood you can trust.

Flows, exact mixtures of flows and the densities they stand on: one kind of object that can be fitted, scored, sampled and
saved.
"""

from anabranch import densities, flows, models, networks, transforms
from anabranch.models import DepthMixture, Flow
from anabranch.version import __version__

__all__ = [
    "DepthMixture",
    "Flow",
    "__version__",
    "densities",
    "flows",
    "models",
    "networks",
    "transforms",
]
