"""A registry for each kind of component, names and constructors: a new component is one line."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from anabranch import families as family_of
from anabranch import flows
from anabranch.datasets import Circles, Pinwheel
from anabranch.densities import (
    AtContext,
    Bernoulli,
    Categorical,
    Density,
    GaussianMixture,
    Independent,
    Normal,
    Regardless,
    Reordered,
    Resampled,
    StudentT,
    Uniform,
)
from anabranch.draws import drawing
from anabranch.families import (
    Channels,
    DiscretizedLogistics,
    Family,
    Gaussians,
    Lattice,
    Levels,
    Logistics,
    Mapped,
    SeparateChannels,
    SubPixels,
    Wrapped,
)
from anabranch.models import (
    AnyOrder,
    DepthMixture,
    Embedded,
    Ensemble,
    Flow,
    FlowMixture,
    GaussianCopula,
    LatentVariable,
    Marginals,
    PiecewiseFlow,
    SequenceDepthMixture,
    StepDepthMixture,
    Subset,
    pieces,
)
from anabranch.models import Autoregressive as ChainRule
from anabranch.networks import (
    MLP,
    CausalConvolution,
    CausalTransformer,
    Constant,
    Convolutional,
    FiniteMemory,
    InOrder,
    LogOdds,
    MaskedMLP,
    Network,
    PixelCNN,
    Recurrent,
    ResidualMLP,
    Select,
)
from anabranch.testing.linear_gaussian import linear_gaussian, marginal
from anabranch.testing.randomize import randomize
from anabranch.transforms import (
    CDF,
    ActNorm,
    Affine,
    Autoregressive,
    Blockwise,
    Chain,
    Checkpoint,
    Coupling,
    Elementwise,
    Exp,
    HalfSpace,
    Householder,
    Identity,
    Inverse,
    Invert,
    Linear,
    Log,
    Logit,
    LULinear,
    Memory,
    OnPart,
    Permutation,
    Pointwise,
    QuadraticSpline,
    RationalQuadraticSpline,
    Reshape,
    Shift,
    Sigmoid,
    Softplus,
    Squeeze,
    Standardise,
    Tanh,
    TorchTransform,
    UnivariateMap,
)


@dataclass(frozen=True)
class Case:
    """A component to check: how to build it, the size of its context, and where its data live.

    Attributes:
        build: makes it, with random weights.
        context: size of its context, or its shape; 0 for none.
        features: of one x, or its shape, for transforms and networks.
        domain: makes data from standard normal numbers, for transforms that do not take all numbers.
        compiles: whether `torch.compile(fullgraph=True)` takes it.
        truth: makes the same density, known exactly, of one of which a bound is known.
    """

    build: Callable[[], Any]
    context: int | tuple[int, ...] = 0
    features: int | tuple[int, ...] = 3
    domain: Callable[[Tensor], Tensor] = lambda x: x
    compiles: bool = True
    truth: Callable[[Any], Any] | None = None

    def make(self) -> Any:
        """Build it, with weights away from their start, the same every time."""
        with drawing(0):
            return randomize(self.build(), scale=0.2)

    def x(self, rows: int = 4) -> Tensor:
        """Some rows of data."""
        generator = torch.Generator().manual_seed(1)
        return self.domain(torch.randn(rows, *_shape(self.features), generator=generator))

    def contexts(self, rows: int = 4) -> Tensor | None:
        """Some contexts."""
        generator = torch.Generator().manual_seed(2)
        return torch.randn(rows, *_shape(self.context), generator=generator) if self.context else None


def _shape(size: int | tuple[int, ...]) -> tuple[int, ...]:
    return (size,) if isinstance(size, int) else size


def _spline() -> RationalQuadraticSpline:
    return RationalQuadraticSpline(bins=4, bound=3.0)


def _masked(g: UnivariateMap, context: int = 0, features: int = 3) -> MaskedMLP:
    return MaskedMLP(features, g.size, context, hidden=(12, 12), activation="tanh")


def _coupling(g: UnivariateMap, context: int = 0) -> Coupling:
    return Coupling([True, False, True], g, MLP(1, 2 * g.size, context, hidden=(12,), activation="tanh"))


def _residual_coupling() -> Coupling:
    return Coupling([False, True, True], Affine(), ResidualMLP(1, 4, hidden=8, activation="gelu"))


def _elementwise(g: UnivariateMap, network: Network | None = None) -> Elementwise:
    return Elementwise(g, features=3, network=network)


_IMAGE = (2, 2, 2)
"""The shape of the images that components are checked on: (channels, height, width)."""

NETWORKS: dict[str, Case] = {
    "MLP": Case(lambda: MLP(3, 4, hidden=(8, 8))),
    "MLP of context": Case(lambda: MLP(3, 4, 2, hidden=(8, 8)), context=2),
    "linear": Case(lambda: MLP(3, 4, hidden=())),
    "linear of context": Case(lambda: MLP(3, 4, 2, hidden=()), context=2),
    "residual MLP": Case(lambda: ResidualMLP(3, 4, hidden=8, blocks=2)),
    "residual MLP of context": Case(lambda: ResidualMLP(3, 4, 2, hidden=8, blocks=2), context=2),
    "constant": Case(lambda: Constant(3, 4)),
    "log-odds": Case(lambda: LogOdds(MLP(3, 4, hidden=(8,)))),
    "selection": Case(lambda: Select(MLP(3, 6, hidden=(8,)), [5, 0, 2, 2])),
    "selection of context": Case(lambda: Select(MLP(3, 6, 2, hidden=(8,)), [5, 0, 2, 2]), context=2),
    "MLP of images": Case(lambda: MLP(_IMAGE, _IMAGE, (1, 2, 2), hidden=(8,)), context=(1, 2, 2), features=_IMAGE),
    "residual MLP of images": Case(lambda: ResidualMLP(_IMAGE, 4, hidden=8), features=_IMAGE),
    "constant image": Case(lambda: Constant(_IMAGE, _IMAGE), features=_IMAGE),
    "convolutional": Case(lambda: Convolutional(_IMAGE, (3, 2, 2), hidden=(4, 4)), features=_IMAGE),
    "convolutional to a vector, of context": Case(
        lambda: Convolutional(_IMAGE, 3, 2, hidden=(4,)), context=2, features=_IMAGE
    ),
    "convolutional of an image as context": Case(
        lambda: Convolutional(_IMAGE, (3, 2, 2), (1, 2, 2), hidden=(4,)), context=(1, 2, 2), features=_IMAGE
    ),
}


def _masked_mlp(features: int, context: int, *hidden: int) -> Case:
    return Case(
        lambda: MaskedMLP(features, 3, context, hidden=hidden, activation="tanh"), context=context, features=features
    )


def _pixelcnn(features: tuple[int, ...], context: int | tuple[int, ...] = 0, **more: Any) -> Case:
    event = features if more.get("channels") is None else (*features, more["channels"])
    return Case(
        lambda: PixelCNN(features, 2, context, hidden=12, layers=2, first_kernel_size=5, **more).eval(),
        context=context,
        features=event,
    )


CAUSAL_NETWORKS: dict[str, Case] = {
    "causal transformer": Case(lambda: CausalTransformer(6, 2, hidden=8, layers=2, heads=2), features=6),
    "causal transformer over channels, with dropout, of an image": Case(
        lambda: CausalTransformer(4, 2, (1, 2, 2), 8, layers=2, heads=4, dropout=0.5, channels=3).eval(),
        features=(4, 3),
        context=(1, 2, 2),
    ),
    "causal transformer over an order of channels": Case(
        lambda: CausalTransformer((2, 3, 2), 2, hidden=8, layers=2, heads=1), features=(2, 3, 2)
    ),
    "causal transformer that reads the first layer, of context": Case(
        lambda: CausalTransformer((2, 3), 2, 2, hidden=8, layers=3, heads=2, reads="first"), features=(2, 3), context=2
    ),
    "causal transformer over one feature, of context": Case(
        lambda: CausalTransformer(1, 2, 2, hidden=8, layers=1, heads=2), features=1, context=2
    ),
    "PixelCNN": _pixelcnn((4, 5)),
    "PixelCNN of wide kernels, over channels, of context": _pixelcnn((4, 3), 2, kernel_size=5, channels=2),
    "PixelCNN of an image, with dropout": _pixelcnn((3, 4), (2, 3, 4), dropout=0.5, embed_positions=False),
    "PixelCNN over an order of channels": _pixelcnn((3, 3, 3)),
    "PixelCNN over an order of channels, of an image": _pixelcnn((3, 2, 2), (1, 3, 2), channels=2),
    "PixelCNN over one pixel, of context": _pixelcnn((1, 1), 2),
    "masked MLP over positions with channels": Case(
        lambda: MaskedMLP(4, 3, hidden=(12, 12), activation="tanh", channels=2), features=(4, 2)
    ),
    "masked MLP over the pixels of an image, of an image": Case(
        lambda: MaskedMLP((2, 2), 3, (1, 2, 2), hidden=(12,), activation="tanh", channels=3),
        features=(2, 2, 3),
        context=(1, 2, 2),
    ),
    "masked MLP over one feature": _masked_mlp(1, 0, 8),
    "masked MLP over one feature, of context": _masked_mlp(1, 2, 8),
    "masked MLP of uneven layers": _masked_mlp(2, 0, 7, 9),
    "masked MLP of uneven layers, of context": _masked_mlp(2, 2, 7, 9),
    "masked MLP": _masked_mlp(5, 0, 16, 16),
    "masked MLP of context": _masked_mlp(5, 2, 16, 16),
    "masked MLP of layers narrower than x": _masked_mlp(6, 0, 4, 4),
    "masked MLP of layers narrower than x, of context": _masked_mlp(6, 2, 4, 4),
    "masked MLP in another order": Case(
        lambda: InOrder(MaskedMLP(5, 3, hidden=(16, 16), activation="tanh"), [3, 1, 4, 0, 2]), features=5
    ),
    "masked MLP in another order of the pixels of an image, of context": Case(
        lambda: InOrder(MaskedMLP((2, 2), 3, 2, hidden=(12,), activation="tanh", channels=3), [2, 0, 3, 1]),
        features=(2, 2, 3),
        context=2,
    ),
    "finite memory": Case(lambda: FiniteMemory(6, 2, memory=3, hidden=8, activation="tanh"), features=6),
    "finite memory of a window": Case(
        lambda: FiniteMemory((3, 4), 2, memory=(1, 2), hidden=8, activation="tanh"), features=(3, 4)
    ),
    "finite memory of a window over channels, of an image": Case(
        lambda: FiniteMemory((3, 3), 2, (1, 2, 2), (2, 1), 8, activation="tanh", embed_positions=True, channels=2),
        features=(3, 3, 2),
        context=(1, 2, 2),
    ),
    "finite memory over channels, of context": Case(
        lambda: FiniteMemory(5, 2, 2, memory=2, hidden=8, activation="tanh", channels=3), features=(5, 3), context=2
    ),
    "finite memory over one feature, of context": Case(
        lambda: FiniteMemory(1, 3, 2, hidden=8, activation="tanh"), features=1, context=2
    ),
    "recurrent": Case(lambda: Recurrent(5, 2, hidden=6), features=5),
    "recurrent over channels, of context": Case(
        lambda: Recurrent(4, 2, 2, hidden=6, embed_positions=True, channels=3), features=(4, 3), context=2
    ),
    "recurrent over the pixels of an image, of an image": Case(
        lambda: Recurrent((2, 3), 2, (1, 2, 2), hidden=6, layers=1), features=(2, 3), context=(1, 2, 2)
    ),
    "recurrent over one feature, of context": Case(lambda: Recurrent(1, 2, 2, hidden=6), features=1, context=2),
    "causal convolution": Case(lambda: CausalConvolution(7, 2, hidden=4, skip=8, layers=4), features=7),
    "causal convolution of three taps over the pixels of an image, of context": Case(
        lambda: CausalConvolution((3, 4), 2, 2, 4, 8, 3, kernel_size=3, dilations=(1, 4), embed_positions=True),
        features=(3, 4),
        context=2,
    ),
    "causal convolution over channels, of an image": Case(
        lambda: CausalConvolution(5, 2, (1, 2, 2), hidden=4, skip=8, layers=2, channels=3),
        features=(5, 3),
        context=(1, 2, 2),
    ),
    "causal convolution over one feature, of context": Case(
        lambda: CausalConvolution(1, 2, 2, hidden=4, skip=8, layers=2), features=1, context=2
    ),
}

UNIVARIATE_MAPS: dict[str, Case] = {
    "affine": Case(Affine),
    "shift": Case(Shift),
    "rational-quadratic spline": Case(_spline),
    "quadratic spline": Case(lambda: QuadraticSpline(bins=4, bound=3.0)),
    "exp": Case(Exp),
    "log": Case(Log, domain=torch.exp),
    "sigmoid": Case(Sigmoid),
    "logit": Case(Logit, domain=torch.sigmoid),
    "softplus": Case(Softplus),
    "tanh": Case(Tanh),
    "normal CDF": Case(lambda: CDF(torch.distributions.Normal(0.5, 2.0))),
    "Laplace CDF": Case(lambda: CDF(torch.distributions.Laplace(0.0, 1.0))),
}


def _standardising() -> Standardise:
    layer = Standardise(3)
    layer.initialize(torch.tensor([[20.0, 0.0, -30.0], [24.0, 1.0, -33.0], [22.0, 2.0, -36.0]]))
    return layer


def _mixed_chain(memory: str | Memory) -> Chain:
    inner = Chain([LULinear(3), Permutation([2, 0, 1])], memory=memory)
    blocks = {"norm": ActNorm(3), "turn": Householder(3), "spline": _coupling(_spline(), 2), "inner": inner}
    return Chain({**blocks, "affine": _coupling(Affine())}, memory=memory)


def _of_images(g: UnivariateMap, mask: str, context: int | tuple[int, ...] = 0) -> Coupling:
    """A coupling over a mask of `_IMAGE`: of the second channel, by convolutions, or of a checkerboard."""
    flags = torch.zeros(_IMAGE, dtype=torch.bool)
    if mask == "channels":
        flags[1] = True
        return Coupling(flags, g, Convolutional((1, 2, 2), (g.size, 2, 2), context, hidden=(4,), activation="tanh"))
    flags[:, 0, 1] = flags[:, 1, 0] = True
    if mask == "checkerboard":
        return Coupling(flags, g, Convolutional(_IMAGE, (2 * g.size, 2, 2), context, hidden=(4,), activation="tanh"))
    return Coupling(flags, g, MLP(_IMAGE, 8 * g.size, context, hidden=(8,), activation="tanh"))


def _two_levels() -> Chain:
    """A multi-scale chain on (1, 4, 4): half of the channels leave after the first level."""
    channels = torch.tensor([True, False, True, False])[:, None, None].expand(4, 2, 2)
    coupling = Coupling(channels, Affine(), Convolutional((2, 2, 2), (4, 2, 2), hidden=(4,), activation="tanh"))
    deeper = Coupling(
        torch.arange(8).reshape(8, 1, 1) % 2 == 0, Affine(), Convolutional((4, 1, 1), (8, 1, 1), hidden=(4,))
    )
    inner = Chain([Squeeze(), Pointwise(LULinear(8)), deeper, Inverse(Squeeze())])
    return Chain([Squeeze(), Pointwise(ActNorm(4)), coupling, OnPart(inner, [0, 1])])


_KW: dict[str, Any] = {"hidden": (12,), "activation": "tanh"}

TRANSFORMS: dict[str, Case] = {
    "elementwise affine": Case(lambda: _elementwise(Affine())),
    "elementwise spline": Case(lambda: _elementwise(_spline())),
    "elementwise quadratic spline": Case(lambda: _elementwise(QuadraticSpline(bins=4, bound=3.0))),
    "elementwise affine of context": Case(lambda: _elementwise(Affine(), MLP(2, 6, hidden=(8,))), context=2),
    "elementwise softplus": Case(lambda: Elementwise(Softplus())),
    "elementwise logit": Case(lambda: Elementwise(Logit()), domain=torch.sigmoid),
    "half space": Case(lambda: HalfSpace(3, 1), domain=lambda x: torch.cat([x[..., :1], x[..., 1:].exp()], dim=-1)),
    "other half space": Case(lambda: HalfSpace(3, positive=False), domain=lambda x: -x.exp()),
    "elementwise CDF": Case(lambda: Elementwise(CDF(torch.distributions.Normal(0.0, 1.0)))),
    "affine coupling": Case(lambda: _coupling(Affine())),
    "affine coupling of context": Case(lambda: _coupling(Affine(), 2), context=2),
    "additive coupling": Case(lambda: _coupling(Shift())),
    "spline coupling": Case(lambda: _coupling(_spline())),
    "residual coupling": Case(_residual_coupling),
    "affine autoregressive": Case(lambda: Autoregressive(Affine(), _masked(Affine()))),
    "spline autoregressive": Case(lambda: Autoregressive(_spline(), _masked(_spline()))),
    "ordered autoregressive of context": Case(
        lambda: Autoregressive(Affine(), _masked(Affine(), 2), order=[2, 0, 1]), context=2
    ),
    "autoregressive of one feature": Case(
        lambda: Autoregressive(_spline(), _masked(_spline(), features=1)), features=1
    ),
    "inverse autoregressive": Case(lambda: Inverse(Autoregressive(Affine(), _masked(Affine())))),
    "permutation": Case(lambda: Permutation([2, 0, 1])),
    "linear": Case(lambda: Linear(3)),
    "LU": Case(lambda: LULinear(3)),
    "Householder": Case(lambda: Householder(3, reflections=2)),
    "ActNorm": Case(lambda: ActNorm(3)),
    "standardised": Case(_standardising),
    "chain": Case(
        lambda: Chain({"norm": ActNorm(3), "turn": Householder(3), "spline": _coupling(_spline(), 2)}), context=2
    ),
    "elementwise CDF of a bounded distribution": Case(
        lambda: Elementwise(CDF(torch.distributions.Exponential(1.5))), domain=torch.exp
    ),
    "inverse softplus": Case(lambda: Inverse(Elementwise(Softplus())), domain=torch.exp),
    "chain with checkpoints": Case(lambda: _mixed_chain("checkpoint"), context=2),
    "chain with checkpoints of segments": Case(lambda: _mixed_chain(Checkpoint(every=2)), context=2),
    "chain that inverts": Case(lambda: _mixed_chain("invert"), context=2, compiles=False),
    "chain that inverts, with anchors": Case(lambda: _mixed_chain(Invert(every=2)), context=2, compiles=False),
    "autoregressive chain with checkpoints": Case(
        lambda: Chain([Autoregressive(_spline(), _masked(_spline())), LULinear(3)], memory="checkpoint")
    ),
    "torch transform": Case(lambda: TorchTransform(torch.distributions.transforms.SigmoidTransform())),
    "torch transform of a domain": Case(
        lambda: TorchTransform(torch.distributions.transforms.PowerTransform(torch.tensor(2.0))), domain=torch.exp
    ),
    "nsf, autoregressive": Case(lambda: flows.nsf(3, blocks=2, bins=4, **_KW)),
    "nsf, coupling, of context": Case(
        lambda: flows.nsf(3, 2, blocks=2, bins=4, structure="coupling", **_KW), context=2
    ),
    "maf": Case(lambda: flows.maf(3, blocks=2, **_KW)),
    "maf of context": Case(lambda: flows.maf(3, 2, blocks=2, **_KW), context=2),
    "iaf": Case(lambda: flows.iaf(3, blocks=2, **_KW)),
    "iaf of context": Case(lambda: flows.iaf(3, 2, blocks=2, **_KW), context=2),
    "realnvp": Case(lambda: flows.realnvp(3, blocks=3, **_KW)),
    "realnvp of context": Case(lambda: flows.realnvp(3, 2, blocks=3, **_KW), context=2),
    "nice": Case(lambda: flows.nice(3, blocks=3, **_KW)),
    "tarflow": Case(
        lambda: flows.tarflow(_IMAGE, patch=1, blocks=2, hidden=8, layers=1, heads=2), features=_IMAGE, compiles=False
    ),
    "tarflow of context": Case(
        lambda: flows.tarflow((1, 2, 4), 2, blocks=2, hidden=8, layers=1, heads=2), features=(1, 2, 4), context=2
    ),
    "spline autoregressive over a sequence, by a transformer": Case(
        lambda: Autoregressive(_spline(), CausalTransformer(4, _spline().size, hidden=8, layers=1, heads=2)), features=4
    ),
    "spline autoregressive over a sequence of channels, by convolutions, of context": Case(
        lambda: Autoregressive(
            _spline(), CausalConvolution(3, 2 * _spline().size, 2, 6, 6, layers=1, channels=2), order=[2, 0, 1]
        ),
        features=(3, 2),
        context=2,
        compiles=False,
    ),
    "affine autoregressive over an image, by a PixelCNN": Case(
        lambda: Autoregressive(Affine(), PixelCNN((2, 3), 2, hidden=6, layers=1)), features=(2, 3), compiles=False
    ),
    "identity": Case(Identity),
    "identity of images": Case(lambda: Identity(3), features=_IMAGE),
    "reshape": Case(lambda: Reshape(_IMAGE, 8), features=_IMAGE),
    "inverse reshape": Case(lambda: Inverse(Reshape(_IMAGE, 8)), features=8),
    "squeeze": Case(Squeeze, features=_IMAGE),
    "inverse squeeze": Case(lambda: Inverse(Squeeze()), features=(4, 1, 2)),
    "elementwise affine of images": Case(lambda: Elementwise(Affine(), _IMAGE), features=_IMAGE),
    "elementwise spline of images, of an image": Case(
        lambda: Elementwise(_spline(), _IMAGE, Convolutional((1, 2, 2), (2 * _spline().size, 2, 2), hidden=(4,))),
        features=_IMAGE,
        context=(1, 2, 2),
    ),
    "elementwise logit of images": Case(
        lambda: Elementwise(Logit(), event_dim=3), features=_IMAGE, domain=torch.sigmoid
    ),
    "logit on every block": Case(lambda: Blockwise(Elementwise(Logit()), 3), features=_IMAGE, domain=torch.sigmoid),
    "coupling on every block, of context": Case(
        lambda: Blockwise(_coupling(Affine(), 2), 2), features=(2, 3), context=2
    ),
    "half space at every point": Case(
        lambda: Pointwise(HalfSpace(2)), features=_IMAGE, domain=lambda x: torch.cat([x[:, :1].exp(), x[:, 1:]], dim=1)
    ),
    "LU at every point": Case(lambda: Pointwise(LULinear(2)), features=_IMAGE),
    "linear at every point": Case(lambda: Pointwise(Linear(2)), features=_IMAGE),
    "Householder at every point": Case(lambda: Pointwise(Householder(2)), features=_IMAGE),
    "ActNorm at every point": Case(lambda: Pointwise(ActNorm(2)), features=_IMAGE),
    "standardised at every point": Case(lambda: Pointwise(Standardise(2)), features=_IMAGE),
    "permutation at every point of a sequence": Case(
        lambda: Pointwise(Permutation([2, 0, 1]), event_dim=2), features=(3, 2)
    ),
    "coupling over channels": Case(lambda: _of_images(Affine(), "channels"), features=_IMAGE),
    "coupling over channels, of an image": Case(
        lambda: _of_images(_spline(), "channels", (1, 2, 2)), features=_IMAGE, context=(1, 2, 2)
    ),
    "coupling over a checkerboard, of context": Case(
        lambda: _of_images(_spline(), "checkerboard", 2), features=_IMAGE, context=2
    ),
    "coupling over a checkerboard by an MLP": Case(lambda: _of_images(Shift(), "vector"), features=_IMAGE),
    "autoregressive over positions with channels": Case(
        lambda: Autoregressive(Affine(), MaskedMLP(3, 4, channels=2, **_KW), order=[2, 0, 1]), features=(3, 2)
    ),
    "autoregressive over pixels, of an image": Case(
        lambda: Autoregressive(_spline(), MaskedMLP(_IMAGE, _spline().size, (1, 2, 2), **_KW)),
        features=_IMAGE,
        context=(1, 2, 2),
    ),
    "on a part": Case(lambda: OnPart(LULinear(2), [2, 0])),
    "on a part of the channels, of context": Case(
        lambda: OnPart(Elementwise(Affine(), (1, 2, 2), MLP(2, 8, hidden=(4,))), [1]), features=_IMAGE, context=2
    ),
    "chain of vectors and images": Case(
        lambda: Chain([Elementwise(Softplus()), Reshape(_IMAGE, 8), LULinear(8)]), features=_IMAGE
    ),
    "multi-scale chain": Case(_two_levels, features=(1, 4, 4)),
}


def _nsf(features: int = 2, context: int = 0, blocks: int = 1) -> Chain:
    return flows.nsf(features, context, blocks=blocks, bins=4, **_KW)


def _realnvp(features: int = 2, context: int = 0, blocks: int = 1) -> Chain:
    return flows.realnvp(features, context, blocks=blocks, **_KW)


def _with_one_ended() -> FlowMixture:
    mixture = FlowMixture([Flow(_realnvp()), Flow(_nsf()), _mixture()], posterior=MLP(2, 3, hidden=(8,)))
    mixture.annihilate([1])
    return mixture


def _inverting() -> Chain:
    return Chain(list(flows.realnvp(2, blocks=3, **_KW)), memory="invert")


def _guessed_by(posterior: Density) -> LatentVariable:
    """A model whose prior is no normal density, so that divergences are those of draws."""
    return LatentVariable(StudentT([0.0], df=5.0), Normal(torch.zeros(2), context=1, hidden=(8,)), posterior)


def _mixture(features: int = 2, context: int = 0, full: bool = False, learnable: bool = True) -> GaussianMixture:
    loc = torch.linspace(-2, 2, 3)[:, None] * torch.tensor([1.0, -0.5, 0.2][:features])
    tril = torch.eye(features).expand(3, features, features) + torch.ones(features, features).tril(-1)
    scale: dict[str, Any] = {"scale_tril": tril} if full else {"scale": 0.7}
    return GaussianMixture(loc, weights=[0.2, 0.3, 0.5], context=context, learnable=learnable, hidden=(8,), **scale)


def _arm(
    family: Family | Channels, positions: int | tuple[int, ...] = 2, context: int = 0, **options: Any
) -> ChainRule:
    channels = None if family.inputs == 1 else family.inputs
    network = MaskedMLP(positions, family.parameters_of_one, context, (16,), "tanh", channels=channels)
    return ChainRule(family, network, **options)


def _of_depths(
    mixture: type[SequenceDepthMixture] | type[StepDepthMixture],
    family: Family,
    positions: int | tuple[int, ...] = 2,
    context: int = 0,
) -> SequenceDepthMixture | StepDepthMixture:
    channels = None if family.inputs == 1 else family.inputs
    options: dict[str, Any] = {"memory": 3, "hidden": 8, "layers": 3, "channels": channels}
    return mixture(family, FiniteMemory(positions, family.parameters_of_one, context, **options), lead=0.5)


def _any_order(context: int = 0, orders: int = 1) -> AnyOrder:
    families = [Logistics(2), Levels(3), Logistics(1)]
    # marginals and conditionals of what comes first in the order have no integrals, whose errors all rows share
    return AnyOrder(families, context, hidden=8, blocks=1, orders=orders, order=[2, 1, 0])


def _of_levels() -> AnyOrder:
    return AnyOrder([Levels(3), Lattice(1.0, low=0.0, high=3.0, components=2), Levels(2)], hidden=8, blocks=1)


def _with_ends() -> AnyOrder:
    return AnyOrder(
        [Logistics(2, low=-1.0, high=1.5), Logistics(2, low=-2.0, widest=0.6), Levels(2)], hidden=8, blocks=1
    )


def _of_angles() -> AnyOrder:
    return AnyOrder([Wrapped(components=2), Levels(2), Wrapped(12.0, 1.0, components=2)], hidden=8, blocks=1)


DENSITIES: dict[str, Case] = {
    "normal": Case(lambda: Normal([0.5, -1.0], scale=[1.0, 2.0], learnable=True)),
    "full normal": Case(lambda: Normal([0.5, -1.0], scale_tril=[[1.0, 0.0], [0.5, 2.0]], learnable=True)),
    "normal of context": Case(lambda: Normal(torch.zeros(2), context=2, hidden=(8,)), context=2),
    "full normal of context": Case(lambda: Normal(torch.zeros(2), scale_tril=torch.eye(2), context=2), context=2),
    "uniform": Case(lambda: Uniform([-1.0, 0.0], [1.0, 0.5])),
    "uniform of context": Case(lambda: Uniform([-1.0], [1.0], network=MLP(2, 2, hidden=(4,))), context=2),
    "Student t": Case(lambda: StudentT([0.0, 1.0], scale=0.5, df=5.0, learnable=True)),
    "Student t of context": Case(lambda: StudentT([0.0], df=6.0, context=2, hidden=(8,)), context=2),
    "Bernoulli": Case(lambda: Bernoulli([0.3, -1.0, 0.0], learnable=True)),
    "Bernoulli of context": Case(lambda: Bernoulli([0.3, -1.0], context=2, hidden=(8,)), context=2),
    "categorical": Case(lambda: Categorical(torch.tensor([[0.0, 1.0, -1.0], [0.5, 0.0, 0.0]]), learnable=True)),
    "categorical of context": Case(lambda: Categorical(torch.zeros(3), context=2, hidden=(8,)), context=2),
    "independent": Case(lambda: Independent([Normal([0.0], learnable=True), StudentT([1.0], df=5.0)])),
    "independent, mixed": Case(lambda: Independent([Normal([0.0, 1.0]), Categorical(torch.zeros(3), learnable=True)])),
    "independent of context": Case(lambda: Independent([Normal([0.0], context=2), Normal([1.0])]), context=2),
    "reordered": Case(lambda: Reordered(Independent([Normal([0.0, 1.0]), Categorical(torch.zeros(3))]), [2, 0, 1])),
    "at a context": Case(lambda: AtContext(StudentT([0.0, 1.0], df=6.0, context=2, hidden=(8,)), torch.ones(2))),
    "flow that reads each column alone": Case(
        lambda: Flow([ActNorm(2), Permutation([1, 0]), Elementwise(Affine(), 2)], _mixture(full=True))
    ),
    "flow that reads each column alone, of context": Case(
        lambda: Flow(Elementwise(_spline(), 2, network=MLP(2, 2 * _spline().size, hidden=(4,))), _mixture(full=True)),
        context=2,
    ),
    "affine flow": Case(lambda: Flow([LULinear(2), Householder(2)], StudentT([0.0, 1.0], df=6.0))),
    "flow of one column": Case(lambda: Flow(Elementwise(_spline(), 1), Normal([0.3]))),
    "regardless of context": Case(lambda: Regardless(StudentT([0.0, 1.0], df=5.0, learnable=True), 2), context=2),
    "Gaussian mixture": Case(_mixture),
    "full Gaussian mixture": Case(lambda: _mixture(full=True)),
    "Gaussian mixture of context": Case(lambda: _mixture(context=2), context=2),
    "full Gaussian mixture of context": Case(lambda: _mixture(context=2, full=True), context=2),
    "conditional of a Gaussian mixture": Case(lambda: _mixture(3, full=True).conditional([2, 0]), context=2),
    "marginal of a Gaussian mixture": Case(lambda: _mixture(3, full=True).marginal([2, 0])),
    "marginal of one of context": Case(lambda: _mixture(3, context=2).marginal([1]), context=2),
    "resampled": Case(lambda: Resampled(_mixture(), MLP(2, 1, hidden=(8,))), compiles=False),
    "resampled without end": Case(
        lambda: Resampled(Normal([0.0, 1.0]), MLP(2, 1, hidden=(8,)), truncation=None, samples=8192), compiles=False
    ),
    "resampled of context": Case(
        lambda: Resampled(
            Normal(torch.zeros(2), context=2), MLP(2, 1, context=2, hidden=(8,)), truncation=5, samples=8192
        ),
        context=2,
        compiles=False,
    ),
    "marginals": Case(lambda: Marginals([Logistics(2), Levels(3)])),
    "Gaussian copula": Case(
        lambda: GaussianCopula(Marginals([Logistics(2), Logistics(1)]), torch.tensor([[1.0, 0.5], [0.5, 1.0]])),
        compiles=False,
    ),
    "autoregressive": Case(lambda: _arm(Gaussians(2))),
    "autoregressive of mapped normals, of context": Case(lambda: _arm(Mapped(_spline()), context=2), context=2),
    "autoregressive of levels, in an order": Case(lambda: _arm(Levels(3), 4, order=[2, 0, 3, 1])),
    "autoregressive of bits of context": Case(lambda: _arm(family_of.Bernoulli(), 4, context=2), context=2),
    "autoregressive of an image of levels": Case(
        lambda: _arm(DiscretizedLogistics(4, 2), (2, 2), event_shape=(1, 2, 2))
    ),
    "autoregressive of colours": Case(lambda: _arm(SubPixels(3, channels=2, components=2), (2, 2), event_shape=_IMAGE)),
    "autoregressive of separate channels": Case(
        lambda: _arm(SeparateChannels(Gaussians(1), 2), 2, order=[1, 0], located=False)
    ),
    "autoregressive, channel by channel": Case(lambda: _arm(Levels(2), (2, 2, 2), event_shape=_IMAGE)),
    "positions after others": Case(lambda: _arm(Gaussians(2), 4, order=[2, 0, 3, 1]).conditional([2, 0], [0.5, 1.0])),
    "first positions": Case(lambda: _arm(Levels(3), 4, order=[2, 0, 3, 1]).marginal([0, 3, 2])),
    "mixture over the depths of a sequence": Case(lambda: _of_depths(SequenceDepthMixture, Gaussians(2))),
    "mixture over the depths of a sequence, of context": Case(
        lambda: _of_depths(SequenceDepthMixture, Levels(2), (2, 2), context=2), context=2
    ),
    "mixture over the depths of a step": Case(lambda: _of_depths(StepDepthMixture, Levels(3), (2, 2))),
    "mixture over the depths of a step, of context": Case(
        lambda: _of_depths(StepDepthMixture, Gaussians(1), context=2), context=2
    ),
    "any order": Case(_any_order),
    "any order of context": Case(lambda: _any_order(context=2), context=2),
    "any order of several": Case(lambda: _any_order(orders=3)),
    "any order of reals": Case(lambda: AnyOrder(2, hidden=8)),
    "any order of levels": Case(_of_levels),
    "any order with ends": Case(_with_ends),
    "any order around a circle": Case(_of_angles),
    "any order of one column": Case(lambda: AnyOrder([Logistics(2)], hidden=8)),
    "marginal of any order": Case(lambda: _any_order().marginal([2, 1]), compiles=False),
    "conditional of any order": Case(lambda: _any_order().conditional([2], [0.5]), compiles=False),
    "conditional of any order, of context": Case(
        lambda: Subset(_any_order(context=1), [1, 0], [2]), context=2, compiles=False
    ),
    "base of one depth": Case(
        lambda: DepthMixture(_nsf(blocks=3), hidden=(8,), lead=0.0).component_base(2), compiles=False
    ),
    "pinwheel": Case(lambda: Pinwheel(3), compiles=False),
    "circles": Case(lambda: Circles((1.0, 0.5), noise=0.05)),
    "mixture of flows": Case(
        lambda: FlowMixture([Flow(_realnvp()), Flow(_nsf()), _mixture()], weights=[0.5, 0.3, 0.2])
    ),
    "mixture of flows with a posterior": Case(
        lambda: FlowMixture([Flow(_realnvp()), Flow(_nsf())], posterior=MLP(2, 2, hidden=(8,)))
    ),
    "mixture with a trunk and context": Case(
        lambda: FlowMixture(
            [Flow(_realnvp()), Flow(_realnvp(context=2))], posterior=MLP(2, 2, 2, hidden=(8,)), trunk=_nsf(context=2)
        ),
        context=2,
    ),
    "mixture with heads": Case(
        lambda: FlowMixture(Embedded(Flow(_realnvp(context=2)), 3), posterior=MLP(2, 3, hidden=(8,)), heads="affine")
    ),
    "mixture with diagonal heads": Case(
        lambda: FlowMixture([Normal.standard(2), Flow(_nsf())], trunk=_realnvp(), heads="diagonal")
    ),
    "mixture with an ended component": Case(_with_one_ended),
    "mixture of one embedded flow": Case(lambda: FlowMixture(Embedded(Flow(_realnvp(context=3)), components=3))),
    "mixture of one embedded flow of context": Case(
        lambda: FlowMixture(Embedded(Flow(_realnvp(context=3)), components=3, size=1)), context=2
    ),
    "mixture of depth mixtures": Case(
        lambda: FlowMixture([DepthMixture(_nsf(blocks=2), hidden=(8,)) for _ in range(2)])
    ),
    "linear Gaussian": Case(linear_gaussian, truth=marginal),
    "linear Gaussian of context": Case(lambda: linear_gaussian(context=2), context=2),
    "linear Gaussian of two numbers": Case(lambda: linear_gaussian(features=3, latents=2), truth=marginal),
    "latent variable with a flow for its posterior": Case(lambda: _guessed_by(Flow(_nsf(1, context=2)))),
    "latent variable of levels": Case(
        lambda: LatentVariable(Bernoulli([0.3]), Normal(torch.zeros(2), context=1), Bernoulli([0.0], context=2))
    ),
    "latent variable behind levels": Case(
        lambda: LatentVariable(
            Categorical(torch.tensor([[0.0, 0.5, 1.0]])),
            Categorical(torch.zeros(2, 3), context=1, hidden=(4,)),
            Categorical(torch.zeros(1, 3), context=2, hidden=(4,)),
        )
    ),
    "latent variable on a latent variable": Case(
        lambda: LatentVariable(
            linear_gaussian(1),
            Normal(torch.zeros(2), context=1, hidden=(8,)),
            Normal([0.0], 2.0, context=2, hidden=(8,)),
        )
    ),
    "ensemble": Case(lambda: Ensemble([Flow(_realnvp()), _mixture(), Flow(_nsf())])),
    "ensemble of mixtures": Case(lambda: Ensemble([_mixture(), _mixture()], aligned=True)),
    "ensemble of context": Case(lambda: Ensemble([Flow(_realnvp(context=2)), Flow(_nsf())]), context=2),
    "overlapping branches": Case(lambda: PiecewiseFlow([_realnvp(), _nsf()], hidden=(8,))),
    "folded branches": Case(lambda: PiecewiseFlow(pieces.fold(2, borders=2), base=Flow(_realnvp()), hidden=(8,))),
    "branches of context": Case(
        lambda: PiecewiseFlow([_realnvp(context=2), _nsf()], base=_mixture(context=2), gate=MLP(2, 2, 2, hidden=(8,))),
        context=2,
    ),
    "branches that reach a part": Case(
        lambda: PiecewiseFlow([Elementwise(Softplus()), _nsf()], base=Normal.standard(2), gate="constant")
    ),
    "branches of chains that reach a part": Case(
        lambda: PiecewiseFlow([Chain({"a": Elementwise(Sigmoid(), 2), "b": _realnvp()}), _nsf()], gate="constant")
    ),
    "stacked folds": Case(
        lambda: PiecewiseFlow(pieces.fold(2), base=PiecewiseFlow(pieces.fold(2), hidden=(8,)), gate="constant")
    ),
    "flow": Case(lambda: Flow(_nsf(blocks=2))),
    "flow of context": Case(lambda: Flow(_nsf(context=2)), context=2),
    "flow on a base of context": Case(lambda: Flow(_nsf(), base=Normal(torch.zeros(2), context=2)), context=2),
    "flow in three dimensions": Case(lambda: Flow(_nsf(3))),
    "coupling flow": Case(lambda: Flow(flows.realnvp(2, blocks=2, **_KW))),
    "inverse autoregressive flow": Case(lambda: Flow(flows.iaf(2, blocks=2, **_KW))),
    "flow on a uniform": Case(lambda: Flow(_elementwise(Sigmoid()), base=Uniform([0.0] * 3, [1.0] * 3))),
    "flow through a logarithm": Case(lambda: Flow(Elementwise(Log()), base=Normal([0.5, 0.0], scale=0.5))),
    "flow through a logit": Case(lambda: Flow(Chain([Elementwise(Logit()), LULinear(2)]))),
    "flow through an inverse exponential": Case(lambda: Flow(Inverse(Elementwise(Softplus())), base=Normal([1.0]))),
    "flow on categories": Case(lambda: Flow(Permutation([1, 0]), base=Categorical(torch.zeros(2, 3), learnable=True))),
    "flow on a Gaussian mixture": Case(lambda: Flow(_nsf(), base=_mixture())),
    "depth mixture": Case(lambda: DepthMixture(_nsf(blocks=3), hidden=(8,))),
    "depth mixture without heads": Case(lambda: DepthMixture(_nsf(blocks=3), hidden=(8,), heads="none", lead=0.0)),
    "depth mixture with linear heads": Case(
        lambda: DepthMixture(_nsf(blocks=2), hidden=(8,), heads="linear", depths=[0, 1, 2], lead=1.0)
    ),
    "depth mixture with heads of its own": Case(
        lambda: DepthMixture(
            _nsf(blocks=2),
            hidden=(8,),
            heads=[Householder(2), Chain([LULinear(2), Elementwise(_spline(), 2)])],
            lead=0.5,
        )
    ),
    "depth mixture in three dimensions": Case(lambda: DepthMixture(_nsf(3, blocks=2), hidden=(8,))),
    "depth mixture of constant weights": Case(lambda: DepthMixture(_nsf(blocks=2), gate="constant")),
    "depth mixture with checkpoints": Case(
        lambda: DepthMixture(Chain(list(_nsf(blocks=2)), memory="checkpoint"), hidden=(8,))
    ),
    "depth mixture that inverts": Case(lambda: DepthMixture(_inverting(), hidden=(8,)).truncate(2)),
    "flow that inverts": Case(lambda: Flow(_inverting()), compiles=False),
    "depth mixture of context": Case(lambda: DepthMixture(_nsf(context=2, blocks=2), hidden=(8,)), context=2),
    "depth mixture on a base of context": Case(
        lambda: DepthMixture(_nsf(blocks=2), base=Normal(torch.zeros(2), context=2, hidden=(8,)), hidden=(8,)),
        context=2,
    ),
    "depth mixture with a gate of context": Case(
        lambda: DepthMixture(_nsf(blocks=2), gate=MLP(2, 2, context=2, hidden=(8,))), context=2
    ),
    "depth mixture of chosen depths": Case(lambda: DepthMixture(_nsf(blocks=3), depths=[0, 2], hidden=(8,))),
    "depth mixture with a gate of its own": Case(
        lambda: DepthMixture(_nsf(blocks=2), gate=ResidualMLP(2, 2, hidden=8))
    ),
    "depth mixture through a logit": Case(
        lambda: DepthMixture(Chain([LULinear(2), Elementwise(Logit()), LULinear(2)]), hidden=(8,))
    ),
    "depth mixture cut short": Case(lambda: DepthMixture(_nsf(blocks=3), hidden=(8,)).truncate(2)),
    "depth mixture on a depth mixture": Case(
        lambda: DepthMixture(_nsf(blocks=2), base=DepthMixture(_nsf(blocks=2), gate="constant"), hidden=(8,))
    ),
    "normal images": Case(lambda: Normal(torch.zeros(1, 2, 2), scale=[[1.0, 2.0], [0.5, 1.0]], learnable=True)),
    "normal of an image": Case(
        lambda: Normal(torch.zeros(2), network=Convolutional((1, 2, 2), 4, hidden=(4,))), context=(1, 2, 2)
    ),
    "normal images of an image": Case(lambda: Normal(torch.zeros(1, 2, 1), context=(1, 2, 2)), context=(1, 2, 2)),
    "Student t images": Case(lambda: StudentT(torch.zeros(1, 2, 1), df=5.0, learnable=True)),
    "uniform images": Case(lambda: Uniform(torch.zeros(1, 2, 1), torch.ones(1, 2, 1))),
    "Bernoulli images": Case(lambda: Bernoulli(torch.zeros(1, 2, 2), learnable=True)),
    "categorical images of an image": Case(
        lambda: Categorical(torch.zeros(1, 1, 2, 3), context=(1, 2, 2), hidden=(4,)), context=(1, 2, 2)
    ),
    "flow of images": Case(lambda: Flow([_of_images(Affine(), "channels"), _of_images(Affine(), "checkerboard")])),
    "flow of images through a logit": Case(
        lambda: Flow(Elementwise(Logit()), base=Normal(torch.zeros(1, 2, 1), learnable=True))
    ),
    "flow of images, of an image": Case(
        lambda: Flow(Chain([_of_images(Affine(), "channels", (1, 2, 2)), Pointwise(LULinear(2))])), context=(1, 2, 2)
    ),
    "flow of images on a base of vectors": Case(lambda: Flow(Pointwise(LULinear(2)), base=Normal.standard(_IMAGE))),
    "depth mixture of images": Case(
        lambda: DepthMixture(Chain([_of_images(Affine(), "channels"), Pointwise(LULinear(2))]), hidden=(8,))
    ),
    "depth mixture of images, of an image": Case(
        lambda: DepthMixture(Chain([_of_images(Affine(), "channels", (1, 2, 2))] * 2), hidden=(8,)), context=(1, 2, 2)
    ),
    "multi-scale depth mixture": Case(lambda: DepthMixture(_two_levels(), gate="constant", heads="none")),
    "depth mixture of maps of any shape": Case(
        lambda: DepthMixture(Chain([Elementwise(Logit()), Identity()]), base=Normal(torch.zeros(1, 2, 1)), hidden=(8,))
    ),
    "multi-scale flow": Case(lambda: Flow(_two_levels(), base=Normal.standard(16))),
    "flow on a depth mixture": Case(lambda: Flow(_nsf(), base=DepthMixture(_nsf(blocks=2), hidden=(8,)))),
}
