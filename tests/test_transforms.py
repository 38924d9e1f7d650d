"""What the conformance suite does not ask of transforms: harsh parameters, structure, words about what does not fit."""

import itertools
import math

import pytest
import torch
from torch import nn

import anabranch as ab
from anabranch.networks import MLP, MaskedMLP
from anabranch.testing import check_transform, check_univariate_map, randomize
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
    Linear,
    LULinear,
    Permutation,
    RationalQuadraticSpline,
    TorchTransform,
)

BOUND = 5.0


def knots_of(spline, raw):
    """The knots on the x axis, bounds included, from the raw widths, as the spline computes them."""
    _, bound, least = spline.curve.spacing
    end = raw.new_full((*raw.shape[:-1], 1), bound)
    sizes = torch.softmax(raw, dim=-1) * spline.curve.spacing.scale + 2 * bound * least
    return torch.cat([-end, sizes[..., :-1].cumsum(dim=-1) - bound, end], dim=-1)


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
    knots = knots_of(spline, parameters[:, :bins])[:, bins // 2]
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


def extreme_corners(spline):
    """Each parameter alone at an extreme, and one width, one height and all slopes at extremes together."""
    k, rows = spline.curve.spacing.bins, []
    for i in range(spline.size):
        for value in (1e4, -1e4, 30.0, -30.0):
            rows.append({i: value})
    for width, height, slope in itertools.product((-1e3, 0.0, 1e3), repeat=3):
        for i, j in ((0, k), (k - 1, k), (k // 2, k + k // 2)):
            rows.append({i: width, j: height, **dict.fromkeys(range(2 * k, 3 * k - 1), slope)})
    parameters = torch.zeros(len(rows), spline.size)
    for row, values in zip(parameters, rows, strict=True):
        for i, value in values.items():
            row[i] = value
    return parameters


@pytest.mark.parametrize("bound", [1.0, 5.0, 20.0, 100.0, 1000.0])
@pytest.mark.parametrize("bins", [2, 8, 32])
def test_spline_round_trips_within_2e5_of_the_bound(bound, bins):
    """What the docstring promises, of any bound: float32 cannot hold more, whatever the map."""
    g = RationalQuadraticSpline(bins=bins, bound=bound)
    generator = torch.Generator().manual_seed(bins)
    for scale in (1.0, 10.0, 300.0):
        x = 1.5 * bound * (2 * torch.rand(4000, generator=generator) - 1)
        parameters = scale * torch.randn(4000, g.size, generator=generator)
        room = 2e-5 * x.abs().clamp(min=bound)
        assert ((g.inverse(g(x, parameters)[0], parameters)[0] - x).abs() <= room).all()
        assert ((g(g.inverse(x, parameters)[0], parameters)[0] - x).abs() <= room).all()


@pytest.mark.parametrize("bins", [2, 8])
def test_spline_round_trips_and_gradients_at_extreme_corners(bins):
    spline = RationalQuadraticSpline(bins=bins, bound=BOUND)
    parameters = extreme_corners(spline)
    knots = knots_of(spline, parameters[:, :bins])
    beside = [torch.nextafter(knots, torch.full_like(knots, side)) for side in (-torch.inf, torch.inf)]
    inside = torch.linspace(-BOUND, BOUND, 101).expand(len(parameters), -1)
    near = torch.cat([knots, *beside, inside], dim=-1)
    far = torch.tensor([-1e8, -1e6, -1e3, 1e3, 1e6, 1e8]).expand(len(parameters), -1)
    for numbers, unit in ((near, 1.0), (far, far.abs())):
        theta = parameters.unsqueeze(1).expand(*numbers.shape, -1).clone().requires_grad_()
        x = numbers.clone().requires_grad_()
        z, log_derivative = spline(x, theta)
        back, inverse_log_derivative = spline.inverse(z.detach().requires_grad_(), theta)
        assert bool((((back - x) / unit).abs() < 1e-4).all())
        total = z.sum() + log_derivative.sum() + back.sum() + inverse_log_derivative.sum()
        for gradient in torch.autograd.grad(total, [x, theta]):
            assert bool(gradient.isfinite().all())


@pytest.mark.parametrize("scale", [1.0, 10.0, 100.0, 1e4])
@pytest.mark.parametrize("far", [1e3, 1e6])
def test_affine_round_trips_far_outside(scale, far):
    generator = torch.Generator().manual_seed(0)
    # an x far below the shift is lost in its rounding whatever the map: shifts are held to the size of x
    parameters = scale * torch.randn(4000, 2, generator=generator)
    parameters[:, 0].clamp_(-far, far)
    x = far * torch.sign(torch.randn(4000, generator=generator))
    z, log_derivative = Affine()(x, parameters)
    back, inverse_log_derivative = Affine().inverse(z, parameters)
    assert float(((back - x) / x).abs().max()) < 1e-4
    assert torch.equal(inverse_log_derivative, -log_derivative)
    assert bool(torch.isfinite(log_derivative).all())


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
    knots = knots_of(spline, parameters[:4])
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


def test_slices_of_a_chain_keep_their_order():
    chain = Chain({"a": Permutation([1, 0]), "b": LULinear(2), "c": ActNorm(2)})
    assert list(chain[1:].blocks) == ["b", "c"]
    assert list(chain[::-1].blocks) == ["c", "b", "a"]
    assert chain[::2].blocks["c"] is chain.blocks["c"]
    with pytest.raises(ValueError, match="index: expected a slice"):
        chain[0]


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


LOG_2 = 0.6931471805599453


class Odd(ab.transforms.Transform):
    """z = 2 exp(a) x in one obvious way; each fault below breaks one promise."""

    def __init__(self, fault=""):
        super().__init__((3,))
        self.fault = fault
        self.a = nn.Parameter(torch.tensor(0.3))
        if fault == "says it has no inverse":
            self.inversion = "none"
        if fault == "another word":
            self.inversion = "exact"

    def _log_det(self, x):
        return (3 * (LOG_2 + self.a)).expand(x.shape[:-1])

    def _forward(self, x, context):
        fault, value, log_det = self.fault, x, self._log_det(x)
        if fault == "wrong log_det":
            log_det = log_det + 0.01
        if fault == "log_det of another shape":
            log_det = log_det.unsqueeze(-1)
        if fault == "float64 inside":
            value = x.double()
        if fault == "hides NaN":
            value = x.nan_to_num()
        if fault == "mixes rows" and x.dim() > 1:
            value = x + 0 * x.flatten(0, -2).sum(dim=0)
        if fault == "reads a context it does not take" and context is not None:
            value = x + context[..., :1]
        if fault == "branches on values" and bool((x > 100).all()):
            value = 2 * x
        if fault == "fails on an empty batch":
            value = x + 0 * (x.flatten(0, -2)[0] if x.dim() > 1 else x)
        a = self.a.detach() if fault == "detached" else self.a
        return 2 * a.exp() * value, log_det

    def _inverse(self, z, context):
        if self.fault == "says it has an inverse":
            raise NotImplementedError("there is none")
        if self.fault == "inverse branches on values" and bool((z > 100).all()):
            z = 2 * z
        log_det = self._log_det(z)
        x = z / (2 * self.a.exp())
        if self.fault == "inexact inverse":
            x = x + 1e-5
        return x, log_det if self.fault == "wrong sign of the inverse's log_det" else -log_det


def rows(seed=0):
    return torch.randn(4, 3, generator=torch.Generator().manual_seed(seed))


def test_the_suite_accepts_a_transform_of_ones_own():
    check_transform(Odd(), rows())


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("wrong log_det", "log_det of row 0 against autodiff: expected a difference within 1e-06"),
        ("wrong sign of the inverse's log_det", "inverse's log_det against forward's"),
        ("log_det of another shape", r"forward of a batch: got log_det of shape \(4, 1\)"),
        ("float64 inside", r"forward: expected twice torch\.float32, got"),
        ("inexact inverse", r"round trip in torch\.float64: expected every x to come back from its z"),
        ("hides NaN", "a NaN at place 0 of x: expected a NaN in z, got numbers"),
        ("mixes rows", "rows beside one with NaN"),
        ("detached", "derivatives: GradcheckError: Jacobian mismatch"),
        ("reads a context it does not take", "with a context, though it takes none"),
        ("branches on values", r"expected torch\.compile\(fullgraph=True\) to take it"),
        ("inverse branches on values", r"expected torch\.compile\(fullgraph=True\) to take it"),
        ("fails on an empty batch", "forward of an empty batch: expected no error, got IndexError"),
        ("says it has an inverse", "inverse of a batch: expected no error, got NotImplementedError"),
        ("says it has no inverse", r"inversion is 'none': expected inverse\(\) to raise"),
        ("another word", r"inversion: expected one of .*, got 'exact'"),
    ],
)
def test_the_suite_finds(fault, message):
    with pytest.raises(AssertionError, match=f"Odd: {message}") as caught:
        check_transform(Odd(fault), rows())
    assert "\n" not in str(caught.value)


class Bend(ab.transforms.Transform):
    """z = x + a sin(x), whose inverse is found by bisection; each fault below breaks its derivatives."""

    inversion = "iterative"

    def __init__(self, fault=""):
        super().__init__((3,))
        self.fault = fault
        self.a = nn.Parameter(torch.tensor(0.3))

    def _forward(self, x, context):
        return x + self.a * x.sin(), (1 + self.a * x.cos()).log().sum(dim=-1)

    def _inverse(self, z, context):
        with torch.no_grad():
            low, high = z - 1, z + 1
            for _ in range(60):
                middle = (low + high) / 2
                below = self._forward(middle, None)[0] < z
                low, high = torch.where(below, middle, low), torch.where(below, high, middle)
            x = (low + high) / 2
            slope = 1 + self.a * x.cos()
        a = self.a.detach() if self.fault == "by z alone" else self.a
        if self.fault != "no derivatives":
            x = x - (x + a * x.sin() - z) / slope
        return x, -self._forward(x, context)[1]


def test_the_suite_accepts_an_iterative_inverse():
    check_transform(Bend(), rows())


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (
            "no derivatives",
            r"inverse's log_det against autodiff \(an iterative inverse is differentiable too\): expected",
        ),
        ("by z alone", "derivatives of the inverse: GradcheckError: Jacobian mismatch"),
    ],
)
def test_the_suite_finds_an_iterative_inverse_without_derivatives(fault, message):
    with pytest.raises(AssertionError, match=f"Bend: {message}"):
        check_transform(Bend(fault), rows(), compiles=False)


