"""Univariate maps that are no splines: round trips for harsh parameters, their starts, what they are good for."""

import math

import pytest
import torch

import anabranch as ab
from anabranch.draws import drawing
from anabranch.testing import randomize
from anabranch.transforms import (
    ActNorm,
    BernsteinPolynomial,
    CircularSpline,
    DeepSigmoid,
    HeavyTails,
    ParetoTails,
    Standardise,
)
from anabranch.transforms.pareto_tails import raw_index


@pytest.mark.parametrize("scale", [1.0, 10.0, 300.0])
@pytest.mark.parametrize("far", [3.0, 1e6])
def test_deep_sigmoid_round_trips_within_2e4_whatever_its_parameters(scale, far):
    generator = torch.Generator().manual_seed(0)
    g = DeepSigmoid(units=8)
    x = far * torch.randn(500, generator=generator)
    parameters = scale * torch.randn(500, g.size, generator=generator)
    z, log_derivative = g(x, parameters)
    back, inverse_log_derivative = g.inverse(z, parameters)
    assert ((back - x).abs() <= 2e-4 * (1 + x.abs())).all()
    assert ((log_derivative + inverse_log_derivative).abs() < 5e-3).all()
    assert (log_derivative >= -3.92).all()


def test_deep_sigmoid_starts_near_the_identity_with_units_that_differ():
    for units in (2, 8, 64):
        g = DeepSigmoid(units=units)
        x = torch.linspace(-6, 6, 101)
        parameters = torch.zeros(101, g.size, requires_grad=True)
        z, log_derivative = g(x, parameters)
        assert ((z - x).abs() <= 0.16 * x.abs() + 1e-6).all()
        (0.5 * z.square() - log_derivative).mean().backward()
        of_shifts = parameters.grad.sum(dim=0)[2 * units :]
        assert len(of_shifts.unique()) == units


