"""Gradients of bounds with discrete hidden variables: which are unbiased, against sums over all values."""

import math

import pytest
import torch

import anabranch as ab
from anabranch.densities import Bernoulli, Categorical, Encoded, Normal, OneHot
from anabranch.densities.every_event import every_event
from anabranch.models import LatentVariable
from anabranch.networks import MLP
from anabranch.objectives import Enumerated, Likelihood, MultiSample, Relaxed, ScoreFunction
from anabranch.objectives.objective import Batch
from anabranch.testing import randomize

ROWS = 20_000


def tiny(kind="bernoulli"):
    """Two hidden numbers, of two values or of three."""
    with ab.drawing(0):
        if kind == "bernoulli":
            prior, size = Bernoulli([0.3, -0.5]), 2
            posterior = Bernoulli(torch.zeros(2), network=MLP(2, 2, hidden=(4,)))
        else:
            prior, size = OneHot(torch.zeros(2, 3), learnable=True), 6
            posterior = OneHot(torch.zeros(2, 3), network=MLP(2, 6, hidden=(4,)))
        decoder = Normal(torch.zeros(2), network=MLP(size, 4, hidden=(8,)))
        return randomize(LatentVariable(prior, decoder, posterior), 0.7).double()


def gradients(model, objective, rows=ROWS, seed=0):
    """Gradients of the bound with respect to the logits of q, for every row of the same x: (rows, logits)."""
    x = torch.tensor([[0.7, -1.2]], dtype=torch.float64).repeat(rows, 1)
    batch = Batch(model, x, None, None, torch.arange(rows), 0.0)
    seen = []

    def keep(module, inputs, output):
        if output.requires_grad:
            output.retain_grad()
            seen.append(output)

    hook = model.posterior.theta.network.register_forward_hook(keep)
    with ab.drawing(seed):
        objective(batch).sum().backward()
    hook.remove()
    model.zero_grad()
    each = [y.grad for y in seen if y.grad is not None]
    return sum(g.reshape(-1, rows, g.shape[-1]).sum(0) for g in each)


def z_scores(model, objective, exact=None):
    exact = gradients(model, Enumerated(), rows=1)[0] if exact is None else exact
    g = gradients(model, objective)
    return (g.mean(0) - exact) / (g.std(0) / ROWS**0.5), g.var(0).sum()


def warmed(model, baseline):
    objective = ScoreFunction(baseline, draws=1, decay=0.0)
    objective.prepare(Batch(model, torch.zeros(1, 2).double(), None, None, torch.zeros(1), 0.0), 1)
    for step in range(30 if baseline != "mean" else 1):
        gradients(model, objective, rows=500, seed=100 + step)
    return objective


@pytest.mark.parametrize("kind", ["bernoulli", "one-hot"])
def test_score_functions_are_unbiased_and_control_variates_take_variance_away(kind):
    model = tiny(kind)
    variance = {}
    cases = {
        "none": ScoreFunction("none", draws=1),
        "mean": warmed(model, "mean"),
        "network": warmed(model, MLP(2, 1, hidden=(4,))),
        "others": ScoreFunction("others", draws=4),
    }
    for name, objective in cases.items():
        z, variance[name] = z_scores(model, objective)
        assert float(z.abs().max()) < 4.5, name
    assert float(z_scores(model, Likelihood())[0].abs().max()) < 4.5  # the density's own loss
    assert variance["mean"] < 0.8 * variance["none"] and variance["network"] < 0.8 * variance["none"]
    assert variance["others"] < 0.5 * variance["none"]


@pytest.mark.parametrize("kind", ["bernoulli", "one-hot"])
def test_relaxed_gradients_are_biased_the_less_the_colder(kind):
    model = tiny(kind)
    exact = gradients(model, Enumerated(), rows=1)[0]
    bias = {}
    for temperature in (2.0, 0.3):
        z, _ = z_scores(model, Relaxed(temperature))
        bias[temperature] = (gradients(model, Relaxed(temperature)).mean(0) - exact).norm()
        if temperature == 2.0:
            assert float(z.abs().max()) > 10
    assert bias[0.3] < 0.5 * bias[2.0]
    assert float(z_scores(model, Relaxed(1.0, straight_through=True))[0].abs().max()) > 10


