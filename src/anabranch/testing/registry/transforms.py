"""Univariate maps and transforms: a new one is one line."""

from __future__ import annotations

import torch

from anabranch import flows
from anabranch.networks import (
    MLP,
    CausalConvolution,
    CausalTransformer,
    Convolutional,
    LipschitzMLP,
    MaskedMLP,
    PixelCNN,
    VelocityMLP,
)
from anabranch.testing.registry.case import Case
from anabranch.testing.registry.small_parts import (
    IMAGE,
    SMALL,
    SmallBijection,
    elementwise,
    image_coupling,
    residual_coupling,
    small_coupling,
    small_masked,
    small_residual,
    small_spline,
    two_levels,
)
from anabranch.transforms import (
    CDF,
    ActNorm,
    Adaptive,
    Affine,
    Autoregressive,
    BernsteinPolynomial,
    Blockwise,
    Chain,
    Checkpoint,
    CircularSpline,
    Continuous,
    DeepSigmoid,
    Differentiable,
    Elementwise,
    Exp,
    ExponentialLinear,
    Fixed,
    HalfSpace,
    HeavyTails,
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
    ParetoTails,
    Permutation,
    Planar,
    Pointwise,
    Probit,
    QRLinear,
    QuadraticSpline,
    Radial,
    RationalQuadraticSpline,
    Reshape,
    Residual,
    Shift,
    Sigmoid,
    Softplus,
    Squeeze,
    Standardise,
    Sylvester,
    Tanh,
    TorchTransform,
)

UNIVARIATE_MAPS: dict[str, Case] = {
    "affine": Case(Affine),
    "shift": Case(Shift),
    "rational-quadratic spline": Case(small_spline),
    "rational-quadratic spline of unit tails": Case(
        lambda: RationalQuadraticSpline(bins=4, bound=3.0, least=0.05, unit_tails=True)
    ),
    "quadratic spline": Case(lambda: QuadraticSpline(bins=4, bound=3.0)),
    "deep sigmoid": Case(lambda: DeepSigmoid(units=4)),
    "deep sigmoid of two layers": Case(lambda: DeepSigmoid(units=3, layers=2)),
    "Bernstein polynomial": Case(lambda: BernsteinPolynomial(degree=5, bound=3.0)),
    "Pareto tails": Case(ParetoTails),
    "circular spline": Case(lambda: CircularSpline(bins=4), domain=lambda x: 2 * torch.pi * torch.sigmoid(x)),
    "exp": Case(Exp),
    "log": Case(Log, domain=torch.exp),
    "sigmoid": Case(Sigmoid),
    "logit": Case(Logit, domain=torch.sigmoid),
    "probit": Case(Probit, domain=torch.sigmoid),
    "softplus": Case(Softplus),
    "tanh": Case(Tanh),
    "normal CDF": Case(lambda: CDF(torch.distributions.Normal(0.5, 2.0))),
    "Laplace CDF": Case(lambda: CDF(torch.distributions.Laplace(0.0, 1.0))),
}


def _standardising() -> Standardise:
    layer = Standardise(3)
    layer.initialize(torch.tensor([[20.0, 0.0, -30.0], [24.0, 1.0, -33.0], [22.0, 2.0, -36.0]]))
    return layer


def _field(context: int = 0) -> VelocityMLP:
    return VelocityMLP(3, context, hidden=(4,), waves=0)


def _mixed_chain(memory: str | Memory) -> Chain:
    inner = Chain([LULinear(3), Permutation([2, 0, 1])], memory=memory)
    blocks = {"norm": ActNorm(3), "turn": Householder(3), "spline": small_coupling(small_spline(), 2), "inner": inner}
    return Chain({**blocks, "affine": small_coupling(Affine())}, memory=memory)


