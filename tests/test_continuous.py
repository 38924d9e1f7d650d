"""Flows in continuous time: against what is known of them, gradients of both kinds, matching, and clear errors."""

import math
import sys

import pytest
import torch

import anabranch as ab
from anabranch.networks import MLP, Network, VelocityMLP
from anabranch.objectives import FlowMatching
from anabranch.objectives.flow_matching import dealt
from anabranch.testing import check_transform, randomize
from anabranch.transforms import Adaptive, Continuous, Fixed, LULinear, continuous


class Turning(Network):
    """v(x, t) = (1 + t) A x, whose flow is a matrix exponential."""

    def __init__(self):
        super().__init__(2, 2, 1)
        self.matrix = torch.nn.Parameter(torch.tensor([[0.3, -1.0], [1.0, 0.1]]))

    def forward(self, x, context=None):
        return (1 + context) * (x @ self.matrix.mT)


def field(features=2, context=0, scale=0.5, **more):
    with ab.drawing(0):
        return randomize(VelocityMLP(features, context, hidden=(16, 16), **more), scale)


def rows(count, features=2, dtype=torch.float32):
    return torch.randn(count, features, generator=torch.Generator().manual_seed(0), dtype=dtype)


@pytest.mark.parametrize("solver", [Adaptive(1e-8), Adaptive(1e-8, method="dopri8"), Fixed(30), Fixed(1000, "euler")])
def test_a_linear_field_is_a_matrix_exponential(solver):
    layer, x = Continuous(Turning(), solver=solver).double(), rows(5, dtype=torch.float64)
    with torch.no_grad():
        z, log_det = layer(x)
        back, _ = layer.inverse(z)
    close = 5e-3 if solver.method == "euler" else 1e-6
    wanted = x @ torch.linalg.matrix_exp(1.5 * layer.field.matrix.detach()).mT
    assert torch.allclose(z, wanted, atol=close) and torch.allclose(back, x, atol=2 * close)
    assert torch.allclose(log_det, torch.full((5,), 1.5 * 0.4, dtype=torch.float64), atol=close)


@pytest.mark.parametrize("solver", [Adaptive(), Fixed(steps=50)])
def test_log_prob_is_that_of_an_exact_trace_at_tight_tolerance(solver):
    network, x = field(), 2 * rows(200)
    with torch.no_grad():
        found = ab.Flow(Continuous(network, solver=solver)).log_prob(x)
        exact = ab.Flow(Continuous(network, solver=Adaptive(1e-10, method="dopri8"))).double()
        tight = exact.log_prob(x.double())
    assert float(tight.std()) > 0.3
    assert float((found - tight).abs().max()) < 1e-3


def test_a_row_is_solved_as_well_beside_easy_rows_as_alone():
    layer, x = Continuous(field(scale=0.7), solver=Adaptive(1e-5)).double(), rows(1, dtype=torch.float64)
    with torch.no_grad():
        alone = layer(4 * x)[1]
        beside = layer(torch.cat([4 * x, torch.zeros(5_000, 2, dtype=torch.float64)]))[1][:1]
    assert float((alone - beside).abs()) < 3e-3


@pytest.mark.parametrize("solver", [Adaptive, Fixed])
@pytest.mark.parametrize("trace", ["exact", "hutchinson"])
def test_gradients_of_the_adjoint_equation_are_those_of_the_steps(solver, trace):
    network, x = field(3, 2, scale=0.3), rows(64, 3, torch.float64)
    context = rows(64, 2, torch.float64).requires_grad_()
    found = []
    for adjoint in (False, True):
        given = {"tolerance": 1e-7} if solver is Adaptive else {"steps": 20}
        flow = ab.Flow(Continuous(network, trace, solver(**given, adjoint=adjoint))).double()
        with ab.drawing(0):
            loss = flow.loss(x, context).mean()
        found.append(torch.autograd.grad(loss, [context, *network.parameters()]))
    for direct, adjoint in zip(*found, strict=True):
        assert float((direct - adjoint).norm()) <= 1e-3 * float(direct.norm()) + 1e-9


def test_hutchinsons_trace_is_an_estimate():
    network, x = field(3), rows(3, 3)
    exact = ab.Flow(Continuous(network, solver=Fixed(5)))
    flow = ab.Flow(Continuous(network, "hutchinson", Fixed(5)))
    assert flow.likelihood == "estimate"
    with pytest.raises(ValueError, match="estimate"):
        flow.log_prob(x)
    value, error = flow.estimate(x, samples=4_000, generator=0)
    assert bool((error > 0).all())
    assert bool(((value - exact.log_prob(x)).abs() < 5 * error + 1e-5).all())


def test_a_budget_of_steps_that_is_used_up_names_the_fix():
    layer = Continuous(field(scale=1.0), solver=Adaptive(1e-6, max_steps=2))
    with pytest.raises(ValueError, match=r"^Continuous: max_steps: expected .* within 2 steps .*max_steps=20.*Fixed\("):
        layer(rows(5))
    steep = Continuous(Turning(), solver="adaptive")
    with torch.no_grad():
        steep.field.matrix.copy_(1e30 * torch.eye(2))
    with pytest.raises(ValueError, match=r"^Continuous: solver: expected .* stay finite"):
        steep(rows(5))


def small(solver):
    with ab.drawing(0):
        return randomize(Continuous(VelocityMLP(1, hidden=(4,), waves=1), solver=solver))


