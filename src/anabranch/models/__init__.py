"""Models: densities made of transforms, mixtures and networks."""

from anabranch.models.components import Embedded
from anabranch.models.depth_mixture import DepthMixture
from anabranch.models.ensemble import Ensemble
from anabranch.models.flow import Flow
from anabranch.models.flow_mixture import FlowMixture
from anabranch.models.piecewise_flow import PiecewiseFlow

__all__ = ["DepthMixture", "Embedded", "Ensemble", "Flow", "FlowMixture", "PiecewiseFlow"]
