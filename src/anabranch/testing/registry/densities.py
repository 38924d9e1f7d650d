"""Densities: a new one is one line."""

from __future__ import annotations

from typing import Any, Literal

import torch

from anabranch import flows, vaes
from anabranch.datasets import Circles, Pinwheel
from anabranch.densities import (
    AtContext,
    Bernoulli,
    Categorical,
    Density,
    Dequantized,
    Encoded,
    GaussianMixture,
    Independent,
    Normal,
    OneHot,
    Regardless,
    Reordered,
    Resampled,
    StudentT,
    Uniform,
)
from anabranch.families import (
    Channels,
    Family,
    Gaussians,
    Levels,
    Logistics,
    SeparateChannels,
)
from anabranch.models import (
    DecodedDraws,
    DepthMixture,
    Diffusion,
    EarlierStarts,
    Embedded,
    Ensemble,
    Entries,
    Factorized,
    Flow,
    FlowMixture,
    GaussianCopula,
    HierarchicalVAE,
    LatentDepthMixture,
    LatentLevel,
    LatentMixture,
    LatentVariable,
    LinearSchedule,
    Marginals,
    MonotoneSchedule,
    NotAtRandom,
    Observed,
    PiecewiseFlow,
    VampPrior,
    pieces,
)
from anabranch.networks import (
    MLP,
    Alone,
    Convolutional,
    Enlarged,
    LevelPlaces,
    LevelScores,
    OfSquares,
    ResidualMLP,
    Skip,
    VelocityMLP,
    WithMask,
)
from anabranch.testing.gaussian_chain import (
    chain_depths,
    chain_marginal,
    depths_marginal,
    linear_gaussian_chain,
)
from anabranch.testing.linear_diffusion import diffusion_depths, diffusion_marginal, linear_diffusion
from anabranch.testing.linear_gaussian import linear_gaussian, marginal
from anabranch.testing.linear_gaussian_classes import (
    classes_marginal,
    linear_gaussian_classes,
    linear_gaussian_m2,
    m2_marginal,
)
from anabranch.testing.registry.case import Case
from anabranch.testing.registry.small_parts import (
    IMAGE,
    SMALL,
    elementwise,
    exactly,
    image_coupling,
    small_residual,
    small_spline,
    two_levels,
)
from anabranch.transforms import (
    ActNorm,
    Adaptive,
    Affine,
    Chain,
    Continuous,
    Coupling,
    Elementwise,
    ExponentialLinear,
    Fixed,
    Householder,
    Identity,
    Inverse,
    Log,
    Logit,
    LULinear,
    Permutation,
    Planar,
    Pointwise,
    QRLinear,
    Radial,
    Sigmoid,
    Softplus,
    Solver,
)


def _nsf(features: int = 2, context: int = 0, blocks: int = 1) -> Chain:
    return flows.nsf(features, context, blocks=blocks, bins=4, **SMALL)


def _realnvp(features: int = 2, context: int = 0, blocks: int = 1) -> Chain:
    return flows.realnvp(features, context, blocks=blocks, **SMALL)


def _with_one_ended() -> FlowMixture:
    mixture = FlowMixture([Flow(_realnvp()), Flow(_nsf()), _mixture()], posterior=MLP(2, 3, hidden=(8,)))
    mixture.annihilate([1])
    return mixture


def _classes_of_context() -> LatentMixture:
    """Prior, decoder and posterior all with the context."""
    prior = GaussianMixture([[-1.0], [1.0]], learnable=True, context=2, hidden=(4,))
    decoder, posterior = Normal(torch.zeros(3), context=3, hidden=(4,)), Normal([0.0], 2.0, context=5, hidden=(4,))
    return LatentMixture(LatentVariable(prior, decoder, posterior))


def _inverting() -> Chain:
    return Chain(list(flows.realnvp(2, blocks=3, **SMALL)), memory="invert")


def _guessed_by(posterior: Density) -> LatentVariable:
    """A model whose prior is no normal density, so that divergences are those of draws."""
    return LatentVariable(StudentT([0.0], df=5.0), Normal(torch.zeros(2), context=1, hidden=(8,)), posterior)


