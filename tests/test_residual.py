"""Residual layers: contractions for every weight, estimates that are estimates, an inverse that comes back or says so."""

import copy

import pytest
import torch

import anabranch as ab
from anabranch.networks import MLP, LipschitzMLP
from anabranch.networks.lipschitz import spectral_bound
from anabranch.testing import peak_memory, randomize
from anabranch.testing.registry.small_parts import exactly
from anabranch.transforms import Chain, Identity, Inverse, OnPart, Permutation, Pointwise, Residual


def network(coefficient=0.9, scale=0.3, features=2, seed=0, **more):
    with ab.drawing(seed):
        return randomize(
            LipschitzMLP(features, features, hidden=(16, 16), coefficient=coefficient, **more), scale, seed
        )


@pytest.mark.parametrize("shape", [(64, 64), (2, 64), (64, 2), (1, 1)])
def test_the_spectral_bound_is_one_and_close(shape):
    with ab.drawing(0):
        matrices = [torch.randn(shape, dtype=torch.float64), torch.eye(*shape, dtype=torch.float64)]
    for matrix in matrices:
        for scale in (1e-20, 1.0, 1e20):
            known = float(torch.linalg.matrix_norm(scale * matrix, 2))
            assert known * (1 - 1e-12) <= float(spectral_bound(scale * matrix)) <= 1.017 * known
        for scale in (1e-30, 1e9, 1e36):
            known = float(torch.linalg.matrix_norm(scale * matrix, 2))
            assert known * (1 - 1e-6) <= float(spectral_bound((scale * matrix).float())) <= 1.018 * known


def test_gradients_of_a_matrix_of_zeros_are_finite():
    weight = torch.zeros(3, 3, requires_grad=True)
    (weight * (0.5 / spectral_bound(weight).clamp(min=0.5))).sum().backward()
    assert weight.grad.eq(1).all()