def test_the_suite_wants_the_context_that_a_transform_takes():
    layer = Elementwise(Affine(), 3, MLP(2, 6, hidden=(8,)))
    with pytest.raises(AssertionError, match=r"context_shape: expected None, .* got torch\.Size\(\[2\]\)"):
        check_transform(layer, rows())


class OddMap(ab.transforms.UnivariateMap):
    """z = x exp(theta); each fault below breaks one promise."""

    def __init__(self, fault=""):
        super().__init__(size=1)
        self.fault = fault

    def forward(self, x, parameters):
        log_scale = parameters[..., 0]
        if self.fault == "falls":
            return -x * log_scale.exp(), log_scale.expand_as(x)
        if self.fault == "does not broadcast":
            log_scale = log_scale.reshape(x.shape)
        if self.fault == "not finite at zero":
            log_scale = log_scale + 0 / log_scale
        return x * log_scale.exp(), (log_scale + (self.fault == "wrong log-derivative") * 0.01).expand_as(x)

    def inverse(self, z, parameters):
        log_scale = parameters[..., 0]
        z = z.nan_to_num() if self.fault == "hides NaN" else z
        sign = -1 if self.fault == "falls" else 1
        return sign * z * (-log_scale).exp(), (-log_scale).expand_as(z)


def test_the_suite_accepts_a_univariate_map_of_ones_own():
    check_univariate_map(OddMap(), torch.linspace(-3, 3, 20))


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("falls", "expected a rising function, got a slope of -"),
        ("wrong log-derivative", "log-derivative against autodiff"),
        ("does not broadcast", "shapes: expected no error, got RuntimeError"),
        ("not finite at zero", "parameters of zero: expected finite log-derivatives"),
        ("hides NaN", "inverse of NaN: expected NaN, got 0"),
    ],
)
def test_the_suite_finds_in_univariate_maps(fault, message):
    with pytest.raises(AssertionError, match=f"OddMap: {message}"):
        check_univariate_map(OddMap(fault), torch.linspace(-3, 3, 20))


