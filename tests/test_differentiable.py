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


class Sinh(nn.Module):
    """sinh of each feature of x turned by 0.6, so that every number grows like an exponential of both."""

    def __init__(self, turned=True):
        super().__init__()
        c, s = (0.8, 0.6) if turned else (1.0, 0.0)
        self.register_buffer("turn", torch.tensor([[c, -s], [s, c]]))

    def forward(self, x):
        return torch.sinh(x @ self.turn.mT)


class Steep(nn.Module):
    """x + exp(4 x): nearly flat on one side, and a wall on the other."""

    def forward(self, x):
        return x + torch.exp(4 * x)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    ("module", "structure"),
    [(Sinh(), "full"), (Sinh(False), "diagonal"), (Steep(), "full"), (Steep(), "diagonal"), (Cubic(), "triangular")],
    ids=["sinh", "sinh of each", "steep", "steep of each", "cubic"],
)
def test_newton_starts_where_slopes_are_huge(module, structure, dtype):
    tolerance = 1000 * torch.finfo(dtype).eps
    f = Differentiable(module, 2, structure, tolerance=tolerance).to(dtype)
    # with one share for all features they wait for each other
    furthest = 30 if structure == "diagonal" else 6
    size = 10 ** torch.linspace(-3, furthest, 30, dtype=dtype)
    sign = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]], dtype=dtype)
    z = (size[:, None, None] * sign * torch.tensor([1.0, 0.3], dtype=dtype)).reshape(-1, 2)
    x, log_det = f.inverse(z)
    assert bool(x.isfinite().all()) and bool(log_det.isfinite().all())
    off = (f(x)[0] - z).abs() / (1 + z.abs().amax(dim=-1, keepdim=True))
    assert float(off.max()) <= 20 * tolerance


def test_what_comes_back_is_right_or_nan():
    """However few the steps: each number is within the tolerance of itself, not of the largest beside it."""
    z = torch.tensor([[1e6, 0.5], [0.5, 1e6], [1e3, -3.0], [0.0, 0.0]], dtype=torch.float64)
    for steps in (*range(1, 12), 20):
        for module, structure in ((Cubic(0.0), "full"), (Sinh(), "full"), (Steep(), "diagonal")):
            f = Differentiable(module.double(), 2, structure, tolerance=1e-7, steps=steps)
            x, log_det = f.inverse(z)
            found = ~x.isnan().any(dim=-1)
            assert found.equal(~log_det.isnan())
            assert bool(((f(x)[0] - z).abs() <= 1e-6 * (1 + z.abs()))[found].all())
            assert bool(found.all()) or steps < 20