def test_the_bound_of_several_draws_has_its_gradient_without_bias():
    model = tiny()
    x = torch.tensor([[0.7, -1.2]], dtype=torch.float64)
    z = every_event("prior", model.prior)
    seen = []

    def keep(module, inputs, output):
        output.retain_grad()
        seen.append(output)

    hook = model.posterior.theta.network.register_forward_hook(keep)
    likely, prior, log_q = (value.squeeze(-1) for value in model._at(z.unsqueeze(1), x, None))
    hook.remove()
    log_w = likely + prior - log_q
    pairs = torch.logaddexp(log_w[:, None], log_w[None]) - math.log(2)
    loss = -((log_q[:, None] + log_q[None]).exp() * pairs).sum()
    loss.backward()
    exact = sum(y.grad.reshape(-1, 2).sum(0) for y in seen)
    scores, _ = z_scores(model, MultiSample(2), exact)
    assert float(scores.abs().max()) < 4.5


@pytest.mark.parametrize("kind", ["bernoulli", "one-hot"])
def test_values_are_those_of_the_bound(kind):
    model = tiny(kind)
    x = torch.tensor([[0.7, -1.2]], dtype=torch.float64)
    batch = Batch(model, x.expand(ROWS, 2), None, None, torch.arange(ROWS), 0.0)
    with torch.no_grad(), ab.drawing(0):
        exact = -float(Enumerated()(Batch(model, x, None, None, torch.zeros(1), 0.0)))
        drawn = model.lower_bound(batch.x)
        for objective in (ScoreFunction("others"), ScoreFunction("none", 1), Relaxed(1e-3, straight_through=True)):
            assert abs(-float(objective(batch).mean()) - exact) < 5 * float(drawn.std()) / ROWS**0.5
        assert abs(float(drawn.mean()) - exact) < 5 * float(drawn.std()) / ROWS**0.5
        z = every_event("prior", model.prior).unsqueeze(1)
        likely, prior, _ = model._at(z, x, None)
        truth = float((likely + prior).logsumexp(0))
        closer = -float(MultiSample(8)(batch).mean())
    assert exact < closer < truth + 1e-3


def test_divergences_of_levels_are_sums_over_them():
    cases = [
        (Bernoulli([0.3, -1.0]), Bernoulli([1.3, 0.2])),
        (Categorical([[0.3, -1.0, 0.2]]), Categorical([[1.0, 0.0, -0.5]])),
        (OneHot([[0.3, -1.0, 0.2], [0.0, 0.0, 0.0]]), OneHot([[1.0, 0.0, -0.5], [0.2, 0.1, 0.0]])),
    ]
    for p, q in cases:
        z = every_event("prior", p)
        log_p, log_q = p.log_prob(z), q.log_prob(z)
        assert torch.allclose(log_p.exp().sum(), torch.tensor(1.0))
        wanted = (log_p.exp() * (log_p - log_q)).sum()
        assert torch.allclose(p.divergence(q).sum(-1), wanted, atol=1e-6)
    assert Bernoulli([0.0]).divergence(Categorical([0.0, 0.0])) is None


