"""The quadratic spline: formula, tails, shared tables, and the way back for harsh parameters."""

import pytest
import torch

from anabranch.transforms import Elementwise, QuadraticSpline


def numbers(*shape, seed=0, scale=1.0):
    return scale * torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_parameters_of_zero_are_the_identity():
    g = QuadraticSpline(bins=5)
    x = torch.linspace(-9, 9, 37, dtype=torch.float64)
    z, log_derivative = g(x, torch.zeros(6, dtype=torch.float64))
    assert torch.allclose(z, x) and torch.allclose(log_derivative, torch.zeros_like(x))


def test_the_derivative_is_linear_between_knots_constant_beyond_and_what_z_integrates():
    g, parameters = QuadraticSpline(bins=4, bound=2.0, max_slope=5.0), numbers(5)
    slopes = g(torch.linspace(-2, 2, 5, dtype=torch.float64), parameters)[1].exp()
    x = torch.linspace(-4, 4, 8001, dtype=torch.float64)
    z, log_derivative = g(x, parameters)
    wanted = torch.tensor(
        [float(torch.lerp(slopes[k := min(int(p), 3)], slopes[k + 1], p - k)) for p in (x.clamp(-2, 2) + 2)],
        dtype=torch.float64,
    )
    assert torch.allclose(log_derivative.exp(), wanted)
    assert torch.allclose((z - z[0])[1:], torch.cumulative_trapezoid(wanted, x), atol=1e-5)
    ends = g(torch.tensor([-2.0, 2.0], dtype=torch.float64), parameters)[0]
    assert torch.allclose(ends.sum(), torch.zeros((), dtype=torch.float64), atol=1e-12)


def test_tables_that_are_shared_are_those_that_are_repeated():
    g, constants, x = QuadraticSpline(bins=3), numbers(4, 1, 4), numbers(4, 6, seed=1, scale=3.0)
    shared = constants.clone().requires_grad_()
    repeated = constants.expand(4, 6, 4).clone().requires_grad_()
    results = [g(x, parameters) for parameters in (shared, repeated)]
    assert torch.equal(results[0][0], results[1][0]) and torch.equal(results[0][1], results[1][1])
    for z, log_derivative in results:
        (z.square() - log_derivative).sum().backward()
    assert torch.allclose(shared.grad, repeated.grad.sum(dim=1, keepdim=True))
    back, _ = g.inverse(results[0][0], shared)
    assert torch.allclose(back, x)


@pytest.mark.parametrize("scale", [1.0, 10.0, 1000.0])
@pytest.mark.parametrize("bins", [1, 2, 16, 31])
def test_numbers_come_back_in_float32_whatever_the_parameters(bins, scale):
    g = QuadraticSpline(bins=bins)
    parameters = numbers(4000, g.size, scale=scale).float()
    x = torch.cat(
        [numbers(2000, scale=2.0), torch.linspace(-4, 4, 1600 + 1, dtype=torch.float64), numbers(399, scale=1e4)]
    )
    x = x.float()
    z, log_derivative = g(x, parameters)
    back, log_back = g.inverse(z, parameters)
    assert bool(((back - x).abs() < 1e-4 * (1 + x.abs())).all())
    assert bool(torch.isfinite(log_derivative).all()) and float(log_derivative.abs().max()) < 2.0795
    assert torch.allclose(log_back, -log_derivative, atol=2e-3)


def test_infinity_and_nan_stay_what_they_are():
    g, parameters = QuadraticSpline(), torch.zeros(17)
    x = torch.tensor([torch.inf, -torch.inf, torch.nan])
    for z, _ in (g(x, parameters), g.inverse(x, parameters)):
        assert z[0] == torch.inf and z[1] == -torch.inf and z[2].isnan()


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")
def test_derivatives_of_every_order_that_is_asked_for():
    g = QuadraticSpline(bins=3)
    x, parameters = numbers(6, scale=3.0).requires_grad_(), numbers(4, seed=1).requires_grad_()
    for direction in (g, g.inverse):
        assert torch.autograd.gradcheck(direction, (x, parameters))
        assert torch.autograd.gradgradcheck(direction, (x, parameters))
    layer = Elementwise(g, 2).double()
    x = numbers(5, 2)
    jacobian = torch.func.vmap(torch.func.jacfwd(lambda one: layer(one)[0]))(x)
    assert torch.allclose(torch.linalg.slogdet(jacobian).logabsdet, layer(x)[1], atol=1e-9)


@pytest.mark.parametrize("options", [{"bins": 0}, {"bound": 0.0}, {"max_slope": 1.0}], ids=str)
def test_settings_that_cannot_be(options):
    with pytest.raises(ValueError, match=f"{next(iter(options))}: expected"):
        QuadraticSpline(**options)