# size of the flow's context, and whether its inverse is a formula, which must then be exact
ZUKO = {
    "MAF": (2, True, {}),
    "NSF": (2, True, {"bins": 4}),
    "NICE": (0, True, {}),
    "RealNVP": (2, True, {}),
    "GF": (2, False, {}),
    "NAF": (0, False, {"signal": 4, "network": {"hidden_features": (8,)}}),
    "UNAF": (2, False, {"signal": 4, "network": {"hidden_features": (8,)}}),
    "SOSPF": (0, False, {}),
    "BPF": (2, False, {}),
    "CNF": (2, False, {}),
}


@pytest.fixture
def zuko(monkeypatch):
    # importing zuko turns off the validation of all torch.distributions; it is put back for the other tests
    monkeypatch.setattr(torch.distributions.Distribution, "_validate_args", False)
    return pytest.importorskip("zuko")


@pytest.mark.parametrize("name", ZUKO)
def test_flows_of_zuko_as_blocks_give_zuko_s_own_numbers(zuko, name):
    context, closed, options = ZUKO[name]
    torch.manual_seed(0)
    if name != "CNF":
        options = {"transforms": 2, **options}
    theirs = getattr(zuko.flows, name)(3, context, hidden_features=(8,), **options)
    block = TorchTransform(theirs.transform, features=3, context=context)
    x, c = rows(), rows(1)[:, :context] if context else None
    flow = ab.Flow(block)
    assert torch.allclose(flow.log_prob(x, c), theirs(c).log_prob(x), atol=1e-5)
    z, _ = block(x, c)
    assert torch.allclose(block.inverse(z, c)[0], x, atol=1e-3)
    if context:
        assert flow.log_prob(x, c[0]).shape == (4,)
        assert flow.sample((5,), c).shape == (5, 4, 3)
    if closed:
        check_transform(block, x, c, savable=False, compiles=False, empty=False)


