"""Plain networks that know nothing of densities, and the causal networks."""

from anabranch.networks.alone import Alone
from anabranch.networks.beside import Beside
from anabranch.networks.causal import CausalNetwork
from anabranch.networks.causal_convolution import CausalConvolution
from anabranch.networks.causal_transformer import CausalTransformer
from anabranch.networks.coarse import Certain, Coarse, Within
from anabranch.networks.constant import Constant
from anabranch.networks.convolutional import Convolutional
from anabranch.networks.finite_memory import FiniteMemory
from anabranch.networks.fourier_features import FourierFeatures
from anabranch.networks.gated_convolutional import GatedConvolutional
from anabranch.networks.in_order import InOrder
from anabranch.networks.layered import LayeredCausalNetwork
from anabranch.networks.levels_on_a_line import LevelPlaces, LevelScores
from anabranch.networks.lipschitz import LipschitzNetwork
from anabranch.networks.lipschitz_mlp import LipschitzMLP
from anabranch.networks.log_odds import LogOdds
from anabranch.networks.lookup import Lookup
from anabranch.networks.masked_mlp import MaskedMLP
from anabranch.networks.mlp import MLP
from anabranch.networks.network import Network
from anabranch.networks.of_angles import OfAngles
from anabranch.networks.pixelcnn import PixelCNN
from anabranch.networks.recurrent import Recurrent
from anabranch.networks.rescaled import Rescaled
from anabranch.networks.residual_mlp import ResidualMLP
from anabranch.networks.resolutions import Downsampling, Upsampling
from anabranch.networks.select import Pick, Select
from anabranch.networks.skip import Skip
from anabranch.networks.squares import Enlarged, OfSquares
from anabranch.networks.timed import Timed
from anabranch.networks.velocity_mlp import VelocityMLP
from anabranch.networks.with_mask import WithMask

__all__ = [
    "MLP",
    "Alone",
    "Beside",
    "CausalConvolution",
    "CausalNetwork",
    "CausalTransformer",
    "Certain",
    "Coarse",
    "Constant",
    "Convolutional",
    "Downsampling",
    "Enlarged",
    "FiniteMemory",
    "FourierFeatures",
    "GatedConvolutional",
    "InOrder",
    "LayeredCausalNetwork",
    "LevelPlaces",
    "LevelScores",
    "LipschitzMLP",
    "LipschitzNetwork",
    "LogOdds",
    "Lookup",
    "MaskedMLP",
    "Network",
    "OfAngles",
    "OfSquares",
    "Pick",
    "PixelCNN",
    "Recurrent",
    "Rescaled",
    "ResidualMLP",
    "Select",
    "Skip",
    "Timed",
    "Upsampling",
    "VelocityMLP",
    "WithMask",
    "Within",
]
