"""Hierarchies of hidden variables and their depths: against what is known, against each other, and what they refuse."""

import math

import pytest
import torch

import anabranch as ab
from anabranch.densities import Bernoulli, CollapseWarning, Normal
from anabranch.models import Entries, HierarchicalVAE, LatentDepthMixture, LatentLevel, LatentVariable
from anabranch.networks import MLP
from anabranch.objectives import LowerBound
from anabranch.testing import (
    chain_depths,
    chain_marginal,
    depths_marginal,
    guess_exactly,
    linear_gaussian_chain,
    randomize,
)
from anabranch.testing.linear_gaussian import LinearMean
from anabranch.transforms import ActNorm

BOTH = pytest.mark.parametrize("posteriors", ["top-down", "bottom-up"])


def chain(posteriors="top-down", levels=3, seed=0):
    return guess_roughly(randomize(linear_gaussian_chain(levels, posteriors=posteriors), 0.3, seed).double())


def depths(posteriors="top-down", guess=True, seed=0):
    model = randomize(chain_depths(3, posteriors=posteriors, guess=guess), 0.3, seed).double()
    guess_roughly(model.depths.model)
    return model


def guess_roughly(model):
    """Posteriors somewhat wider than the true ones, and beside them: importance weights of a finite variance."""
    guess_exactly(model)
    for level in model.levels:
        randomize(level.posterior, 0.1)
        with torch.no_grad():
            level.posterior.theta.log_scale += 0.2
    return model