def test_relaxed_draws_come_to_those_of_the_density():
    for density in (Bernoulli([0.3, -1.0]), OneHot([[0.3, -1.0, 0.2]])):
        context = torch.zeros(4000, 3)
        told = Encoded(
            type(density)(torch.zeros(density.event_shape), network=MLP(3, density.event_shape.numel(), hidden=())),
            MLP(3, 3, hidden=()),
        )
        with torch.no_grad():
            for p in told.parameters():
                p.zero_()
        with ab.drawing(0):
            soft = told.relaxed_sample(0.01, context).detach()
        assert soft.shape == (4000, *density.event_shape)
        assert float((soft - soft.round()).abs().mean()) < 0.02
        with ab.drawing(0):
            hard = told.relaxed_sample(0.01, context, straight_through=True).detach()
        assert torch.equal(hard, hard.round()) and bool(told.log_prob(hard, context).isfinite().all())
        share = 0.5 if isinstance(density, Bernoulli) else 1 / 3
        assert torch.allclose(hard.mean(0), torch.full(density.event_shape, share), atol=0.03)
    assert Normal([0.0]).relaxed_sample(1.0) is None


@pytest.mark.parametrize(
    "objective",
    [Enumerated(), Relaxed(1.0, 0.5), Relaxed(straight_through=True), ScoreFunction(MLP(2, 1)), MultiSample(3)],
    ids=lambda objective: type(objective).__name__,
)
def test_every_one_of_them_fits(objective):
    model = tiny("one-hot").float()
    noise = torch.randn(200, 2, generator=torch.Generator().manual_seed(0))
    x = noise * 0.3 + 2.0 * (torch.arange(200) % 2 * 2 - 1)[:, None]  # two clusters, which only z can tell apart
    exact = lambda: float(Enumerated()(Batch(model, x, None, None, torch.zeros(1), 0.0)).mean().detach())  # noqa: E731
    before = exact()
    options = {"epochs": 20, "batch_size": 50, "learning_rate": 1e-2, "seed": 0, "progress": False, "compile": False}
    ab.fit(model, x, objective=objective, **options)
    assert exact() < before - 1.0


def test_bad_input_is_one_line():
    for value in (0, -1.0, float("nan")):
        with pytest.raises(ValueError, match=r"temperature: expected a number above 0, got"):
            Relaxed(value)
    with pytest.raises(ValueError, match=r"coldest: expected a number above 0"):
        Relaxed(1.0, 0.0)
    with pytest.raises(ValueError, match=r"baseline: expected 'none', 'mean', 'others' or a Network, got 'best'"):
        ScoreFunction("best")
    with pytest.raises(ValueError, match=r"draws: expected at least 2, .* got 1"):
        ScoreFunction("others", draws=1)
    with pytest.raises(ValueError, match=r"draws: expected"):
        MultiSample(1)
    x, options = torch.zeros(4, 2), {"epochs": 1, "progress": False, "validation": 0}
    with pytest.raises(ValueError, match=r"density: expected a LatentVariable for this objective, got a Normal"):
        ab.fit(Normal([0.0, 0.0], learnable=True), x, objective=Enumerated(), **options)
    model = tiny().float()
    with pytest.raises(ValueError, match=r"prior: expected at most 3 events to sum over, got more; .*ScoreFunction"):
        ab.fit(model, x, objective=Enumerated(most=3), **options)
    with pytest.raises(ValueError, match=r"baseline: expected a network of 2 features and 1 output, got 3 and 1"):
        ab.fit(model, x, objective=ScoreFunction(MLP(3, 1)), **options)
    continuous = LatentVariable(Normal([0.0]), Normal(torch.zeros(2), context=1), Normal([0.0], context=2))
    with pytest.raises(ValueError, match=r"prior: expected a density of finitely many events, .* got a Normal"):
        ab.fit(continuous, x, objective=Enumerated(), **options)
    with pytest.raises(ValueError, match=r"posterior: expected one with a relaxation, .* got a Normal"):
        ab.fit(continuous, x, objective=Relaxed(), **options)
    mixed = LatentVariable(
        Categorical([0.0, 0.0]), Normal(torch.zeros(2), context=1), Bernoulli([0.0], context=2, hidden=(4,))
    )
    with pytest.raises(ValueError, match=r"prior: expected a Bernoulli as the posterior, .* got a Categorical"):
        ab.fit(mixed, x, objective=Relaxed(), **options)