def test_deep_sigmoid_of_one_number_is_differentiable_from_both_ends():
    g = DeepSigmoid(units=3, layers=2).double()
    parameters = torch.randn(5, g.size, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    z = torch.linspace(-4, 4, 5, dtype=torch.float64)
    assert torch.autograd.gradcheck(g.inverse, (z.requires_grad_(), parameters.requires_grad_()))


@pytest.mark.parametrize("scale", [1.0, 10.0, 1e4])
def test_bernstein_polynomials_round_trip_whatever_their_parameters(scale):
    generator = torch.Generator().manual_seed(0)
    g = BernsteinPolynomial(degree=16)
    parameters = scale * torch.randn(500, g.size, generator=generator)
    for far in (4.0, 1e4, 1e8):
        x = far * torch.randn(500, generator=generator)
        z, log_derivative = g(x, parameters)
        back, inverse_log_derivative = g.inverse(z, parameters)
        assert ((back - x).abs() <= 5e-5 * x.abs().clamp(min=5)).all()
        assert ((log_derivative + inverse_log_derivative).abs() < 5e-3).all()


def test_a_bernstein_polynomial_is_the_polynomial_and_starts_as_the_identity():
    g = BernsteinPolynomial(degree=3, bound=2.0)
    x = torch.linspace(-8, 8, 33)
    z, log_derivative = g(x, torch.zeros(3))
    assert torch.allclose(z, x, atol=1e-6) and log_derivative.abs().max() < 1e-6
    parameters = torch.tensor([0.3, -0.4, 1.0])
    shares = 0.95 * parameters.softmax(0) + 0.05 / 3
    a = torch.cat([torch.tensor([-2.0]), 4 * shares.cumsum(0) - 2])
    t = torch.tensor([0.25, 0.7])
    wanted = a[0] * (1 - t) ** 3 + 3 * a[1] * t * (1 - t) ** 2 + 3 * a[2] * t**2 * (1 - t) + a[3] * t**3
    assert torch.allclose(g(4 * t - 2, parameters)[0], wanted, atol=1e-6)


@pytest.mark.parametrize("index", [1e-3, 0.1, 0.5, 4.0])
def test_pareto_tails_hold_far_out_in_float32(index):
    g, raw = ParetoTails(), float(raw_index(torch.tensor(index)))
    parameters = torch.tensor([0.0, 0.0, 0.0, 0.0, raw, raw])
    for far in (1e-6, 1.0, 1e6, 1e12, 1e30):
        x = far * torch.tensor([-3.0, -1.0, -0.1, 0.1, 1.0, 3.0])
        z, log_derivative = g(x, parameters)
        back, inverse_log_derivative = g.inverse(z, parameters)
        assert ((back - x) / x).abs().max() < 4e-5
        assert (log_derivative + inverse_log_derivative).abs().max() < 4e-5
        # P(|X| > x) = P(|Z| > z), which in float64 is the generalised Pareto one
        wanted = -torch.log1p(index * math.sqrt(2 / math.pi) * x.double().abs()) / index
        got = math.log(2) + torch.special.log_ndtr(-z.double().abs())
        assert torch.allclose(got, wanted, rtol=1e-5)


def test_pareto_tails_have_an_index_for_each_side_and_no_kink_at_the_middle():
    g = ParetoTails().double()
    parameters = torch.tensor([1.0, 0.5, 2.0, -1.5, 3.0, -1.0], dtype=torch.float64)
    x = torch.tensor([1.0 - 1e-7, 1.0, 1.0 + 1e-7], dtype=torch.float64).requires_grad_()
    z, log_derivative = g(x, parameters)
    (slope,) = torch.autograd.grad(z.sum(), x)
    assert torch.allclose(slope, slope[1].expand(3), atol=1e-6) and abs(float(slope[1]) - math.exp(0.5)) < 1e-3
    assert torch.allclose(slope.log(), log_derivative, atol=1e-12)
    low, high = g.indices(parameters).tolist()
    assert low > 0.5
    assert high < 0.1


def test_heavy_tails_start_at_an_estimate_of_the_first_batch_alone():
    generator = torch.Generator().manual_seed(0)
    pareto = torch.rand(20_000, generator=generator) ** -0.5
    rows = torch.stack([1e6 - 1e3 * pareto, torch.randn(20_000, generator=generator), torch.ones(20_000)], dim=-1)
    layer = HeavyTails(3)
    layer.initialize(rows)
    indices = layer.indices()
    assert abs(float(indices[0, 0]) - 0.5) < 0.1
    assert (indices[1:] < 0.1).all() and indices[0, 1] < 0.1
    z, _ = layer(rows)
    middle = (z[:, :2].abs() < 1).float().mean(dim=0)
    assert ((middle - 0.68).abs() < 0.15).all() and z.abs().max() < 6
    before = layer.theta.detach().clone()
    layer.initialize(rows + 1)
    assert torch.equal(layer.theta, before)
    HeavyTails(1).initialize(rows[:3, :1])


@pytest.mark.parametrize("unit", [1e-20, 1e-6, 1e4, 1e20])
def test_heavy_tails_start_as_well_in_any_unit(unit):
    rows = torch.distributions.StudentT(torch.tensor(2.0, dtype=torch.float64))
    with drawing(0):
        x = rows.sample((2000, 2)).float()

    def mean(rows):
        with drawing(0):
            flow = ab.Flow(ab.flows.nsf(2, blocks=1, hidden=(8,), tails="heavy"))
        flow.initialize(rows)
        with torch.no_grad():
            return float(flow.log_prob(rows).mean())

    assert mean(unit * x) + 2 * math.log(unit) == pytest.approx(mean(x), abs=1e-3)
    if 1e-12 < unit < 1e12:
        alone, scaled = HeavyTails(2), HeavyTails(2)
        alone.initialize(x)
        scaled.initialize(unit * x)
        assert torch.allclose(scaled(unit * x)[0], alone(x)[0], atol=1e-3)


@pytest.mark.parametrize("scale", [1.0, 10.0, 1e3])
def test_circular_splines_have_one_slope_at_both_ends_and_round_trip(scale):
    generator = torch.Generator().manual_seed(0)
    for g in (CircularSpline(bins=2), CircularSpline(bins=8), CircularSpline(bins=40, period=24.0)):
        parameters = scale * torch.randn(2000, g.size, generator=generator)
        ends = torch.tensor([0.0, g.period]).expand(2000, 2)
        _, log_slope = g(ends, parameters.unsqueeze(1))
        room = 1e-4 if scale == 1 else 5e-3  # a shift of hundreds of turns leaves fewer digits
        assert (log_slope[:, 0] - log_slope[:, 1]).abs().max() < room
        x = g.period * torch.rand(2000, generator=generator)
        z, log_slope = g(x, parameters)
        assert z.min() >= 0
        assert z.max() <= torch.tensor(g.period)
        back, _ = g.inverse(z, parameters)
        apart = (back - x).abs()
        assert torch.minimum(apart, g.period - apart).max() < 2e-5 * g.period * max(1.0, scale / 10)


def test_flows_around_circles_are_periodic_and_integrate_to_one():
    with drawing(0):
        base = ab.densities.Uniform([0.0, 0.0], [2 * torch.pi, 2 * torch.pi])
        flow = ab.Flow(randomize(ab.flows.circular(2, blocks=4, hidden=(8,), bins=4), scale=0.3), base).double()
    with torch.no_grad():
        angle = 2 * torch.pi * torch.arange(400, dtype=torch.float64) / 400
        zero = torch.zeros_like(angle)
        for left, right in (
            ((zero, angle), (zero + 2 * torch.pi, angle)),
            ((angle, zero), (angle, zero + 2 * torch.pi)),
        ):
            ends = [flow.log_prob(torch.stack(end, dim=-1)) for end in (left, right)]
            assert torch.allclose(*ends, atol=1e-9)
        grid = torch.cartesian_prod(angle, angle)
        density = flow.log_prob(grid).exp()
        assert float(density.std()) > 0.005
        assert abs(float(density.mean()) * (2 * math.pi) ** 2 - 1) < 1e-4
        outside = torch.tensor([[1.0, -0.1], [7.0, 1.0], [1.0, math.inf], [-math.inf, 1.0]], dtype=torch.float64)
        assert flow.log_prob(outside).isneginf().all()
        z, log_det = flow.transform(outside)
        assert z.isfinite().all() and log_det.isneginf().all()
        assert flow.log_prob(torch.tensor([[math.nan, 1.0], [1.0, math.nan]], dtype=torch.float64)).isnan().all()


def test_a_circle_ends_where_it_ends():
    x, log_slope = CircularSpline(bins=4).inverse(torch.tensor([-1.0, 0.0, 6.0, 7.0]), torch.zeros(4, 13))
    assert x.isnan().tolist() == [True, False, False, True]
    assert bool(log_slope[1:3].isfinite().all())


@pytest.mark.parametrize("raw", [-300.0, -85.0, 300.0])
def test_a_tail_index_at_its_limits_is_a_number(raw):
    g = ParetoTails()
    parameters = torch.tensor([0.0, 0.0, 0.0, 0.0, raw, raw])
    x = torch.tensor([-3.0, -1e-3, 0.0, 0.5, 4.0])
    z, log_slope = g(x, parameters.expand(5, -1))
    assert bool(z.isfinite().all()) and bool(log_slope.isfinite().all())
    assert torch.allclose(g.inverse(z, parameters.expand(5, -1))[0], x, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    "g", [DeepSigmoid(), DeepSigmoid(units=3, layers=2), BernsteinPolynomial()], ids=["8", "3x2", "poly"]
)
def test_every_root_is_found_within_the_steps(g, dtype):
    """However harsh the parameters: an inverse that came too late would be NaN."""
    generator = torch.Generator().manual_seed(0)
    for scale in (1.0, 5.0, 30.0, 300.0):
        x = torch.randn(3_000, generator=generator, dtype=dtype) * 10 ** (
            4 * torch.rand(3_000, generator=generator) - 1
        )
        parameters = scale * torch.randn(3_000, g.size, generator=generator, dtype=dtype)
        z, _ = g.to(dtype).forward(x.to(dtype), parameters)
        assert bool(g.inverse(z, parameters)[0].isfinite().all())


@pytest.mark.parametrize("layer", [HeavyTails(2), ActNorm(2), Standardise(2)], ids=lambda layer: type(layer).__name__)
def test_no_row_starts_no_layer(layer):
    with pytest.raises(ValueError, match=r"^x: expected at least one row to start from, got none$"):
        layer.initialize(torch.zeros(0, 2))
    assert not bool(layer.get_buffer("initialized"))


@pytest.mark.parametrize("layer", [HeavyTails(2), Standardise(2)], ids=lambda layer: type(layer).__name__)
@pytest.mark.parametrize("wrong", [torch.nan, torch.inf])
def test_a_row_that_is_not_finite_starts_no_first_layer(layer, wrong):
    rows = torch.randn(50, 2, generator=torch.Generator().manual_seed(0))
    rows[3, 1] = wrong
    with pytest.raises(ValueError, match=rf"^x: expected finite numbers, got {wrong} in row 3, column 1 "):
        layer.initialize(rows)
    assert not bool(layer.get_buffer("initialized"))


def test_activation_normalisation_starts_from_finite_numbers_of_any_size():
    layer, rows = ActNorm(2), torch.randn(50, 2, generator=torch.Generator().manual_seed(0))
    for wrong in (math.nan, math.inf):
        broken = rows.clone()
        broken[3, 1] = wrong
        with pytest.raises(
            ValueError, match=rf"^x: expected finite numbers for ActNorm to start from, got {wrong}; remove"
        ):
            layer.initialize(broken)
        assert not bool(layer.get_buffer("initialized"))
    for size in (1e-30, 1.0, 1e30):
        layer = ActNorm(2)
        layer.initialize(size * (rows + 3))
        z = layer(size * (rows + 3))[0]
        assert torch.allclose(z.mean(dim=0), torch.zeros(2), atol=1e-5)
        assert torch.allclose(z.std(dim=0, correction=0), torch.ones(2), atol=1e-4)
