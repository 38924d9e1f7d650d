"""A registry for each kind of component, names and constructors: a new component is one line."""

from anabranch.testing.registry.case import Case
from anabranch.testing.registry.densities import DENSITIES as OTHERS
from anabranch.testing.registry.networks import CAUSAL_NETWORKS, NETWORKS
from anabranch.testing.registry.sequences import SEQUENCES
from anabranch.testing.registry.transforms import TRANSFORMS, UNIVARIATE_MAPS

DENSITIES = {**OTHERS, **SEQUENCES}

__all__ = ["CAUSAL_NETWORKS", "DENSITIES", "NETWORKS", "TRANSFORMS", "UNIVARIATE_MAPS", "Case"]