def _hierarchy() -> HierarchicalVAE:
    """Two levels of vectors whose parts take a context of two numbers."""
    low = LatentLevel(
        Normal([0.0], 0.7, context=3, hidden=(4,)),
        Normal([0.0], 1.5, context=6, hidden=(4,)),
        up=MLP(2, 3, 2, hidden=(8,), activation="tanh"),
        down=Skip(MLP(1, 3, 3, hidden=(8,))),
    )
    high = LatentLevel(
        Normal(torch.zeros(2), 0.7, context=2, hidden=(4,)),
        Normal(torch.zeros(2), 1.5, context=5, hidden=(4,)),
        down=MLP(2, 3, 2, hidden=(8,), activation="tanh"),
    )
    return HierarchicalVAE([low, high], Normal([0.0, 1.0], 3.0, context=3, hidden=(4,)))


def _seldom_missing() -> NotAtRandom:
    """Numbers of which hardly any is missing, since the suite integrates over complete rows; gaps have their own tests."""
    missing = Alone(2)
    missing.offset.data.fill_(-20.0)
    return NotAtRandom(vaes.vae(2, [Gaussians(1, floor=0.1)] * 2, 1, hidden=(8, 8), gaps=True), missing)


def _hierarchy_of_gaps() -> HierarchicalVAE:
    """Two levels above numbers of which any may be a gap; bounded features, so that far rows have finite guesses too."""
    low = LatentLevel(
        Normal([0.0], context=1, hidden=(4,)),
        Normal([0.0], context=4, hidden=(4,)),
        WithMask(MLP(2, 3, 2, hidden=(4,), activation="tanh")),
    )
    high = LatentLevel(Normal.standard(1), Normal([0.0], context=3, hidden=(4,)))
    family = Gaussians(1, floor=0.1)
    return HierarchicalVAE([low, high], Factorized(family, 2, MLP(1, 2 * family.parameters_of_one, hidden=(4,))))


def _image_hierarchy() -> HierarchicalVAE:
    """Two levels of images, at one scale and a coarser one, of hidden numbers that are partly levels."""
    low = LatentLevel(
        Normal(torch.zeros(1, 1, 1), network=Convolutional((2, 1, 1), (2, 1, 1), hidden=(4,))),
        Normal(torch.zeros(1, 1, 1), network=Convolutional((4, 1, 1), (2, 1, 1), hidden=(4,))),
        up=OfSquares(Convolutional((4, 1, 1), (2, 1, 1), hidden=(4,))),
        down=Enlarged(Skip(Convolutional((1, 1, 1), (2, 1, 1), (2, 1, 1), hidden=(4,)))),
    )
    high = LatentLevel(Bernoulli([0.3]), Bernoulli([0.0], context=2, hidden=(4,)), down=MLP(1, (2, 1, 1), hidden=(4,)))
    decoder = Factorized(Levels(2), (1, 2, 2), Convolutional((2, 2, 2), (2, 2, 2), hidden=(4,)), located=False)
    return HierarchicalVAE([low, high], decoder)


def _factorized(family: Family | Channels, shape: tuple[int, ...], outputs: int) -> Factorized:
    return Factorized(family, shape, MLP(2, outputs, hidden=(8,)))


def _mixture(features: int = 2, context: int = 0, full: bool = False, learnable: bool = True) -> GaussianMixture:
    loc = torch.linspace(-2, 2, 3)[:, None] * torch.tensor([1.0, -0.5, 0.2][:features])
    tril = torch.eye(features).expand(3, features, features) + torch.ones(features, features).tril(-1)
    scale: dict[str, Any] = {"scale_tril": tril} if full else {"scale": 0.7}
    return GaussianMixture(loc, weights=[0.2, 0.3, 0.5], context=context, learnable=learnable, hidden=(8,), **scale)


def _drift(
    context: int = 0, trace: Literal["exact", "hutchinson"] = "exact", solver: Solver | None = None
) -> Continuous:
    return Continuous(VelocityMLP(2, context, hidden=(4,), waves=0), trace, solver or Fixed(steps=4))


def _dequantized(noise: Density | None = None) -> Dequantized:
    return Dequantized(Normal([0.5, -1.0], scale=[1.5, 0.7], learnable=True), 4, noise, logit=True)


