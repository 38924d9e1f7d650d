"""Layers that move a vector as a whole: invertible for every parameter, and roots that are NaN where there are none."""

import pytest
import torch

import anabranch as ab
from anabranch.networks import MLP
from anabranch.testing import randomize
from anabranch.transforms import Householder, Inverse, Planar, Radial, Sylvester
from anabranch.transforms.orthogonal import orthonormal_factor
from anabranch.transforms.root import root_between
from anabranch.transforms.tanh_unit import increasing_factor, unit_inverse

LAYERS = {
    "planar": lambda: Planar(3),
    "radial": lambda: Radial(3),
    "Sylvester": lambda: Sylvester(3, units=2),
    "Sylvester by reflections": lambda: Sylvester(3, basis="householder"),
    "Sylvester of triangles": lambda: Sylvester(3, basis="triangular"),
}


def jacobians(layer, x):
    return torch.func.vmap(torch.func.jacrev(lambda v: layer(v)[0]))(x)


@pytest.mark.parametrize("scale", [0.0, 1.0, 10.0, 100.0])
@pytest.mark.parametrize("kind", LAYERS)
def test_layers_are_invertible_for_harsh_parameters(kind, scale):
    generator = torch.Generator().manual_seed(1)
    x = 3 * torch.randn(200, 3, generator=generator)
    for seed in range(8):
        layer = LAYERS[kind]()
        with torch.no_grad():
            numbers = torch.randn(layer.learned.constants.shape, generator=generator)
            layer.learned.constants.copy_(scale * numbers if scale else 0 * numbers + 1e-3 * (seed + 1))
        z, log_det = layer(x)
        back, inverse_log_det = layer.inverse(z)
        assert bool(log_det.isfinite().all()) and bool(inverse_log_det.isfinite().all())
        jacobian = jacobians(layer.double(), x.double())
        assert bool((torch.linalg.det(jacobian) > 0).all())
        # what is lost: the rounding of z and of the terms of x, as large as the parameters, times the slope of the way back
        slope = torch.linalg.matrix_norm(torch.linalg.inv(jacobian), 2)
        room = 1e-5 + 1e-6 * slope * (1 + scale + z.norm(dim=-1) + x.norm(dim=-1))
        assert bool(((back - x).norm(dim=-1) <= room).all())


def test_the_factor_keeps_the_product_above_minus_one_for_every_number():
    a = torch.cat([-torch.logspace(-6, 30, 400), torch.zeros(1), torch.logspace(-6, 30, 400)]).double().sort().values
    product = increasing_factor(a) * a
    assert bool((product >= -0.998 - 1e-12).all()) and bool((product.diff() > -1e-12).all())
    assert float(product[-1]) == pytest.approx(0.998 * float(a[-1]))


def test_no_root_is_nan_and_not_a_number():
    def cubic(t):
        return t**3 + t - 2, 3 * t**2 + 1

    low, high = torch.tensor([-5.0, 3.0, -5.0, torch.nan]), torch.tensor([5.0, 4.0, 0.0, 5.0])
    root = root_between(cubic, low, high)
    assert float(root[0]) == pytest.approx(1.0, abs=1e-6)
    assert bool(root[1:].isnan().all())
    # the steps are too few to come there by halves
    steep = root_between(lambda t: (torch.expm1(t), t.exp()), torch.tensor(-1e30), torch.tensor(50.0), steps=3)
    assert bool(steep.isnan())


def test_a_planar_layer_is_a_sylvester_layer_of_one_unit():
    planar, sylvester = randomize(Planar(3)), Sylvester(3, units=1)
    _, w, b, _ = planar._bend(None)
    x = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        # along one direction: u = r q, w = s q
        q = torch.nn.functional.normalize(w, dim=0)
        planar.learned.constants[:3] = 0.7 * q
        r, s = 0.7, w.norm()
        sylvester.learned.constants.copy_(torch.cat([torch.tensor([r]), s[None], b[None], q]))
    for got, wanted in zip(sylvester(x), planar(x), strict=True):
        assert torch.allclose(got, wanted, atol=1e-6)


def test_a_triangular_basis_moves_the_first_features():
    x = torch.randn(5, 4)
    z, _ = randomize(Sylvester(4, units=2, basis="triangular"))(x)
    assert torch.equal(z[:, 2:], x[:, 2:]) and not torch.isclose(z[:, :2], x[:, :2]).any()


def test_the_orthonormal_factor_is_continuous_where_that_of_libraries_turns_its_sign():
    left, right = torch.tensor([[-1e-4, 1.0], [1.0, 0.0]]), torch.tensor([[1e-4, 1.0], [1.0, 0.0]])
    assert torch.allclose(orthonormal_factor(left), orthonormal_factor(right), atol=1e-3)


def test_householder_flow_of_a_context_is_orthogonal_at_every_context():
    layer = randomize(Householder(3, 2, MLP(2, 6, hidden=(8,))))
    contexts = torch.randn(4, 2)
    jacobians = torch.stack([layer(torch.eye(3), c)[0] for c in contexts])
    assert torch.allclose(jacobians @ jacobians.mT, torch.eye(3).expand(4, 3, 3), atol=1e-5)
    assert not torch.allclose(jacobians[0], jacobians[1], atol=1e-2)


