"""Models: densities made of transforms, mixtures and networks."""

from anabranch.models.depth_mixture import DepthMixture
from anabranch.models.flow import Flow

__all__ = ["DepthMixture", "Flow"]
