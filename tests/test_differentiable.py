"""Bijections by autodiff: log-determinants of each structure, and an inverse that converges or says that it does not."""

import pytest
import torch
from torch import nn

import anabranch as ab
from anabranch.networks import MLP
from anabranch.transforms import Differentiable, ExponentialLinear, QRLinear


class Cubic(nn.Module):
    """x + x^3 / 3, each feature leaning on those before it."""

    def __init__(self, lean=0.5):
        super().__init__()
        self.lean = lean

    def forward(self, x):
        before = torch.cat([torch.zeros_like(x[..., :1]), x[..., :-1]], dim=-1)
        return x + x**3 / 3 + self.lean * before.square()


def test_a_structure_gives_the_log_det_of_the_full_jacobian():
    x = 3 * torch.randn(50, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    full = Differentiable(Cubic(), 4)(x)
    for got, wanted in zip(Differentiable(Cubic(), 4, "triangular")(x), full, strict=True):
        assert torch.allclose(got, wanted)
    alone = Differentiable(Cubic(0.0), 4)(x)
    for got, wanted in zip(Differentiable(Cubic(0.0), 4, "diagonal")(x), alone, strict=True):
        assert torch.allclose(got, wanted)
    assert torch.allclose(full[1], (1 + x.square()).log().sum(dim=-1))


@pytest.mark.parametrize("structure", ["full", "triangular"])
def test_newton_finds_the_way_back_from_far(structure):
    f = Differentiable(Cubic(), 3, structure, tolerance=1e-10, steps=50)
    x = 100 * torch.randn(200, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    z, log_det = f(x)
    back, inverse_log_det = f.inverse(z)
    assert torch.allclose(back, x, rtol=1e-8) and torch.allclose(inverse_log_det, -log_det)


class Arctangent(nn.Module):
    """arctan x: bounded, and so flat that a whole step of Newton's method flies off."""

    def forward(self, x):
        return torch.atan(x)


def test_an_inverse_that_is_not_there_is_nan():
    f = Differentiable(Arctangent(), 1, "diagonal", tolerance=1e-8)
    z = torch.tensor([[1.2], [-1.5], [1.6]], dtype=torch.float64)
    x, log_det = f.inverse(z)
    assert torch.allclose(x[:2], z[:2].tan(), rtol=1e-6)
    assert bool(x[2].isnan()) and bool(log_det[2].isnan())
    few = Differentiable(Cubic(), 3, tolerance=1e-10, steps=2)
    assert bool(few.inverse(torch.full((1, 3), 1e3, dtype=torch.float64))[0].isnan().all())


class Square(nn.Module):
    def forward(self, x):
        return x.square()


def test_a_singular_point_is_nan_and_no_error():
    f = Differentiable(Square(), 2, tolerance=1e-6)
    x, _ = f.inverse(torch.zeros(1, 2))
    assert f(torch.zeros(1, 2))[1].isneginf().all()
    assert bool(x.isnan().all())


def test_it_is_trained_and_refused_by_files():
    torch.manual_seed(0)
    scale = nn.Linear(2, 2)
    flow = ab.Flow(Differentiable(scale, 2, tolerance=1e-4))
    x = torch.randn(400, 2) @ torch.tensor([[2.0, 0.0], [1.5, 0.5]]) + 3
    before = flow.log_prob(x).mean().item()
    ab.fit(flow, x, validation=0, epochs=20, learning_rate=5e-2, seed=0)
    assert flow.log_prob(x).mean().item() > before + 0.5
    with pytest.raises(TypeError, match="cannot be described in a file"):
        ab.save(flow, "never.safetensors")


def test_linear_layers_start_at_the_identity():
    for layer in (QRLinear(3), QRLinear(4), QRLinear(4, reflections=2), ExponentialLinear(3)):
        x = torch.randn(5, *layer.event_shape)
        z, log_det = layer(x)
        assert torch.allclose(z, x, atol=1e-5) and torch.equal(log_det, torch.zeros(5))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (
            lambda: QRLinear(3, reflections=3),
            "reflections: expected an even number, for a start at the identity, got 3",
        ),
        (lambda: Differentiable(MLP(2, 3)), r"network: expected as many features as outputs, in vectors, got \(2,\)"),
        (lambda: Differentiable(MLP(2, 2), 3), "network: expected 3 features and outputs"),
        (
            lambda: Differentiable(nn.Linear(2, 2)),
            "features: expected their number, which a Linear does not tell, got None",
        ),
        (lambda: Differentiable(torch.exp, 2), "network: expected a Network or another module"),
        (lambda: Differentiable(nn.Linear(2, 2), 2, "lower"), "structure: expected one of"),
        (lambda: Differentiable(nn.Linear(2, 2), 2, tolerance=0), "tolerance: expected a number above 0"),
    ],
)
def test_refuses_what_does_not_fit(build, message):
    with pytest.raises(ValueError, match=message):
        build()