def test_a_block_of_zuko_without_context_in_a_chain_with_one(zuko):
    lazy = zuko.flows.MaskedAutoregressiveTransform(3, 0, hidden_features=(8,))
    chain = Chain([TorchTransform(lazy, features=3), ab.flows.maf(3, 2, blocks=1, hidden=(8,))])
    x, c = rows(), rows(1)[:, :2]
    assert torch.allclose(chain.inverse(chain(x, c)[0], c)[0], x, atol=1e-4)


def test_zuko_transforms_are_blocks(zuko):
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
        (lambda: Chain([Permutation([0, 1]), LULinear(3)]), r"block .1.: x: expected events of shape .3,."),
        (lambda: RationalQuadraticSpline(bins=1), "bins: expected a whole number of at least 2"),
        (lambda: RationalQuadraticSpline(bins=80, least=0.02), "less than 1 / bins"),
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


@pytest.mark.parametrize("kind", [Linear, LULinear])
def test_the_inverse_of_a_linear_layer_holds_one_matrix_whatever_the_batch(kind):
    layer = randomize(kind(40))
    x = torch.randn(3, 500, 40)
    with torch.profiler.profile(profile_memory=True) as profile:
        layer.inverse(x)
    # a matrix for each row would be 40 times the batch
    largest = max(event.cpu_memory_usage for event in profile.events())
    assert largest <= 4 * x.numel() * x.element_size()
    assert torch.allclose(layer(layer.inverse(x)[0])[0], x, atol=1e-3)


