"""What the conformance suite does not ask of transforms: harsh parameters, structure, words about what does not fit."""

import pytest
import torch
from torch import nn

import anabranch as ab
from anabranch.networks import MLP, MaskedMLP
from anabranch.testing import check_transform, randomize
from anabranch.testing.networks import all_steps
from anabranch.transforms import (
    CDF,
    ActNorm,
    Affine,
    Autoregressive,
    Chain,
    Coupling,
    Elementwise,
    Inverse,
    LULinear,
    Permutation,
    RationalQuadraticSpline,
    TorchTransform,
)

BOUND = 5.0


def harsh(spline, rows, scale):
    generator = torch.Generator().manual_seed(0)
    parameters = scale * torch.randn(rows, spline.size, generator=generator)
    parameters[0] = 1e4
    parameters[1] = -1e4
    parameters[2, ::2] = 1e3
    return parameters


@pytest.mark.parametrize("scale", [0.0, 1.0, 10.0, 100.0])
@pytest.mark.parametrize("bins", [2, 8, 32])
def test_spline_round_trips_within_1e4_for_harsh_parameters(scale, bins):
    spline = RationalQuadraticSpline(bins=bins, bound=BOUND)
    parameters = harsh(spline, 4000, scale)
    generator = torch.Generator().manual_seed(1)
    inside = torch.rand(4000, generator=generator) * 2 * BOUND - BOUND
    knots = spline._knots(parameters[:, :bins], spline.min_width)[:, bins // 2]
    edge = torch.nextafter(torch.tensor(BOUND), torch.tensor(9.0))
    for x in (inside, knots, torch.full((4000,), BOUND), torch.full((4000,), -BOUND), edge.expand(4000), 1.5 * inside):
        z, log_derivative = spline(x, parameters)
        back, inverse_log_derivative = spline.inverse(z, parameters)
        assert float((back - x).abs().max()) < 1e-4
        assert bool(torch.isfinite(log_derivative).all()) and bool(torch.isfinite(inverse_log_derivative).all())
    for far in (1e2, 1e4, 1e8):
        x = far * torch.sign(inside)
        z, _ = spline(x, parameters)
        assert float(((spline.inverse(z, parameters)[0] - x) / x).abs().max()) < 1e-4


@pytest.mark.parametrize("scale", [1.0, 10.0, 100.0])
def test_affine_round_trips_within_1e4_for_harsh_parameters(scale):
    generator = torch.Generator().manual_seed(0)
    parameters = scale * torch.randn(4000, 2, generator=generator)
    x = 10 * torch.randn(4000, generator=generator)
    z, _ = Affine()(x, parameters)
    assert float((Affine().inverse(z, parameters)[0] - x).abs().max()) < 1e-4


def test_spline_is_smooth_across_knots_and_bounds():
    spline = RationalQuadraticSpline(bins=4, bound=1.0).double()
    parameters = harsh(spline, 4, 1.0)[3].double()
    knots = spline._knots(parameters[:4], spline.min_width)
    below, above = (spline(knots + step, parameters.expand(5, -1)) for step in (-1e-9, 1e-9))
    assert torch.allclose(below[0], above[0], atol=1e-6)
    assert torch.allclose(below[1], above[1], atol=1e-5)


def test_spline_of_zeros_is_the_identity():
    spline = RationalQuadraticSpline(bins=8)
    x = torch.linspace(-9, 9, 101)
    z, log_derivative = spline(x, torch.zeros(101, spline.size))
    assert torch.allclose(z, x, atol=1e-5)
    assert torch.allclose(log_derivative, torch.zeros(101), atol=1e-5)


def test_infinity_goes_through_a_spline():
    spline = RationalQuadraticSpline(bins=4)
    x = torch.tensor([torch.inf, -torch.inf])
    z, _ = spline(x, torch.ones(2, spline.size))
    assert torch.equal(z, x)
    assert torch.equal(spline.inverse(z, torch.ones(2, spline.size))[0], x)


def test_inverting_63_features_costs_at_most_one_forward():
    from torch.utils.flop_counter import FlopCounterMode

    spline = RationalQuadraticSpline(bins=8)
    layer = randomize(Autoregressive(spline, MaskedMLP(63, spline.size, hidden=(128, 128))), scale=0.05)
    x = torch.randn(16, 63, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        with FlopCounterMode(display=False) as forward:
            z, _ = layer(x)
        with FlopCounterMode(display=False) as steps:
            back, _ = layer.inverse(z)
    assert torch.allclose(back, x, atol=1e-3)
    assert 0 < steps.get_total_flops() <= forward.get_total_flops()


def test_masked_mlp_uses_every_allowed_weight_once_in_all_steps():
    from torch.utils.flop_counter import FlopCounterMode

    network = MaskedMLP(6, 2, hidden=(12, 18))
    allowed = sum(int(network.get_buffer(f"mask_{i}").sum()) for i in range(3))
    with torch.no_grad(), FlopCounterMode(display=False) as count:
        all_steps(network, torch.randn(1, 6))
    assert count.get_total_flops() == 2 * allowed


def test_autoregressive_order():
    layer = randomize(Autoregressive(Affine(), MaskedMLP(3, 2, hidden=(16,)), order=[2, 0, 1]))
    jacobian = torch.autograd.functional.jacobian(lambda x: layer(x)[0], torch.tensor([0.3, -0.2, 0.5]))
    # feature 2 comes first, then 0, then 1
    seen = jacobian != 0
    assert seen.tolist() == [[True, False, True], [True, True, True], [False, False, True]]


def test_chain_prefixes_are_the_shorter_chains():
    chain = randomize(ab.flows.nsf(3, blocks=3, hidden=(8,)))
    x = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
    for depth, (z, log_det) in enumerate(chain.prefixes(x), start=1):
        wanted_z, wanted_log_det = chain[:depth](x)
        assert torch.equal(z, wanted_z)
        assert torch.equal(log_det, wanted_log_det)
    assert depth == len(chain) == 3


def test_nice_preserves_volume():
    chain = randomize(ab.flows.nice(4, blocks=4, hidden=(8,)))
    assert torch.equal(chain(torch.randn(5, 4))[1], torch.zeros(5))


def test_every_pair_of_features_meets_in_couplings():
    for features in (2, 3, 5, 9):
        chain = randomize(ab.flows.realnvp(features, blocks=8, hidden=(16,), activation="tanh"), scale=0.5)
        jacobian = torch.autograd.functional.jacobian(lambda x, c=chain: c(x)[0], torch.randn(features) * 0.1)
        assert bool((jacobian != 0).all())


def test_actnorm_is_set_once():
    layer = ActNorm(2)
    x = torch.randn(100, 2) * 3 + 1
    layer.initialize(x)
    kept = layer.loc.clone()
    layer.initialize(x + 100)
    assert torch.equal(layer.loc, kept)
    z, _ = layer(x)
    assert torch.allclose(z.std(0, correction=0), torch.ones(2), atol=1e-4)


def test_actnorm_of_a_constant_feature_keeps_its_scale():
    layer = ActNorm(2)
    layer.initialize(torch.tensor([[1e6, 1.0], [1e6, 2.0]]))
    assert layer.log_scale[0] == 0


def test_a_transform_without_an_inverse_cannot_be_turned_round():
    class OneWay(ab.transforms.Transform):
        inversion = "none"

        def _forward(self, x, context):
            return x, x.new_zeros(x.shape[:-1])

        def _inverse(self, z, context):
            raise NotImplementedError("OneWay has no inverse")

    check_transform(OneWay(), torch.randn(3, 2))
    with pytest.raises(ValueError, match="expected one with an inverse"):
        Inverse(OneWay())


def test_the_suite_finds_a_wrong_log_det():
    class Wrong(ab.transforms.Transform):
        def _forward(self, x, context):
            return 2 * x, x.new_zeros(x.shape[:-1])

        def _inverse(self, z, context):
            return z / 2, z.new_zeros(z.shape[:-1])

    with pytest.raises(AssertionError, match="log_det of row 0 against autodiff"):
        check_transform(Wrong(), torch.randn(3, 2))


def test_zuko_transforms_are_blocks():
    zuko = pytest.importorskip("zuko")
    block = TorchTransform(zuko.transforms.SoftclipTransform(bound=6.0))
    x = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    check_transform(block, x, savable=False, compiles=False)

    torch.manual_seed(0)
    lazy = zuko.flows.MaskedAutoregressiveTransform(3, 2, hidden_features=(16,))
    block = TorchTransform(lazy, features=3, context=2)
    c = torch.randn(4, 2, generator=torch.Generator().manual_seed(1))
    z, log_det = block(x, c)
    assert torch.allclose(block.inverse(z, c)[0], x, atol=1e-4)
    wanted = torch.linalg.slogdet(torch.autograd.functional.jacobian(lambda v: block(v, c[0])[0], x[0])).logabsdet
    assert torch.allclose(log_det[0], wanted, atol=1e-4)
    flow = ab.Flow(Chain([block, ab.flows.maf(3, 2, blocks=1, hidden=(8,))]))
    before = flow.log_prob(x, c).mean().item()
    ab.fit(flow, x, c, validation=0, epochs=20, learning_rate=1e-2, seed=0)
    assert flow.log_prob(x, c).mean().item() > before
    with pytest.raises(TypeError, match="cannot be described in a file"):
        ab.save(flow, "never.safetensors")


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Coupling([True, True], Affine(), MLP(1, 2)), "mask: expected both True and False"),
        (lambda: Coupling([True, False], Affine(), MLP(1, 3)), r"network: expected 1 features and 1 x 2 outputs"),
        (lambda: Autoregressive(Affine(), MaskedMLP(3, 5)), "network: expected 2 outputs a position, got 5"),
        (lambda: Autoregressive(Affine(), MaskedMLP(3, 2), order=[0, 1, 1]), "order: expected each of 0 to 2 once"),
        (lambda: Permutation([]), "order"),
        (lambda: Elementwise(Affine()), "features: expected their number"),
        (lambda: Elementwise(Affine(), 3, MLP(2, 5)), "network: expected 3 x 2 outputs, got 5"),
        (lambda: Chain([]), "at least one transform"),
        (lambda: Chain([nn.Linear(2, 2)]), "expected transforms, got a Linear"),
        (lambda: Chain([Permutation([0, 1]), LULinear(3)]), r"event_shape: expected the same for all parts"),
        (lambda: RationalQuadraticSpline(bins=1), "bins: expected a whole number of at least 2"),
        (lambda: RationalQuadraticSpline(bins=80), "less than 1 / bins"),
        (lambda: RationalQuadraticSpline(bound=-1), "bound: expected a number above 0"),
        (lambda: RationalQuadraticSpline(max_ratio=1), "max_ratio"),
        (lambda: Affine(max_scale=0.5), "max_scale"),
        (lambda: CDF(torch.distributions.Gamma(1.0, 1.0)), "expected one with cdf and icdf, got Gamma"),
        (lambda: CDF(torch.distributions.MultivariateNormal(torch.zeros(2), torch.eye(2))), "univariate"),
        (lambda: TorchTransform(torch.distributions.transforms.AbsTransform()), "expected a bijection"),
        (lambda: TorchTransform(nn.Identity()), "module that gives a Transform"),
        (lambda: MaskedMLP(3, 2, hidden=()), "hidden: expected at least one"),
        (lambda: MLP(0, 2), "features: expected a whole number of at least 1, got 0"),
        (lambda: MLP(2, 2, activation="sin"), "activation: expected one of"),
        (lambda: ab.networks.Select(MLP(2, 2), [2]), "chosen: expected numbers from 0 to 1"),
        (lambda: ab.flows.realnvp(1), "features: expected at least 2"),
        (lambda: ab.flows.nsf(3, structure="circular"), "structure: expected one of"),
        (lambda: ab.flows.nsf(3, blocks=0), "blocks"),
    ],
)
def test_refuses_what_does_not_fit(build, message):
    with pytest.raises(ValueError, match=message):
        built = build()
        built(torch.ones(2, 2))  # for those that can only tell when they are called