def rows(count=5, seed=0):
    return torch.randn(count, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def mean_bound(model, x, draws=4_000):
    with torch.no_grad():
        drawn = model.lower_bound(x.expand(draws, *x.shape), generator=0)
    return drawn.mean(0), drawn.std(0) / math.sqrt(draws)


@BOTH
def test_exact_guesses_close_the_gap(posteriors):
    model, x = guess_exactly(chain(posteriors)), rows()
    truth = chain_marginal(model).log_prob(x)
    value, error = model.estimate(x, samples=3, generator=0)
    assert torch.allclose(value, truth, atol=1e-9) and float(error.max()) < 1e-9
    mean, error = mean_bound(model, x)
    assert bool(((mean - truth).abs() <= 5 * error + 1e-9).all())


@BOTH
def test_the_estimate_comes_to_the_truth(posteriors):
    model, x = chain(posteriors), rows()
    truth = chain_marginal(model).log_prob(x)
    value, error = model.estimate(x, samples=20_000, generator=0)
    assert float(error.max()) < 0.05 and bool(((value - truth).abs() < 5 * error).all())
    mean, spread = mean_bound(model, x)
    assert bool((mean < truth - 5 * spread).all())


@BOTH
def test_the_terms_are_those_of_the_bound_and_formulas_have_the_mean_of_draws(posteriors):
    model, x = chain(posteriors), rows()
    log_likelihood, divergence = model.terms(x, generator=1)
    assert divergence.shape == (5, 3)
    assert torch.allclose(model.lower_bound(x, generator=1), log_likelihood - divergence.sum(-1))
    mean, error = mean_bound(model, x)
    with torch.no_grad():
        drawn = model._log_weight(x.expand(4_000, 5, 2), None)
    spread = (error.square() + drawn.var(0) / 4_000).sqrt()
    assert bool(((drawn.mean(0) - mean).abs() < 5 * spread).all())


def test_divergences_are_formulas_at_every_level_that_goes_down_and_at_the_top_of_one_that_goes_up():
    for posteriors, formulas in (("top-down", [True, True, True]), ("bottom-up", [False, False, True])):
        model, x = chain(posteriors), rows(1)
        # at one x and one draw of what is above, a formula does not depend on the draw of its level
        above = [model.terms(x.expand(1000, 2), generator=seed)[1] for seed in (0, 1)]
        positive = [bool((d >= 0).all()) for d in above[0].unbind(-1)]
        assert positive == formulas


def test_bottom_up_is_a_latent_variable_on_a_latent_variable():
    model, x = chain("bottom-up", levels=2), rows()
    low, high = model.levels
    inner = LatentVariable(high.prior, low.prior, high.posterior)
    nested = LatentVariable(inner, model.decoder, low.posterior)
    assert torch.allclose(nested.lower_bound(x, generator=3), model.lower_bound(x, generator=3))
    assert torch.allclose(nested.estimate(x, generator=3)[0], model.estimate(x, generator=3)[0])


@BOTH
def test_score_function_gradients_are_those_of_the_sum_over_hidden_coins(posteriors):
    torch.manual_seed(0)
    extra = 1 if posteriors == "top-down" else 0
    model = HierarchicalVAE(
        [
            LatentLevel(Bernoulli([0.3], context=1, hidden=(3,)), Bernoulli([0.0], context=2 + extra, hidden=(3,))),
            LatentLevel(Bernoulli([0.1], learnable=True), Bernoulli([0.2], context=2 if extra else 1, hidden=(3,))),
        ],
        Normal(torch.zeros(2), context=1, hidden=(4,)),
        posteriors,
    )
    model = randomize(model, 0.5).double()
    x = rows(1)[0]
    wanted = torch.autograd.grad(summed_bound(model, x), list(model.parameters()), allow_unused=True)
    torch.manual_seed(1)
    count = 20_000
    got = torch.autograd.grad(model.lower_bound(x.expand(count, 2)).mean(), list(model.parameters()), allow_unused=True)
    scale = max(float(g.abs().max()) for g in wanted if g is not None)
    for one, other in zip(got, wanted, strict=True):
        assert (one is None) == (other is None)
        assert one is None or torch.allclose(one, other, atol=0.03 * scale)


def summed_bound(model, x):
    """The bound as the sum over both coins."""
    total = 0.0
    low, high = model.levels
    for a in (0.0, 1.0):
        for b in (0.0, 1.0):
            z, top = torch.tensor([a]).double(), torch.tensor([b]).double()
            if model.top_down:
                log_q = high.posterior.log_prob(top, x) + low.posterior.log_prob(z, torch.cat([x, top]))
            else:
                log_q = low.posterior.log_prob(z, x) + high.posterior.log_prob(top, z)
            log_p = high.prior.log_prob(top) + low.prior.log_prob(z, top) + model.decoder.log_prob(x, z)
            total = total + log_q.exp() * (log_p - log_q)
    return total


@pytest.mark.parametrize("guess", [True, False])
@BOTH
def test_every_depth_and_their_mixture_come_to_the_truth(posteriors, guess):
    model, x = depths(posteriors, guess), rows()
    truth = depths_marginal(model)
    value, error = model.estimate(x, samples=10_000, generator=0)
    assert float(error.max()) < 0.05 and bool(((value - truth.log_prob(x)).abs() < 5 * error).all())
    mean, spread = mean_bound(model, x)
    assert bool((mean < truth.log_prob(x) + 5 * spread).all())
    log_p, told = model.estimate_posterior(x, samples=4_000, generator=0)
    wanted = truth.responsibilities(x).log()
    slack = 5 * (told + told.max(-1, keepdim=True).values)
    assert bool(((log_p - wanted).abs() < slack).all())


def test_the_bound_of_a_mixture_over_depths_is_tight_where_all_guesses_are_exact():
    model, x = depths(), rows()
    guess_exactly(model.depths.model)
    truth = depths_marginal(model)
    # top-down posteriors serve all depths at once: the weights of one draw are the densities
    joint, log_q = model._joint_log_weight(x, None).detach(), model.log_posterior(x).detach()
    assert torch.allclose(joint, truth.joint_log_prob(x), atol=1e-9)
    exact = model.elbo(x, truth.responsibilities(x).log())
    assert torch.allclose(exact, truth.log_prob(x), atol=1e-9)
    # and what is missing of the bound is the divergence of q(l | x) from the true p(l | x)
    missing = (log_q.exp() * (log_q - truth.responsibilities(x).log())).sum(-1)
    assert float(missing.min()) > 0
    assert torch.allclose(truth.log_prob(x) - missing, model.elbo(x), atol=1e-9)
    mean, error = mean_bound(model, x)
    assert bool(((truth.log_prob(x) - missing - mean).abs() < 5 * error).all())


def test_the_bound_of_a_mixture_over_depths_is_the_sum_that_it_says():
    model, x = depths(), rows()
    log_q, log_w = model.log_posterior(x), model.weights().log()
    each = torch.stack([terms.bound() for terms in model.terms(x, generator=1)], dim=-1)
    wanted = (log_q.exp() * (each + log_w - log_q)).sum(-1)
    assert torch.allclose(model.lower_bound(x, generator=1), wanted)


def test_a_sample_starts_at_the_level_drawn():
    model = depths()
    with torch.no_grad():
        model.logits.copy_(torch.tensor([0.0, -1.0, -2.0]))
    counts = [0, 0, 0]
    for k, level in enumerate(model.depths.model.levels):
        draw = level.prior._sample

        def counted(shape, context, draw=draw, k=k):
            z = draw(shape, context)
            counts[k] += z.shape[:-1].numel()
            return z

        object.__setattr__(level.prior, "_sample", counted)
    model.sample((4_000,), generator=0)
    w = model.weights().detach()
    reach = [4_000, 4_000 * float(w[1:].sum()), 4_000 * float(w[2])]
    assert counts[0] == 4_000
    assert all(abs(c - r) < 5 * math.sqrt(4_000 / 4) for c, r in zip(counts, reach, strict=True))
    assert float(model.expected_depth()) == pytest.approx(float((w * torch.arange(1, 4)).sum()))


def test_every_row_is_drawn_at_its_depth():
    entries = depths().depths
    with torch.no_grad():
        for depth, place in (("1", 1e3), ("2", -1e3)):
            entries.starts[depth].state.fill_(place)
    wanted = torch.tensor([2, 0, 1, 1, 0, 2, 0])
    with torch.no_grad():
        x = entries.draw(wanted, None)
    assert x.shape == (7, 2)
    far = x.abs().amax(-1) > 30
    assert far.tolist() == (wanted < 2).tolist()
    one, two = x[wanted == 0], x[wanted == 1]
    # rows of one depth lie together, and apart from those of the other
    assert float(torch.cdist(one, one).max()) < 0.1 * float(torch.cdist(one, two).min())


def test_a_fit_finds_depths_and_the_bound_is_near_the_truth():
    teacher = depths(seed=3)
    x = teacher.sample((400,), generator=0).float()
    model = randomize(chain_depths(2), 0.1)
    before = float(model.estimate(x, samples=20, generator=0)[0].mean())
    ab.fit(
        model, x, epochs=8, batch_size=100, learning_rate=2e-2, seed=0, progress=False, compile=False,
        objective=LowerBound(warmup=0.3, free=0.01),
    )  # fmt: skip
    after = float(model.estimate(x, samples=20, generator=0)[0].mean())
    best = float(depths_marginal(teacher).log_prob(x.double()).mean())
    assert before < after - 0.1 and after > best - 0.15


def test_free_bits_are_counted_for_each_level():
    model, x = chain(), rows()
    shapes = []

    def weigh(log_likelihood, divergence):
        shapes.append(tuple(divergence.shape))
        return log_likelihood - divergence.sum(-1)

    model.weighed_bound(x, weigh)
    depths().weighed_bound(x, weigh)
    # of the hierarchy; of each depth; of the guess of the depth
    assert shapes == [(5, 3), (5, 1), (5, 2), (5, 3), (5, 1)]


@BOTH
def test_idle_levels_are_named(posteriors):
    model, x = chain(posteriors), rows(50)
    assert model.symptoms(x) == []
    for level in model.levels[1:]:
        with torch.no_grad():
            level.posterior.theta.network.slope.zero_()
        level.prior = Normal(level.posterior.theta.loc.detach(), level.posterior.theta.log_scale.detach().exp())
    (said,) = model.symptoms(x)
    assert isinstance(said, CollapseWarning) and "of 3 levels 2, 3 say nothing" in str(said)


@BOTH
def test_a_first_batch_initializes_all_parts(posteriors):
    def bent(context):
        return ab.Flow([ActNorm(1)], base=Normal([0.0], context=context, hidden=(4,)))

    extra = 1 if posteriors == "top-down" else 0
    low = LatentLevel(bent(1), bent(2 + extra))
    high = LatentLevel(ab.Flow([ActNorm(1)]), bent(2 if extra else 1))
    model = HierarchicalVAE([low, high], ab.Flow([ActNorm(2)], base=Normal(torch.zeros(2), context=1)), posteriors)
    model.initialize(100 + rows(50).float())
    assert all(bool(part.initialized) for part in model.modules() if isinstance(part, ActNorm))
    assert float(model.estimate(100 + rows(5).float())[0].min()) > -20


def fitting(**changes):
    parts = {
        "prior": Normal(torch.zeros(2), context=1),
        "posterior": Normal(torch.zeros(2), context=4),
        "top": LatentLevel(Normal.standard(1), Normal(torch.zeros(1), context=3)),
        "decoder": Normal(torch.zeros(3), context=2),
    } | changes
    more = {name: parts[name] for name in ("up", "down") if name in parts}
    low = LatentLevel(parts["prior"], parts["posterior"], **more)
    return HierarchicalVAE([low, parts["top"]], parts["decoder"], parts.get("posteriors", "top-down"))


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        (
            {"prior": Normal(torch.zeros(2), context=5)},
            r"levels\[0\]: prior: expected a density with a context of \(1,\)",
        ),
        (
            {"posterior": Normal(torch.zeros(2), context=7)},
            r"levels\[0\]: posterior: expected a context of 3 or 4 numbers",
        ),
        ({"posterior": Normal(torch.zeros(2))}, r"levels\[0\]: posterior: expected a context of 3 or 4 numbers.*none"),
        ({"posterior": Normal(torch.zeros(3), context=4)}, r"posterior: expected event shape \(2,\)"),
        ({"decoder": Normal(torch.zeros(3), context=4)}, r"decoder: expected a density with a context of \(2,\)"),
        ({"up": MLP(5, 3)}, r"levels\[0\]: up: expected a network from \(3,\)"),
        ({"down": MLP(3, 2)}, r"levels\[0\]: down: expected a network from \(2,\)"),
        ({"down": MLP(2, 2, context=6)}, r"levels\[0\]: down: expected a network with a context of \(1,\)"),
        ({"posteriors": "sideways"}, r"posteriors: expected one of"),
    ],
)
def test_parts_that_do_not_fit_are_named(changes, named):
    fitting()
    with pytest.raises(ValueError, match=named):
        fitting(**changes)


def test_wrong_depths_are_refused():
    model = linear_gaussian_chain(3)
    with pytest.raises(ValueError, match="depths: expected increasing numbers from 1 to 3"):
        Entries(model, [1, 4])
    with pytest.raises(ValueError, match="posterior: expected a network of 2 features and 3 outputs"):
        LatentDepthMixture(Entries(model), posterior=LinearMean(2, 2))
    with pytest.raises(ValueError, match="levels: expected at least one"):
        HierarchicalVAE([], Normal(torch.zeros(2), context=1))
