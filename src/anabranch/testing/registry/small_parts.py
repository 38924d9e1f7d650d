"""Small parts that many cases are made of."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn

from anabranch.models import Flow
from anabranch.networks import (
    MLP,
    Convolutional,
    LipschitzMLP,
    MaskedMLP,
    Network,
    ResidualMLP,
)
from anabranch.transforms import (
    ActNorm,
    Affine,
    Chain,
    Continuous,
    Coupling,
    Elementwise,
    Inverse,
    LULinear,
    OnPart,
    Pointwise,
    RationalQuadraticSpline,
    Residual,
    Squeeze,
    UnivariateMap,
)

SMALL: dict[str, Any] = {"hidden": (12,), "activation": "tanh"}
IMAGE = (2, 2, 2)
"""The shape of the images that components are checked on: (channels, height, width)."""


class SmallBijection(Network):
    """y = a x + tanh(W x + V c) / 8 of every feature, of those before too, or of all: one-to-one for moderate W."""

    def __init__(self, structure: str = "full", context: int = 0) -> None:
        super().__init__(3, 3, context)
        self.structure = structure
        self.scale = nn.Parameter(torch.ones(3))
        self.weight = nn.Parameter(torch.eye(3))
        self.of_context = nn.Linear(context, 3, bias=False) if context else None

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        weight = self.weight if self.structure == "full" else self.weight.tril()
        t = nn.functional.linear(x, weight if self.structure != "diagonal" else weight.triu())
        t = t if self.of_context is None else t + self.of_context(context)
        return self.scale * x + torch.tanh(t) / 8


def small_spline() -> RationalQuadraticSpline:
    """A spline of few bins."""
    return RationalQuadraticSpline(bins=4, bound=3.0)


def small_masked(g: UnivariateMap, context: int = 0, features: int = 3) -> MaskedMLP:
    """A masked network for a map."""
    return MaskedMLP(features, g.size, context, hidden=(12, 12), activation="tanh")


def small_coupling(g: UnivariateMap, context: int = 0) -> Coupling:
    """A coupling of three features by a small network."""
    return Coupling([True, False, True], g, MLP(1, 2 * g.size, context, hidden=(12,), activation="tanh"))


def residual_coupling() -> Coupling:
    """The same by a residual network."""
    return Coupling([False, True, True], Affine(), ResidualMLP(1, 4, hidden=8, activation="gelu"))


def small_residual(context: int = 0, log_det: Literal["exact", "estimate"] = "exact", features: int = 3) -> Residual:
    """A residual layer by a contraction that is far from the identity, and that its inverse finds in a few steps."""
    network = LipschitzMLP(features, features, context, hidden=(8,), coefficient=0.5)
    return Residual(network, log_det, terms=4, steps=17)


def elementwise(g: UnivariateMap, network: Network | None = None) -> Elementwise:
    """A map of every one of three features."""
    return Elementwise(g, features=3, network=network)


def image_coupling(g: UnivariateMap, mask: str, context: int | tuple[int, ...] = 0) -> Coupling:
    """A coupling over a mask of `IMAGE`: of the second channel, by convolutions, or of a checkerboard."""
    flags = torch.zeros(IMAGE, dtype=torch.bool)
    if mask == "channels":
        flags[1] = True
        return Coupling(flags, g, Convolutional((1, 2, 2), (g.size, 2, 2), context, hidden=(4,), activation="tanh"))
    flags[:, 0, 1] = flags[:, 1, 0] = True
    if mask == "checkerboard":
        return Coupling(flags, g, Convolutional(IMAGE, (2 * g.size, 2, 2), context, hidden=(4,), activation="tanh"))
    return Coupling(flags, g, MLP(IMAGE, 8 * g.size, context, hidden=(8,), activation="tanh"))


def two_levels() -> Chain:
    """A multi-scale chain on (1, 4, 4): half of the channels leave after the first level."""
    channels = torch.tensor([True, False, True, False])[:, None, None].expand(4, 2, 2)
    coupling = Coupling(channels, Affine(), Convolutional((2, 2, 2), (4, 2, 2), hidden=(4,), activation="tanh"))
    deeper = Coupling(
        torch.arange(8).reshape(8, 1, 1) % 2 == 0, Affine(), Convolutional((4, 1, 1), (8, 1, 1), hidden=(4,))
    )
    inner = Chain([Squeeze(), Pointwise(LULinear(8)), deeper, Inverse(Squeeze())])
    return Chain([Squeeze(), Pointwise(ActNorm(4)), coupling, OnPart(inner, [0, 1])])


def exactly(flow: Flow) -> Flow:
    """A flow of one layer whose log-determinant is an estimate, with the same layer whose log-determinant is exact."""
    layer = flow.transform
    if isinstance(layer, Residual):
        return Flow(Residual(layer.network, "exact", steps=layer.steps), flow.base)
    if isinstance(layer, Continuous):
        return Flow(Continuous(layer.field, "exact", layer.solver), flow.base)
    raise ValueError(f"flow: expected one of a Residual or a Continuous, got one of a {type(layer).__name__}")