@pytest.mark.parametrize("kind", ["planar", "Sylvester"])
def test_what_is_not_finite_stays_visible_on_the_way_back(kind):
    layer = randomize(LAYERS[kind]())
    z = torch.tensor([[0.0, torch.inf, 0.0], [0.0, torch.nan, 0.0], [0.0, 0.0, 0.0]])
    x, log_det = layer.inverse(z)
    assert bool(x[:2].isnan().any(dim=-1).all()) and bool(x[2].isfinite().all()) and bool(log_det[2].isfinite())


def test_a_layer_turned_round_says_which_way_is_slow():
    assert (Planar(3).inversion, Planar(3).scoring) == ("iterative", "closed")
    turned = Inverse(Planar(3))
    assert (turned.inversion, turned.scoring) == ("closed", "iterative")
    iaf = ab.flows.iaf(3, blocks=2, hidden=(8,))
    assert (iaf.inversion, iaf.scoring) == ("closed", "sequential")
    assert ab.flows.maf(3, blocks=2, hidden=(8,)).scoring == "closed"


@pytest.mark.parametrize("recipe", ["planar", "radial", "sylvester", "householder", "iaf"])
def test_draws_of_recipes_for_variational_inference_are_scored_as_they_are_drawn(recipe):
    settings = {"hidden": (8,)} if recipe == "iaf" else {}
    flow = randomize(ab.Flow(getattr(ab.flows, recipe)(3, blocks=3, **settings)), scale=0.2)
    x, log_q = flow.sample_and_log_prob((200,), generator=0)
    assert torch.allclose(flow.log_prob(x), log_q, atol=1e-3)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Planar(3, MLP(2, 6)), r"network: expected 7 numbers \(v, w and b\), got 6"),
        (lambda: Planar(3, MLP(2, 7, context=1)), "takes the context as its x"),
        (lambda: Radial(0), "features: expected a whole number of at least 1, got 0"),
        (lambda: Sylvester(0), "features: expected a whole number of at least 1, got 0"),
        (lambda: ab.flows.sylvester(0), "features: expected a whole number of at least 1, got 0"),
        (lambda: Sylvester(3, units=4), "units: expected at most 3, the number of features, got 4"),
        (lambda: Sylvester(3, basis="qr"), "basis: expected one of"),
        (lambda: Sylvester(3, reflections=2), "reflections: expected None"),
        (lambda: Householder(3, 2, MLP(2, 5)), "network: expected 2 x 3 outputs, got 5"),
    ],
)
def test_refuses_what_does_not_fit(build, message):
    with pytest.raises(ValueError, match=message):
        build()


@pytest.mark.parametrize("kind", ["planar", "Sylvester of triangles"])
def test_log_det_keeps_its_digits_where_tanh_is_one(kind):
    """A steep unit far from its bend: 1 - tanh^2 is 0 in float32, and times the product of the weights it is not."""
    layer = Planar(1) if kind == "planar" else Sylvester(1, basis="triangular")
    x = torch.linspace(-12, 12, 49).unsqueeze(-1)
    for size in (1e3, 1e8):
        with torch.no_grad():
            layer.learned.constants.copy_(torch.tensor([size, 1.0, 0.0]))
        log_det = layer(x)[1]
        wanted = torch.log1p(0.998 * size / torch.cosh(x[:, 0].double()) ** 2)
        assert torch.allclose(log_det.double(), wanted, atol=1e-3)


@pytest.mark.parametrize("size", [1e-30, 1e-20, 1e20, 1e30])
def test_reflections_have_no_scale(size):
    layer, x = Householder(3, reflections=3), torch.randn(5, 3)
    wanted = layer(x)[0]
    with torch.no_grad():
        layer.vectors.mul_(size)
    assert torch.allclose(layer(x)[0], wanted, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_radial_layer_comes_back_from_as_far_as_the_dtype_goes(dtype):
    layer = randomize(Radial(3)).to(dtype)
    for size in (0.0, 1e-3, 1.0, 1e18, 1e20, 1e30):
        x = (size * torch.tensor([[1.0, -2.0, 0.5], [0.0, 1.0, 0.0]], dtype=dtype)).requires_grad_()
        z, log_det = layer(x)
        back, inverse_log_det = layer.inverse(z)
        assert bool(((back - x).abs() <= 1e-5 * (1 + size)).all())
        assert torch.allclose(inverse_log_det, -log_det, atol=1e-5)
        (gradient,) = torch.autograd.grad(back.sum() + log_det.sum(), x)
        assert bool(gradient.isfinite().all())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_unit_is_found_within_the_steps_whatever_its_numbers(dtype):
    generator = torch.Generator().manual_seed(0)
    a, inner, s, shift = torch.randn(4, 20_000, generator=generator, dtype=torch.float64) * 10 ** (
        torch.rand(4, 20_000, generator=generator, dtype=torch.float64) * 4 - 1
    )
    product = increasing_factor(a) * a
    y = unit_inverse(*(v.to(dtype) for v in (s, product / inner, inner, shift)))
    assert bool(y.isfinite().all())
