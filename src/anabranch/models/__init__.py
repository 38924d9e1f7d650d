"""Models: densities made of transforms, mixtures and networks."""

from anabranch.models import pieces
from anabranch.models.any_order import AnyOrder
from anabranch.models.autoregressive import Autoregressive
from anabranch.models.components import Embedded
from anabranch.models.decoded_draws import DecodedDraws
from anabranch.models.depth_mixture import DepthMixture
from anabranch.models.depth_readout import DepthReadout
from anabranch.models.depths import Depths
from anabranch.models.diffusion import Diffusion
from anabranch.models.draws_at_temperature import DrawsAtTemperature
from anabranch.models.earlier_starts import EarlierStarts
from anabranch.models.ensemble import Ensemble
from anabranch.models.entries import Entries
from anabranch.models.factorized import Factorized
from anabranch.models.flow import Flow
from anabranch.models.flow_mixture import FlowMixture
from anabranch.models.gaussian_copula import GaussianCopula
from anabranch.models.hierarchical_vae import HierarchicalVAE
from anabranch.models.latent_depth_mixture import LatentDepthMixture
from anabranch.models.latent_level import LatentLevel
from anabranch.models.latent_mixture import LatentMixture
from anabranch.models.latent_space import at_temperature, interpolate, reconstruction_error
from anabranch.models.latent_variable import VAE, LatentVariable
from anabranch.models.marginals import Marginals
from anabranch.models.noise_schedule import CosineSchedule, LinearSchedule, MonotoneSchedule, NoiseSchedule
from anabranch.models.not_at_random import NotAtRandom
from anabranch.models.observed import Observed
from anabranch.models.of_columns import OfColumns
from anabranch.models.piecewise_flow import PiecewiseFlow
from anabranch.models.position_chain import PositionChain
from anabranch.models.probability_flow import ProbabilityFlow
from anabranch.models.sequence_depth_mixture import SequenceDepthMixture
from anabranch.models.step_depth_mixture import StepDepthMixture
from anabranch.models.stretch import Stretch
from anabranch.models.subset import Subset
from anabranch.models.vamp_prior import VampPrior

__all__ = [
    "VAE",
    "AnyOrder",
    "Autoregressive",
    "CosineSchedule",
    "DecodedDraws",
    "DepthMixture",
    "DepthReadout",
    "Depths",
    "Diffusion",
    "DrawsAtTemperature",
    "EarlierStarts",
    "Embedded",
    "Ensemble",
    "Entries",
    "Factorized",
    "Flow",
    "FlowMixture",
    "GaussianCopula",
    "HierarchicalVAE",
    "LatentDepthMixture",
    "LatentLevel",
    "LatentMixture",
    "LatentVariable",
    "LinearSchedule",
    "Marginals",
    "MonotoneSchedule",
    "NoiseSchedule",
    "NotAtRandom",
    "Observed",
    "OfColumns",
    "PiecewiseFlow",
    "PositionChain",
    "ProbabilityFlow",
    "SequenceDepthMixture",
    "StepDepthMixture",
    "Stretch",
    "Subset",
    "VampPrior",
    "at_temperature",
    "interpolate",
    "pieces",
    "reconstruction_error",
]