@pytest.mark.parametrize("recipe", ["maf", "iaf", "realnvp"])
def test_a_fitted_stack_of_affine_layers_keeps_x_far_outside_the_data(recipe):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2000, 5, generator=generator) @ torch.randn(5, 5, generator=generator)
    x = (x - x.mean(dim=0)) / x.std(dim=0)
    torch.manual_seed(0)
    chain = getattr(ab.flows, recipe)(5, hidden=(32, 32))
    ab.fit(ab.Flow(chain), x, epochs=6, batch_size=128, seed=0)
    with torch.no_grad():
        back, _ = chain.inverse(chain(10 * x)[0])
    assert float(((back - 10 * x).abs() / (1 + 10 * x.abs())).max()) < 1e-4


def test_layers_share_the_largest_scale():
    for chain, share in ((ab.flows.maf(2, blocks=3), 10.0), (ab.flows.realnvp(2, blocks=6, max_scale=8.0), 2.0)):
        layers = [block.blocks["layer"] if isinstance(block, Chain) else block for block in chain]
        assert [layer.univariate.max_log_scale for layer in layers] == pytest.approx([math.log(share)] * len(chain))
    with pytest.raises(ValueError, match="max_scale: expected a number above 1"):
        ab.flows.maf(2, max_scale=1.0)


def test_tarflow_cuts_patches_and_turns_the_order_round():
    chain = ab.flows.tarflow((2, 4, 6), blocks=2, hidden=8, layers=1, heads=2).double()
    x = torch.randn(3, 2, 4, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    z, log_det = chain(x)
    assert z.shape == (3, 2, 3, 8)
    assert torch.equal(z[:, 1, 2], x[:, :, 2:4, 4:6].flatten(1)) and not log_det.any()  # it starts as the identity
    randomize(chain, scale=0.3)
    for i, later in enumerate((torch.triu, torch.tril)):
        block = list(chain.blocks.values())[i]
        layer = block.blocks["layer"] if i == 0 else block
        jacobian = torch.autograd.functional.jacobian(lambda v, layer=layer: layer(v)[0], z[0])
        moved = jacobian.abs().reshape(6, 8, 6, 8).amax(dim=(1, 3)) > 0
        assert torch.equal(moved, later(torch.ones_like(moved)).mT)
    assert torch.allclose(chain.inverse(chain(x)[0])[0], x, atol=1e-9)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"features": (8, 8)}, r"features: expected the shape \(channels, height, width\)"),
        ({"features": (1, 8, 7)}, "multiples of 2, the patch, got 8 x 7; pad the images to 8 x 8, or"),
        ({"features": (1, 8, 8), "patch": 3}, "multiples of 3, the patch, got 8 x 8; pad the images to 9 x 9"),
        ({"features": (1, 8, 8), "max_scale": 1.0}, "max_scale: expected a number above 1"),
    ],
)
def test_tarflow_refuses(arguments, message):
    with pytest.raises(ValueError, match=message):
        ab.flows.tarflow(**arguments)


def test_a_singular_matrix_has_no_inverse_and_says_what_to_take():
    layer = Linear(3)
    with torch.no_grad():
        layer.weight[1] = 0
    with pytest.raises(ValueError, match=r"^Linear: expected an invertible matrix .*; take LULinear"):
        layer.inverse(torch.ones(2, 3))