def _noise() -> Flow:
    """Noise on (0, 1)^2 that a network of x bends."""
    coupling = Coupling([False, True], Affine(), MLP(1, 2, 2, hidden=(8,), activation="tanh"))
    return Flow([Elementwise(Logit(), 2), coupling], Normal(torch.zeros(2), scale=1.6))


def _cells(density: Dequantized) -> Categorical:
    """The masses of the cells of a normal density of logits."""
    normal = density.density
    if not isinstance(normal, Normal):
        raise ValueError(f"density: expected one of a normal density, got one of a {type(normal).__name__}")
    theta = normal.theta.constants()
    ends = torch.linspace(0, 1, density.levels + 1).logit()
    below = torch.special.ndtr((ends - theta["loc"].unsqueeze(-1)) / theta["log_scale"].exp().unsqueeze(-1))
    return Categorical(below.diff(dim=-1).log())


def _diffusion_of_levels() -> Diffusion:
    return Diffusion(
        VelocityMLP((1, 1, 2), hidden=(8,)),
        Factorized(Levels(3), (1, 1, 2), LevelScores((1, 1, 2), 3, scale=0.5)),
        LevelPlaces((1, 1, 2), 3),
        LinearSchedule(-1.0, 1.0),
        steps=2,
    )


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
        lambda: Flow(
            Elementwise(small_spline(), 2, network=MLP(2, 2 * small_spline().size, hidden=(4,))), _mixture(full=True)
        ),
        context=2,
    ),
    "affine flow": Case(lambda: Flow([LULinear(2), Householder(2)], StudentT([0.0, 1.0], df=6.0))),
    "planar flow": Case(lambda: Flow(flows.planar(2, blocks=1), Normal([0.3, 0.0], learnable=True))),
    "Sylvester flow of context": Case(lambda: Flow(flows.sylvester(2, 2, blocks=1, units=2, **SMALL)), context=2),
    "flow of radial, orthogonal and exponential layers": Case(
        lambda: Flow([Radial(2), QRLinear(2), ExponentialLinear(2), Planar(2)])
    ),
    "flow of one column": Case(lambda: Flow(Elementwise(small_spline(), 1), Normal([0.3]))),
    "dequantized": Case(_dequantized, truth=_cells),
    "dequantized by a flow": Case(lambda: _dequantized(_noise()), truth=_cells),
    "dequantized on the unit cube": Case(lambda: Dequantized(Uniform([0.0, 0.0], [1.0, 1.0]), 3)),
    "dequantized images of context": Case(
        lambda: Dequantized(Normal(torch.zeros(1, 2, 1), context=2, hidden=(4,)), 3, logit=True), context=2
    ),
    "regardless of context": Case(lambda: Regardless(StudentT([0.0, 1.0], df=5.0, learnable=True), 2), context=2),
    "factorized": Case(lambda: _factorized(Gaussians(2), (2,), 12), context=2),
    "factorized images of levels": Case(lambda: _factorized(Levels(3), (1, 1, 2), 6), context=2),
    "factorized channels": Case(lambda: _factorized(SeparateChannels(Levels(2), 2), (2, 1, 1), 4), context=2),
    "factorized images by convolutions": Case(
        lambda: Factorized(Levels(2), (2, 1, 1), Convolutional((1, 1, 1), (4, 1, 1), hidden=(4,)), located=False),
        context=(1, 1, 1),
    ),
    "encoded": Case(
        lambda: Encoded(Flow(_realnvp(context=3), Normal(torch.zeros(2), context=3)), MLP(2, 3, hidden=(8,))), context=2
    ),
    "latent variable of an encoder, flow and family": Case(
        lambda: LatentVariable(
            Normal.standard(1),
            Factorized(Levels(3), (2,), MLP(1, 6, hidden=(8,))),
            Encoded(Flow(_nsf(1, context=3), Normal([0.0], context=3)), MLP(2, 3, hidden=(8,))),
        )
    ),
    "VampPrior": Case(lambda: VampPrior(Normal(torch.zeros(2), context=3, hidden=(8,)), 4)),
    "VampPrior of levels": Case(lambda: VampPrior(Bernoulli([0.0, 0.5], context=(1, 2), hidden=(8,)), 3)),
    "autoencoder of levels with a VampPrior": Case(
        lambda: vaes.vae(2, Levels(3), 1, prior=lambda q: VampPrior(q, 3), hidden=(8, 8))
    ),
    "autoencoder of images by convolutions": Case(
        lambda: vaes.vae((1, 2, 1), Levels(3), 1, posterior="full", hidden=(8,), channels=(4, 4))
    ),
    "autoencoder with a decoder of near numbers": Case(
        lambda: vaes.vlae(3, Levels(3), latent=1, prior="normal", reach=1, width=4, hidden=(8, 8))
    ),
    "autoencoder of two stages": Case(
        lambda: vaes.self_supervised((1, 1, 2), levels=3, coarse=2, stride=2, latents=(1, 1), hidden=(8, 8))
    ),
    "columns of an autoencoder": Case(
        lambda: Observed(
            vaes.vae(3, [Gaussians(1, floor=0.1), Levels(3), Levels(2)], 1, hidden=(8, 8), gaps=True), [2, 0]
        )
    ),
    "decoded draws": Case(
        lambda: DecodedDraws(
            vaes.decoder(2, [Gaussians(1, floor=0.1), Levels(3)], 1, hidden=(8,)), torch.randn(5, 1), torch.randn(5)
        )
    ),
    "autoencoder of gaps": Case(lambda: vaes.vae(2, [Gaussians(1, floor=0.1), Levels(3)], 1, hidden=(8, 8), gaps=True)),
    "not at random": Case(_seldom_missing),
    "hierarchy of gaps": Case(_hierarchy_of_gaps),
    "depths of a hierarchy of gaps": Case(
        lambda: LatentDepthMixture(Entries(_hierarchy_of_gaps()), WithMask(MLP(2, 2, 2, hidden=(4,))))
    ),
    "autoencoder of columns": Case(
        lambda: vaes.vae(2, [Gaussians(1, floor=0.1), Levels(3)], 2, "gaussian mixture", "radial", hidden=(8,))
    ),
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
    "marginals of context": Case(lambda: Marginals([Logistics(2), Levels(3)], MLP(2, 9, hidden=(8,))), context=2),
    "Gaussian copula": Case(
        lambda: GaussianCopula(Marginals([Logistics(2), Logistics(1)]), torch.tensor([[1.0, 0.5], [0.5, 1.0]])),
        compiles=False,
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
    "one-hot": Case(lambda: OneHot(torch.zeros(4), learnable=True)),
    "one-hot of context": Case(lambda: OneHot(torch.zeros(2, 3), context=2, hidden=(4,)), context=2),
    "latent variable of one-hot vectors": Case(
        lambda: LatentVariable(
            OneHot(torch.zeros(2, 3), learnable=True),
            Normal(torch.zeros(2), context=6, hidden=(4,)),
            OneHot(torch.zeros(2, 3), context=2, hidden=(4,)),
        )
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
    "linear Gaussian of classes and numbers": Case(linear_gaussian_m2, truth=m2_marginal),
    "linear Gaussian of a prior of classes": Case(linear_gaussian_classes, truth=classes_marginal),
    "linear Gaussian of a prior of classes, guessed": Case(
        lambda: LatentMixture(linear_gaussian_classes().model, posterior=MLP(2, 3, hidden=(8,))), truth=classes_marginal
    ),
    "classes and numbers of images": Case(
        lambda: vaes.m2((1, 2, 2), Levels(4), classes=2, latent=2, hidden=(8,), channels=(4,))
    ),
    "prior of classes, of context": Case(_classes_of_context, context=2),
    "linear Gaussian chain": Case(linear_gaussian_chain, truth=chain_marginal),
    "linear Gaussian chain of three levels, bottom up": Case(
        lambda: linear_gaussian_chain(3, posteriors="bottom-up"), truth=chain_marginal
    ),
    "hierarchy of context": Case(_hierarchy, context=2),
    "hierarchy of images": Case(_image_hierarchy),
    "depths of a chain": Case(chain_depths, truth=depths_marginal),
    "depths of a chain, bottom up, without a guess": Case(
        lambda: chain_depths(posteriors="bottom-up", guess=False), truth=depths_marginal
    ),
    "depths of context": Case(
        lambda: LatentDepthMixture(
            Entries(_hierarchy(), hidden=(4,)), MLP(2, 2, 2, hidden=(8,)), MLP(2, 2, hidden=(4,))
        ),
        context=2,
    ),
    "depths of images": Case(lambda: LatentDepthMixture(Entries(_image_hierarchy()), MLP((1, 2, 2), 2, hidden=(8,)))),
    "linear diffusion": Case(linear_diffusion, truth=diffusion_marginal),
    "linear diffusion of context": Case(lambda: linear_diffusion(1, context=2), context=2),
    "diffusion of levels": Case(_diffusion_of_levels),
    "depths of a linear diffusion": Case(
        lambda: LatentDepthMixture(
            EarlierStarts(linear_diffusion(), [1], [Normal([0.5, 0.0], learnable=True)]), MLP(2, 2, hidden=(4,))
        ),
        truth=diffusion_depths,
    ),
    "diffusion with a prior, from a depth": Case(
        lambda: Diffusion(
            VelocityMLP(2, hidden=(8,)), schedule=MonotoneSchedule(-2.0, 3.0), prior=_mixture(), depth=0.4, steps=2
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
    "coupling flow": Case(lambda: Flow(flows.realnvp(2, blocks=2, **SMALL))),
    "inverse autoregressive flow": Case(lambda: Flow(flows.iaf(2, blocks=2, **SMALL))),
    "flow on a uniform": Case(lambda: Flow(elementwise(Sigmoid()), base=Uniform([0.0] * 3, [1.0] * 3))),
    "flow through a logarithm": Case(lambda: Flow(Elementwise(Log()), base=Normal([0.5, 0.0], scale=0.5))),
    "residual flow": Case(lambda: Flow([small_residual(features=2), ActNorm(2)])),
    "residual flow, estimated": Case(lambda: Flow(small_residual(0, "estimate", 2)), truth=exactly, compiles=False),
    "residual flow of context, estimated": Case(
        lambda: Flow(small_residual(2, "estimate", 2)), context=2, truth=exactly, compiles=False
    ),
    "flow in continuous time": Case(lambda: Flow(_drift(solver=Adaptive())), compiles=False),
    "flow in continuous time, of context": Case(lambda: Flow(_drift(2)), context=2, compiles=False),
    "flow in continuous time, estimated": Case(lambda: Flow(_drift(0, "hutchinson")), truth=exactly, compiles=False),
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
            heads=[Householder(2), Chain([LULinear(2), Elementwise(small_spline(), 2)])],
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
    "flow of images": Case(
        lambda: Flow([image_coupling(Affine(), "channels"), image_coupling(Affine(), "checkerboard")])
    ),
    "flow of images through a logit": Case(
        lambda: Flow(Elementwise(Logit()), base=Normal(torch.zeros(1, 2, 1), learnable=True))
    ),
    "flow of images, of an image": Case(
        lambda: Flow(Chain([image_coupling(Affine(), "channels", (1, 2, 2)), Pointwise(LULinear(2))])),
        context=(1, 2, 2),
    ),
    "flow of images on a base of vectors": Case(lambda: Flow(Pointwise(LULinear(2)), base=Normal.standard(IMAGE))),
    "depth mixture of images": Case(
        lambda: DepthMixture(Chain([image_coupling(Affine(), "channels"), Pointwise(LULinear(2))]), hidden=(8,))
    ),
    "depth mixture of images, of an image": Case(
        lambda: DepthMixture(Chain([image_coupling(Affine(), "channels", (1, 2, 2))] * 2), hidden=(8,)),
        context=(1, 2, 2),
    ),
    "multi-scale depth mixture": Case(lambda: DepthMixture(two_levels(), gate="constant", heads="none")),
    "depth mixture of maps of any shape": Case(
        lambda: DepthMixture(Chain([Elementwise(Logit()), Identity()]), base=Normal(torch.zeros(1, 2, 1)), hidden=(8,))
    ),
    "multi-scale flow": Case(lambda: Flow(two_levels(), base=Normal.standard(16))),
    "flow on a depth mixture": Case(lambda: Flow(_nsf(), base=DepthMixture(_nsf(blocks=2), hidden=(8,)))),
}