TRANSFORMS: dict[str, Case] = {
    "elementwise affine": Case(lambda: elementwise(Affine())),
    "elementwise spline": Case(lambda: elementwise(small_spline())),
    "elementwise quadratic spline": Case(lambda: elementwise(QuadraticSpline(bins=4, bound=3.0))),
    "elementwise deep sigmoid": Case(lambda: elementwise(DeepSigmoid(units=3, layers=2))),
    "elementwise Bernstein polynomial": Case(lambda: elementwise(BernsteinPolynomial(degree=4))),
    "elementwise Pareto tails, of context": Case(
        lambda: elementwise(ParetoTails(), MLP(2, 18, hidden=(8,))), context=2
    ),
    "elementwise circular spline": Case(
        lambda: elementwise(CircularSpline(bins=4)), domain=lambda x: 2 * torch.pi * torch.sigmoid(x)
    ),
    "circular, of context": Case(
        lambda: flows.circular(3, 2, blocks=2, bins=4, **SMALL),
        context=2,
        domain=lambda x: 2 * torch.pi * torch.sigmoid(x),
    ),
    "naf": Case(lambda: flows.naf(3, blocks=2, units=3, **SMALL)),
    "bernstein": Case(lambda: flows.bernstein(3, blocks=2, degree=5, structure="coupling", **SMALL)),
    "nsf of heavy tails": Case(lambda: flows.nsf(3, blocks=2, bins=4, tails="heavy", **SMALL)),
    "elementwise spline of unit tails": Case(
        lambda: elementwise(RationalQuadraticSpline(bins=4, bound=3.0, least=0.05, unit_tails=True))
    ),
    "elementwise affine of context": Case(lambda: elementwise(Affine(), MLP(2, 6, hidden=(8,))), context=2),
    "elementwise softplus": Case(lambda: Elementwise(Softplus())),
    "elementwise logit": Case(lambda: Elementwise(Logit()), domain=torch.sigmoid),
    "elementwise probit": Case(lambda: Elementwise(Probit()), domain=torch.sigmoid),
    "half space": Case(lambda: HalfSpace(3, 1), domain=lambda x: torch.cat([x[..., :1], x[..., 1:].exp()], dim=-1)),
    "other half space": Case(lambda: HalfSpace(3, positive=False), domain=lambda x: -x.exp()),
    "elementwise CDF": Case(lambda: Elementwise(CDF(torch.distributions.Normal(0.0, 1.0)))),
    "affine coupling": Case(lambda: small_coupling(Affine())),
    "affine coupling of context": Case(lambda: small_coupling(Affine(), 2), context=2),
    "additive coupling": Case(lambda: small_coupling(Shift())),
    "spline coupling": Case(lambda: small_coupling(small_spline())),
    "deep sigmoid coupling, of context": Case(lambda: small_coupling(DeepSigmoid(units=3), 2), context=2),
    "deep sigmoid autoregressive": Case(
        lambda: Autoregressive(DeepSigmoid(units=3), small_masked(DeepSigmoid(units=3)))
    ),
    "Bernstein coupling of context": Case(lambda: small_coupling(BernsteinPolynomial(degree=4), 2), context=2),
    "residual coupling": Case(residual_coupling),
    "affine autoregressive": Case(lambda: Autoregressive(Affine(), small_masked(Affine()))),
    "spline autoregressive": Case(lambda: Autoregressive(small_spline(), small_masked(small_spline()))),
    "ordered autoregressive of context": Case(
        lambda: Autoregressive(Affine(), small_masked(Affine(), 2), order=[2, 0, 1]), context=2
    ),
    "autoregressive of one feature": Case(
        lambda: Autoregressive(small_spline(), small_masked(small_spline(), features=1)), features=1
    ),
    "inverse autoregressive": Case(lambda: Inverse(Autoregressive(Affine(), small_masked(Affine())))),
    "permutation": Case(lambda: Permutation([2, 0, 1])),
    "linear": Case(lambda: Linear(3)),
    "LU": Case(lambda: LULinear(3)),
    "QR": Case(lambda: QRLinear(3)),
    "matrix exponential": Case(lambda: ExponentialLinear(3)),
    "differentiable": Case(lambda: Differentiable(SmallBijection(), tolerance=1e-6, steps=8)),
    "differentiable of context": Case(
        lambda: Differentiable(SmallBijection(context=2), tolerance=1e-6, steps=8), context=2
    ),
    "inverse differentiable": Case(
        lambda: Inverse(Differentiable(SmallBijection(), tolerance=1e-6, steps=8)), compiles=False
    ),
    "differentiable without an inverse": Case(lambda: Differentiable(SmallBijection())),
    "differentiable, triangular": Case(
        lambda: Differentiable(SmallBijection("triangular"), structure="triangular", tolerance=1e-6, steps=8)
    ),
    "differentiable, diagonal, of context": Case(
        lambda: Differentiable(SmallBijection("diagonal", 2), structure="diagonal", tolerance=1e-6, steps=8), context=2
    ),
    "Householder": Case(lambda: Householder(3, reflections=2)),
    "Householder of context": Case(lambda: Householder(3, 2, MLP(2, 6, **SMALL)), context=2),
    "planar": Case(lambda: Planar(3)),
    "planar of context": Case(lambda: Planar(3, MLP(2, 7, **SMALL)), context=2),
    "inverse planar": Case(lambda: Inverse(Planar(3))),
    "radial": Case(lambda: Radial(3)),
    "radial of context": Case(lambda: Radial(3, MLP(2, 5, **SMALL)), context=2),
    "Sylvester": Case(lambda: Sylvester(3, units=2)),
    "Sylvester of context": Case(lambda: Sylvester(3, 2, network=MLP(2, Sylvester.size(3, 2), **SMALL)), context=2),
    "Sylvester by reflections, of context": Case(
        lambda: Sylvester(3, 2, "householder", 3, MLP(2, Sylvester.size(3, 2, "householder", 3), **SMALL)), context=2
    ),
    "Sylvester of triangles": Case(lambda: Sylvester(3, basis="triangular")),
    "inverse Sylvester of context": Case(
        lambda: Inverse(Sylvester(3, 2, network=MLP(2, Sylvester.size(3, 2), **SMALL))), context=2
    ),
    "ActNorm": Case(lambda: ActNorm(3)),
    "standardised": Case(_standardising),
    "heavy tails": Case(lambda: HeavyTails(3)),
    "chain": Case(
        lambda: Chain({"norm": ActNorm(3), "turn": Householder(3), "spline": small_coupling(small_spline(), 2)}),
        context=2,
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
        lambda: Chain([Autoregressive(small_spline(), small_masked(small_spline())), LULinear(3)], memory="checkpoint")
    ),
    "residual": Case(small_residual),
    "residual of context": Case(lambda: small_residual(context=2), context=2),
    "residual of images, estimated": Case(
        lambda: Residual(LipschitzMLP(IMAGE, IMAGE, hidden=(6,), coefficient=0.5), "estimate", steps=30),
        features=IMAGE,
        compiles=False,
    ),
    "inverse residual, estimated, of context": Case(
        lambda: Inverse(small_residual(2, "estimate")), context=2, compiles=False
    ),
    # a compiler can't take torchdiffeq whole: it looks at values to decide on its steps
    "continuous, by fixed steps and the adjoint equation": Case(
        lambda: Continuous(_field(), solver=Fixed(steps=7, adjoint=True)), compiles=False
    ),
    "continuous of context, by steps as needed": Case(
        lambda: Continuous(_field(2), solver=Adaptive()), context=2, compiles=False
    ),
    "continuous of images, estimated": Case(
        lambda: Continuous(VelocityMLP((1, 2, 1), hidden=(4,), waves=0), "hutchinson", Fixed(steps=8)),
        features=(1, 2, 1),
        compiles=False,
    ),
    "torch transform": Case(lambda: TorchTransform(torch.distributions.transforms.SigmoidTransform())),
    "torch transform of a domain": Case(
        lambda: TorchTransform(torch.distributions.transforms.PowerTransform(torch.tensor(2.0))), domain=torch.exp
    ),
    "nsf, autoregressive": Case(lambda: flows.nsf(3, blocks=2, bins=4, **SMALL)),
    "nsf, coupling, of context": Case(
        lambda: flows.nsf(3, 2, blocks=2, bins=4, structure="coupling", **SMALL), context=2
    ),
    "maf": Case(lambda: flows.maf(3, blocks=2, **SMALL)),
    "maf of context": Case(lambda: flows.maf(3, 2, blocks=2, **SMALL), context=2),
    "iaf": Case(lambda: flows.iaf(3, blocks=2, **SMALL)),
    "iaf of context": Case(lambda: flows.iaf(3, 2, blocks=2, **SMALL), context=2),
    "realnvp": Case(lambda: flows.realnvp(3, blocks=3, **SMALL)),
    "realnvp of context": Case(lambda: flows.realnvp(3, 2, blocks=3, **SMALL), context=2),
    "planar flow": Case(lambda: flows.planar(3, blocks=2)),
    "radial flow": Case(lambda: flows.radial(3, blocks=2)),
    "Sylvester flow of context": Case(
        lambda: flows.sylvester(3, 2, blocks=2, units=2, basis="triangular", **SMALL), context=2
    ),
    "Householder flow of context": Case(lambda: flows.householder(3, 2, **SMALL), context=2),
    "nice": Case(lambda: flows.nice(3, blocks=3, **SMALL)),
    "tarflow": Case(
        lambda: flows.tarflow(IMAGE, patch=1, blocks=2, hidden=8, layers=1, heads=2), features=IMAGE, compiles=False
    ),
    "tarflow of context": Case(
        lambda: flows.tarflow((1, 2, 4), 2, blocks=2, hidden=8, layers=1, heads=2), features=(1, 2, 4), context=2
    ),
    "Glow": Case(lambda: flows.glow((1, 4, 4), steps=2, hidden=4, blocks=1), features=(1, 4, 4), compiles=False),
    "Glow of splines, of an image": Case(
        lambda: flows.glow((1, 4, 4), (1, 4, 4), steps=1, hidden=4, blocks=1, attention=2, univariate="spline"),
        features=(1, 4, 4),
        context=(1, 4, 4),
        compiles=False,
    ),
    "dequantisation": Case(
        lambda: flows.dequantisation((1, 3, 3), couplings=1, hidden=4),
        features=(1, 3, 3),
        context=(1, 3, 3),
        domain=torch.sigmoid,
        compiles=False,
    ),
    "RealNVP of images": Case(
        lambda: flows.realnvp_image((1, 4, 4), couplings=1, hidden=4, blocks=1), features=(1, 4, 4), compiles=False
    ),
    "spline autoregressive over a sequence, by a transformer": Case(
        lambda: Autoregressive(small_spline(), CausalTransformer(4, small_spline().size, hidden=8, layers=1, heads=2)),
        features=4,
    ),
    "spline autoregressive over a sequence of channels, by convolutions, of context": Case(
        lambda: Autoregressive(
            small_spline(),
            CausalConvolution(3, 2 * small_spline().size, 2, 6, 6, layers=1, channels=2),
            order=[2, 0, 1],
        ),
        features=(3, 2),
        context=2,
        compiles=False,
    ),
    "affine autoregressive over an image, by a PixelCNN": Case(
        lambda: Autoregressive(Affine(), PixelCNN((2, 3), 2, hidden=6, layers=1)), features=(2, 3), compiles=False
    ),
    "identity": Case(Identity),
    "identity of images": Case(lambda: Identity(3), features=IMAGE),
    "reshape": Case(lambda: Reshape(IMAGE, 8), features=IMAGE),
    "inverse reshape": Case(lambda: Inverse(Reshape(IMAGE, 8)), features=8),
    "squeeze": Case(Squeeze, features=IMAGE),
    "inverse squeeze": Case(lambda: Inverse(Squeeze()), features=(4, 1, 2)),
    "elementwise affine of images": Case(lambda: Elementwise(Affine(), IMAGE), features=IMAGE),
    "elementwise spline of images, of an image": Case(
        lambda: Elementwise(
            small_spline(), IMAGE, Convolutional((1, 2, 2), (2 * small_spline().size, 2, 2), hidden=(4,))
        ),
        features=IMAGE,
        context=(1, 2, 2),
    ),
    "elementwise logit of images": Case(
        lambda: Elementwise(Logit(), event_dim=3), features=IMAGE, domain=torch.sigmoid
    ),
    "logit on every block": Case(lambda: Blockwise(Elementwise(Logit()), 3), features=IMAGE, domain=torch.sigmoid),
    "coupling on every block, of context": Case(
        lambda: Blockwise(small_coupling(Affine(), 2), 2), features=(2, 3), context=2
    ),
    "half space at every point": Case(
        lambda: Pointwise(HalfSpace(2)), features=IMAGE, domain=lambda x: torch.cat([x[:, :1].exp(), x[:, 1:]], dim=1)
    ),
    "LU at every point": Case(lambda: Pointwise(LULinear(2)), features=IMAGE),
    "QR at every point": Case(lambda: Pointwise(QRLinear(2)), features=IMAGE),
    "planar at every point": Case(lambda: Pointwise(Planar(2)), features=IMAGE),
    "linear at every point": Case(lambda: Pointwise(Linear(2)), features=IMAGE),
    "Householder at every point": Case(lambda: Pointwise(Householder(2)), features=IMAGE),
    "ActNorm at every point": Case(lambda: Pointwise(ActNorm(2)), features=IMAGE),
    "standardised at every point": Case(lambda: Pointwise(Standardise(2)), features=IMAGE),
    "permutation at every point of a sequence": Case(
        lambda: Pointwise(Permutation([2, 0, 1]), event_dim=2), features=(3, 2)
    ),
    "coupling over channels": Case(lambda: image_coupling(Affine(), "channels"), features=IMAGE),
    "coupling over channels, of an image": Case(
        lambda: image_coupling(small_spline(), "channels", (1, 2, 2)), features=IMAGE, context=(1, 2, 2)
    ),
    "coupling over a checkerboard, of context": Case(
        lambda: image_coupling(small_spline(), "checkerboard", 2), features=IMAGE, context=2
    ),
    "coupling over a checkerboard by an MLP": Case(lambda: image_coupling(Shift(), "vector"), features=IMAGE),
    "autoregressive over positions with channels": Case(
        lambda: Autoregressive(Affine(), MaskedMLP(3, 4, channels=2, **SMALL), order=[2, 0, 1]), features=(3, 2)
    ),
    "autoregressive over pixels, of an image": Case(
        lambda: Autoregressive(small_spline(), MaskedMLP(IMAGE, small_spline().size, (1, 2, 2), **SMALL)),
        features=IMAGE,
        context=(1, 2, 2),
    ),
    "on a part": Case(lambda: OnPart(LULinear(2), [2, 0])),
    "on a part of the channels, of context": Case(
        lambda: OnPart(Elementwise(Affine(), (1, 2, 2), MLP(2, 8, hidden=(4,))), [1]), features=IMAGE, context=2
    ),
    "chain of vectors and images": Case(
        lambda: Chain([Elementwise(Softplus()), Reshape(IMAGE, 8), LULinear(8)]), features=IMAGE
    ),
    "multi-scale chain": Case(two_levels, features=(1, 4, 4)),
}
