"""Univariate maps that are no splines: round trips for harsh parameters, their starts, what they are good for."""

import pytest
import torch

from anabranch.transforms import BernsteinPolynomial, DeepSigmoid


@pytest.mark.parametrize("scale", [1.0, 10.0, 300.0])
@pytest.mark.parametrize("far", [3.0, 1e3, 1e6])
def test_deep_sigmoid_round_trips_within_2e4_whatever_its_parameters(scale, far):
    generator = torch.Generator().manual_seed(0)
    g = DeepSigmoid(units=8)
    x = far * torch.randn(4000, generator=generator)
    parameters = scale * torch.randn(4000, g.size, generator=generator)
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
    parameters = scale * torch.randn(4000, g.size, generator=generator)
    for far in (4.0, 1e4, 1e8):
        x = far * torch.randn(4000, generator=generator)
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