@pytest.mark.parametrize("scale", [0.0, 1.0, 100.0])
def test_a_lipschitz_network_is_a_contraction_whatever_its_weights(scale):
    g = network(0.8, scale).double()
    x = 3 * torch.randn(200, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    slopes = torch.func.vmap(torch.func.jacrev(g))(x)
    assert float(torch.linalg.matrix_norm(slopes.detach(), 2).max()) <= 0.8


def test_no_contraction_is_refused_with_the_fix():
    for coefficient in (1.0, 2.0):
        with pytest.raises(ValueError, match=r"below 1, for Residual, got a LipschitzMLP of .*coefficient=0.9"):
            Residual(network(coefficient))
    with pytest.raises(ValueError, match=r"^network: expected a LipschitzNetwork.*for Residual, got MLP; take.*MLP$"):
        Residual(MLP(2, 2))


@pytest.mark.parametrize("terms", [1, 8])
def test_the_estimate_has_the_log_det_for_its_mean_and_each_row_a_draw_of_its_own(terms):
    # a linear contraction at its limit, so that all terms of the series count
    g = LipschitzMLP(2, 2, hidden=(), coefficient=0.9).double()
    with torch.no_grad():
        g.layers[0].weight.copy_(torch.tensor([[10.0, 1.0], [-1.0, 8.0]]))
    x = torch.randn(4, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    wanted = Residual(g)(x)[1].detach()
    with ab.drawing(0), torch.no_grad():
        drawn = Residual(g, "estimate", terms)(x.expand(20_000, 4, 2))[1]
    assert float(wanted.abs().max()) > 1
    error = drawn.std(dim=0) / 20_000**0.5
    assert float(((drawn.mean(dim=0) - wanted) / error).abs().max()) < 4
    correlation = torch.corrcoef(drawn.T) - torch.eye(4)
    assert float(correlation.abs().max()) < 0.05


def test_gradients_of_the_estimate_have_those_of_the_log_det_for_their_mean():
    g = network(0.9, 1.0)
    x = torch.randn(4, 2, generator=torch.Generator().manual_seed(0))
    weight = g.layers[1].weight
    (wanted,) = torch.autograd.grad(Residual(g)(x)[1].sum(), weight)
    with ab.drawing(0):
        drawn = Residual(g, "estimate")(x.expand(4_000, 4, 2))[1]
    (found,) = torch.autograd.grad(drawn.mean(dim=0).sum(), weight)
    assert float((found - wanted).norm() / wanted.norm()) < 0.1


def test_an_inverse_that_does_not_come_back_is_nan_in_its_row_alone():
    g = network(0.98, 3.0)
    x = torch.tensor([[0.0, 0.0], [30.0, -20.0]])
    z, _ = Residual(g)(x)
    whole, _ = Residual(g).inverse(z)
    assert torch.allclose(whole, x, atol=1e-3)
    # a row that comes back, and one that does not
    z = torch.stack([z[0], torch.tensor([torch.inf, 0.0])])
    x, log_det = Residual(g).inverse(z)
    assert torch.allclose(x[0], whole[0], atol=1e-3) and bool(log_det[0].isfinite())
    assert bool(x[1].isnan().any()) and bool(log_det[1].isnan())
    few, log_det = Residual(g, steps=1, tolerance=1e-7).inverse(z)
    assert bool(few.isnan().any(dim=-1)[1]) and torch.equal(few.isnan().any(dim=-1), log_det.isnan())


@pytest.mark.parametrize(
    "wrap", [Inverse, lambda t: Chain([Permutation([1, 0]), t]), lambda t: OnPart(t, [1, 0]), Pointwise]
)
def test_whatever_holds_an_estimate_is_one(wrap):
    assert wrap(Residual(network(), "estimate")).estimated
    assert not wrap(Residual(network())).estimated


@pytest.mark.parametrize("memory", ["checkpoint", "invert"])
def test_a_block_that_draws_is_not_run_again_for_its_gradients(memory):
    with pytest.raises(
        ValueError, match=rf"^memory=.{memory}.: expected .* an estimated log_det in block 'residual_1'"
    ):
        ab.flows.residual(2, blocks=1, hidden=(4,), log_det="estimate", memory=memory)


def test_a_flow_of_an_estimate_has_no_log_prob_and_a_loss_that_is_right_in_the_mean():
    layer = Residual(network(0.9, 1.0), "estimate")
    flow = ab.Flow([Permutation([1, 0]), layer])
    exact = ab.Flow([Permutation([1, 0]), Residual(layer.network)])
    x = exact.sample((5,), generator=0)
    assert flow.likelihood == "estimate"
    with pytest.raises(ValueError, match="use lower_bound, or estimate for log p"):
        flow.log_prob(x)
    value, error = flow.estimate(x, samples=2_000, generator=0)
    assert bool(((value - exact.log_prob(x)).abs() < 5 * error).all()) and bool((error < 0.05).all())
    with ab.drawing(0), torch.no_grad():
        losses = flow.loss(x.expand(2_000, 5, 2))
    assert bool(((losses.mean(dim=0) + exact.log_prob(x)).abs() < 5 * error).all())


def test_what_adds_densities_up_refuses_an_estimate():
    flow = ab.Flow(Residual(network(), "estimate"))
    exact = exactly(flow)
    normal = ab.densities.Normal(torch.zeros(2), context=2)
    refused = {
        "densities": lambda: ab.FlowMixture([exact, flow]),
        "density": lambda: ab.models.Embedded(flow, 2),
        "trunk": lambda: ab.FlowMixture([exact, exact], trunk=flow.transform),
        "base": lambda: ab.PiecewiseFlow([Identity()], flow),
        "branches": lambda: ab.PiecewiseFlow([exact.transform, flow.transform]),
        "chain": lambda: ab.DepthMixture(Chain([flow.transform])),
        "prior": lambda: ab.LatentVariable(flow, normal, normal),
    }
    for name, build in refused.items():
        with pytest.raises(
            ValueError, match=rf"^{name}: expected .*an estimate is known; give its Residual log_det='exact'"
        ):
            build()
    with pytest.raises(ValueError, match=r"^posterior: expected"):
        ab.LatentVariable(exact, normal, ab.Flow(Residual(network(context=2), "estimate")))
    with pytest.raises(ValueError, match=r"^base: expected a density that is no bound"):
        ab.Flow(flow.transform, ab.LatentVariable(exact, normal, copy.deepcopy(normal)))


def test_a_residual_flow_fits():
    generator = torch.Generator().manual_seed(0)
    x = 0.3 * torch.randn(512, 2, generator=generator)
    x[:, 0] += torch.where(torch.arange(512) % 2 == 0, 1.5, -1.5)
    with ab.drawing(0):
        flow = ab.Flow(ab.flows.residual(2, blocks=2, hidden=(16,)))
    ab.fit(flow, x, epochs=40, batch_size=64, learning_rate=2e-2, validation=0, seed=0, progress=False)
    normal = torch.distributions.MultivariateNormal(x.mean(dim=0), x.T.cov())
    with torch.no_grad():
        assert float(flow.log_prob(x).mean()) > float(normal.log_prob(x).mean()) + 0.4


def _activations(terms, inverse):
    network = LipschitzMLP(16, 16, hidden=(64, 64), coefficient=0.9)
    layer, x = Residual(network, "estimate", terms, steps=terms), torch.randn(64, 16)

    def step():
        with ab.drawing(0):
            z, log_det = (layer.inverse if inverse else layer)(x)
        (z.square().sum() + log_det.sum()).backward()

    step()
    return peak_memory(step)


@pytest.mark.parametrize("inverse", [False, True], ids=["forward", "inverse"])
def test_memory_does_not_grow_with_the_terms(inverse):
    assert _activations(60, inverse) < 1.1 * _activations(10, inverse)


def test_derivatives_of_an_estimated_inverse_are_those_of_the_exact_one():
    g = network(0.9, 1.0).double()
    z = torch.randn(5, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64, requires_grad=True)
    inputs = [z, *g.parameters()]
    exact, estimated = (
        torch.autograd.grad(Residual(g, kind, steps=300).inverse(z)[0].sin().sum(), inputs)
        for kind in ("exact", "estimate")
    )
    for got, wanted in zip(estimated, exact, strict=True):
        assert torch.allclose(got, wanted, atol=1e-8)
