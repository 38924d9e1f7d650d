"""Bijections between data and noise: the contract, structures, univariate maps, linear layers and their composition."""

from anabranch.transforms.actnorm import ActNorm
from anabranch.transforms.affine import Affine, Shift
from anabranch.transforms.autoregressive import Autoregressive
from anabranch.transforms.bernstein import BernsteinPolynomial
from anabranch.transforms.blockwise import Blockwise
from anabranch.transforms.cdf import CDF
from anabranch.transforms.chain import Chain
from anabranch.transforms.circular_spline import CircularSpline
from anabranch.transforms.continuous import Continuous
from anabranch.transforms.coupling import Coupling
from anabranch.transforms.deep_sigmoid import DeepSigmoid
from anabranch.transforms.differentiable import Differentiable
from anabranch.transforms.elementwise import Elementwise
from anabranch.transforms.exponential_linear import ExponentialLinear
from anabranch.transforms.half_space import HalfSpace
from anabranch.transforms.heavy_tails import HeavyTails
from anabranch.transforms.householder import Householder
from anabranch.transforms.identity import Identity
from anabranch.transforms.inverse import Inverse
from anabranch.transforms.linear import Linear, LULinear
from anabranch.transforms.masks import checkerboard, half_of_channels
from anabranch.transforms.memory import Checkpoint, Invert, Memory, Store
from anabranch.transforms.monotone import Exp, Log, Logit, Probit, Sigmoid, Softplus, Tanh
from anabranch.transforms.on_part import OnPart
from anabranch.transforms.pareto_tails import ParetoTails
from anabranch.transforms.permutation import Permutation
from anabranch.transforms.planar import Planar
from anabranch.transforms.pointwise import Pointwise
from anabranch.transforms.qr_linear import QRLinear
from anabranch.transforms.quadratic_spline import QuadraticSpline
from anabranch.transforms.radial import Radial
from anabranch.transforms.rational_quadratic import RationalQuadraticSpline
from anabranch.transforms.reshape import Reshape
from anabranch.transforms.residual import Residual
from anabranch.transforms.solver import Adaptive, Fixed, Solver
from anabranch.transforms.squeeze import Squeeze
from anabranch.transforms.standardise import Standardise
from anabranch.transforms.sylvester import Sylvester
from anabranch.transforms.torch_transform import TorchTransform
from anabranch.transforms.transform import Inversion, Transform
from anabranch.transforms.univariate import UnivariateMap

__all__ = [
    "CDF",
    "ActNorm",
    "Adaptive",
    "Affine",
    "Autoregressive",
    "BernsteinPolynomial",
    "Blockwise",
    "Chain",
    "Checkpoint",
    "CircularSpline",
    "Continuous",
    "Coupling",
    "DeepSigmoid",
    "Differentiable",
    "Elementwise",
    "Exp",
    "ExponentialLinear",
    "Fixed",
    "HalfSpace",
    "HeavyTails",
    "Householder",
    "Identity",
    "Inverse",
    "Inversion",
    "Invert",
    "LULinear",
    "Linear",
    "Log",
    "Logit",
    "Memory",
    "OnPart",
    "ParetoTails",
    "Permutation",
    "Planar",
    "Pointwise",
    "Probit",
    "QRLinear",
    "QuadraticSpline",
    "Radial",
    "RationalQuadraticSpline",
    "Reshape",
    "Residual",
    "Shift",
    "Sigmoid",
    "Softplus",
    "Solver",
    "Squeeze",
    "Standardise",
    "Store",
    "Sylvester",
    "Tanh",
    "TorchTransform",
    "Transform",
    "UnivariateMap",
    "checkerboard",
    "half_of_channels",
]