def test_the_suite_finds_steps_that_are_too_coarse_and_a_trace_that_is_wrong(monkeypatch):
    with pytest.raises(
        AssertionError, match=r"Continuous: .*; .* give Adaptive a smaller tolerance, or Fixed more steps$"
    ):
        check_transform(small(Fixed(1)))
    right = continuous._and_trace

    def wrong(*arguments):
        at, trace = right(*arguments)
        return at, 1.05 * trace

    monkeypatch.setattr(continuous, "_and_trace", wrong)
    with pytest.raises(AssertionError, match=r"log_det of row 0 against autodiff: expected a difference within 0\.001"):
        check_transform(small(Adaptive()))


def test_a_row_that_is_not_finite_is_nan_alone():
    x = rows(4)
    x[1, 0], x[2, 1] = math.inf, math.nan
    z, log_det = Continuous(field())(x)
    assert z.isnan().all(dim=-1).tolist() == log_det.isnan().tolist() == [False, True, True, False]


def test_what_is_no_field_is_refused():
    with pytest.raises(
        ValueError, match=r"^field: expected a network whose outputs have the shape of its x, \(2,\), got \(3,\)"
    ):
        Continuous(MLP(2, 3, context=1))
    with pytest.raises(ValueError, match=r"^field: .*begins with the time, such as VelocityMLP, got none"):
        Continuous(MLP(2, 2))
    with pytest.raises(ValueError, match=r"^solver: expected one of 'adaptive', 'fixed', got 'rk4'"):
        Continuous(field(), solver="rk4")


def test_without_torchdiffeq_one_line_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchdiffeq", None)
    with pytest.raises(ValueError, match=r'pip install "anabranch\[ode\]"'):
        ab.flows.continuous(2)


def two_moons(count, seed):
    generator = torch.Generator().manual_seed(seed)
    angle = torch.pi * torch.rand(count, generator=generator)
    upper = torch.arange(count) % 2 == 0
    x = torch.stack([angle.cos(), angle.sin()], dim=-1)
    x = torch.where(upper.unsqueeze(-1), x, torch.tensor([1.0, 0.5]) - x)
    return x + 0.15 * torch.randn(count, 2, generator=generator)


@pytest.mark.parametrize("transport", [False, True])
def test_flow_matching_learns_two_moons(transport):
    x, test = two_moons(1024, 0), two_moons(500, 1)
    with ab.drawing(0):
        flow = ab.Flow(ab.flows.continuous(2, hidden=(32, 32), solver=Fixed(8)))
    history = ab.fit(
        flow,
        x,
        objective=FlowMatching(transport),
        epochs=60,
        batch_size=128,
        learning_rate=1e-2,
        average=0.98,
        validation=0,
        seed=0,
        progress=False,
    )
    assert history.epochs[-1].loss < history.epochs[0].loss
    normal = torch.distributions.MultivariateNormal(x.mean(dim=0), x.T.cov())
    with torch.no_grad():
        assert float(flow.log_prob(test).mean()) > float(normal.log_prob(test).mean()) + 0.1
    share = float((flow.sample((2000,), generator=0)[:, 1] > 0.25).float().mean())
    assert abs(share - float((x[:, 1] > 0.25).float().mean())) < 0.06


def test_flow_matching_is_of_a_context_too():
    c = torch.rand(1024, 1, generator=torch.Generator().manual_seed(0)).round()
    x = rows(1024) * 0.3 + 2 * c - 1
    with ab.drawing(0):
        flow = ab.Flow(ab.flows.continuous(2, context=1, hidden=(32,), solver=Fixed(8)))
    ab.fit(
        flow,
        x,
        c,
        objective=FlowMatching(),
        epochs=30,
        batch_size=128,
        learning_rate=1e-2,
        validation=0,
        seed=0,
        progress=False,
    )
    means = flow.sample((500,), torch.tensor([[0.0], [1.0]]), generator=0).mean(dim=(0, 2))
    assert torch.allclose(means, torch.tensor([-1.0, 1.0]), atol=0.15)
    with pytest.raises(ValueError, match=r"^transport: expected False for a density with a context"):
        ab.fit(flow, x, c, objective=FlowMatching(transport=True), epochs=1, progress=False)


def test_transport_deals_noise_at_the_least_cost():
    x, z = rows(50), torch.randn(50, 2, generator=torch.Generator().manual_seed(1))
    order = dealt(x, z)
    assert sorted(order.tolist()) == list(range(50))
    cost = (x - z[order]).square().sum()
    for seed in range(20):
        some = order[torch.randperm(50, generator=torch.Generator().manual_seed(seed))]
        assert cost <= (x - z[some]).square().sum()
    swapped = order.clone()
    swapped[[0, 1]] = order[[1, 0]]
    assert cost <= (x - z[swapped]).square().sum() + 1e-4


def test_flow_matching_refuses_what_it_does_not_fit():
    x, matching = rows(20), {"objective": FlowMatching(), "epochs": 1, "progress": False}
    continuous = Continuous(field())
    for density, said in [
        (ab.Flow(ab.flows.realnvp(2)), "density: expected a Flow whose transform is, or ends on, a Continuous"),
        (ab.densities.Normal(torch.zeros(2), learnable=True), "got a Normal$"),
        (ab.Flow([LULinear(2), continuous]), "transform: expected no trainable parameters beside"),
        (ab.Flow(continuous, ab.densities.Normal(torch.zeros(2), learnable=True)), "base: expected no trainable"),
    ]:
        with pytest.raises(ValueError, match=said):
            ab.fit(density, x, **matching)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("solver", [Adaptive(1e-5), Fixed(20), Fixed(20, adjoint=True)])
def test_a_device_gives_the_numbers_of_another(solver):
    layer, x = Continuous(field(), solver=solver), rows(100)
    z, log_det = layer(x)
    there = layer.cuda()(x.cuda())
    assert torch.allclose(there[0].cpu(), z, atol=1e-3) and torch.allclose(there[1].cpu(), log_det, atol=1e-3)
