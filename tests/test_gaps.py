"""Rows with gaps in models with hidden variables: bounds of what was observed, and gaps filled by weighted draws."""

import math
import warnings

import pytest
import torch

import anabranch as ab
from anabranch import queries, vaes
from anabranch.densities import GaussianMixture, Independent, Normal, at_context
from anabranch.densities.log_weights import log_mean_weight
from anabranch.densities.weighted_completion import of_one_component
from anabranch.draws import drawing
from anabranch.families import Bernoulli, Gaussians, Levels, SeparateChannels
from anabranch.models import (
    Entries,
    Factorized,
    HierarchicalVAE,
    LatentDepthMixture,
    LatentLevel,
    LatentVariable,
    Marginals,
    NotAtRandom,
    Observed,
)
from anabranch.networks import MLP, Alone, WithMask
from anabranch.objectives import ImportanceWeighted
from anabranch.objectives.objective import Batch
from anabranch.queries import QueryWarning
from anabranch.testing.linear_gaussian import LinearMean

NAN = math.nan
ROWS = torch.tensor([[0.5, NAN, -1.0], [NAN, NAN, 0.3], [1.0, 0.2, 0.4], [NAN, NAN, NAN]])


def linear(latents=1):
    """z ~ N(0, 1), x | z ~ N(W z + b, S), with a guess that reads gaps; and the normal density of x."""
    with drawing(0):
        decoder = Factorized(Gaussians(1, floor=0.05), (3,), MLP(latents, 9, hidden=()))
        posterior = Normal(torch.zeros(latents), network=WithMask(MLP(3, 2 * latents, 3, hidden=())))
        layer = decoder.network.layers[0]
        with torch.no_grad():
            layer.weight.zero_()
            layer.weight[1::3] = torch.tensor([[0.9], [-0.7], [1.2]])
            layer.bias.zero_()
            layer.bias[1::3] = torch.tensor([0.3, 0.0, -0.5])
            layer.bias[2::3] = -0.5
            for parameter in posterior.parameters():
                parameter.mul_(0.3)
    model = LatentVariable(Normal.standard(latents), decoder, posterior)
    with torch.no_grad():
        theta = decoder.numbers(torch.zeros(latents))
        w = decoder.family.mean(decoder.numbers(torch.ones(latents))) - decoder.family.mean(theta)
        covariance = torch.outer(w, w) + torch.diag(decoder.family.variance(theta))
        truth = Normal(decoder.family.mean(theta), scale_tril=torch.linalg.cholesky(covariance))
    return model, truth


def hierarchy():
    family = Gaussians(1, floor=0.1)
    low = LatentLevel(Normal([0.0], context=1), Normal([0.0], context=5), WithMask(MLP(3, 4, 3, hidden=(4,))))
    top = LatentLevel(Normal.standard(1), Normal([0.0], context=4))
    return HierarchicalVAE([low, top], Factorized(family, 3, MLP(1, 9, hidden=())))


# networks and flags


def test_a_network_with_a_mask_tells_a_gap_from_a_zero():
    torch.manual_seed(0)
    network = WithMask(MLP(3, 4, context=3, hidden=(8,)))
    x = torch.tensor([[0.0, 1.0, 2.0], [NAN, 1.0, 2.0]])
    y = network(x)
    assert bool(y.isfinite().all()) and not torch.allclose(y[0], y[1])
    assert torch.equal(y[1], network.network(torch.tensor([0.0, 1.0, 2.0]), torch.tensor([0.0, 1.0, 1.0])))
    for wrong in (MLP(3, 4), MLP(3, 4, context=2)):
        with pytest.raises(ValueError, match="network: expected one with a context of 3 numbers"):
            WithMask(wrong)


def test_gaps_need_a_decoder_that_leaves_them_out_and_a_posterior_that_is_told():
    reads, plain = (vaes.vae(3, Gaussians(1, floor=0.1), 2, hidden=(8,), gaps=told) for told in (True, False))
    assert reads.gaps and not plain.gaps and not vaes.vae((1, 3, 1), Bernoulli(), 2, channels=(4,)).gaps
    assert not LatentVariable(reads.prior, Normal(torch.zeros(3), context=2), reads.posterior).gaps
    assert bool(plain.lower_bound(ROWS)[:2].isnan().all()) and bool(plain.lower_bound(ROWS)[2].isfinite())
    with pytest.raises(ValueError, match="gaps: expected False with convolutions"):
        vaes.vae((1, 4, 4), Bernoulli(), channels=(4,), gaps=True)
    with pytest.raises(ValueError, match=r"gaps: expected False of a posterior that is not told"):
        vaes.vae(3, Gaussians(1), 2, posterior=Normal(torch.zeros(2), context=3), gaps=True)
    with pytest.raises(ValueError, match="of Channels, whose pixels are read whole"):
        vaes.vae((3, 2, 2), SeparateChannels(Levels(4), 3), 2, gaps=True)
    with pytest.raises(ValueError, match=r"x: expected finite numbers, got nan in row 0, column 1"):
        ab.fit(plain, ROWS.repeat(10, 1), epochs=1, progress=False)


# bounds of what was observed


def test_the_estimate_of_a_row_with_gaps_is_the_marginal_of_what_was_observed():
    model, truth = linear()
    value, error = model.estimate(ROWS, samples=20_000, generator=0)
    wanted = torch.stack(
        [
            torch.zeros(()) if not seen else truth.marginal(seen).log_prob(row[seen])
            for row in ROWS
            for seen in [[i for i in range(3) if not row[i].isnan()]]
        ]
    )
    assert bool(((value - wanted).abs() < 4 * error + 1e-5).all()) and float(error.max()) < 0.05
    with torch.no_grad():
        below = torch.stack([model.lower_bound(ROWS, generator=k) for k in range(200)]).mean(dim=0)
    assert bool((below < wanted + 0.05).all()) and float(below[3]) <= 1e-6


@pytest.mark.parametrize("make", [hierarchy, lambda: LatentDepthMixture(Entries(hierarchy()))])
def test_hierarchies_and_their_depths_take_gaps_where_what_reads_x_is_told(make):
    torch.manual_seed(0)
    model = make()
    assert model.gaps
    value, error = model.estimate(ROWS, samples=2000, generator=0)
    assert bool(value.isfinite().all()) and abs(float(value[3])) < 4 * float(error[3]) + 1e-4
    alone = queries.marginal(model, [1])
    row = torch.tensor([[NAN, 1.0, NAN]])
    assert isinstance(alone, Observed)
    assert torch.equal(alone.lower_bound(row[:, [1]], generator=0), model.lower_bound(row, generator=0))
    low = LatentLevel(Normal([0.0], context=1), Normal([0.0], context=4))
    untold = HierarchicalVAE([low, LatentLevel(Normal.standard(1), Normal([0.0], context=3))], hierarchy().decoder)
    assert not untold.gaps and bool(untold.lower_bound(ROWS)[0].isnan())
    assert not LatentDepthMixture(Entries(hierarchy()), posterior=MLP(3, 2)).gaps


def test_the_bound_of_several_particles_lies_between_the_bound_of_one_and_the_density():
    model, truth = linear()
    x = truth.sample((300,), generator=0)

    def bound(particles):
        objective = ImportanceWeighted(particles)
        batch = Batch(model, x, None, None, torch.arange(300), 0.0)
        objective.prepare(batch, 1)
        with torch.no_grad(), drawing(1):
            return -float(objective(batch).mean())

    known = float(truth.log_prob(x).mean())
    assert bound(1) + 0.02 < bound(5) < bound(100) < known + 0.01 and known - bound(100) < 0.25
    with torch.no_grad():
        single = float(torch.stack([model._log_weight(x, None) for _ in range(50)]).mean())
    assert abs(bound(1) - single) < 1.5  # heavy tails


# the guess is as it was made
@pytest.mark.filterwarnings("ignore::anabranch.densities.CollapseWarning")
def test_a_fit_judges_validation_rows_by_the_bound_of_the_particles():
    model, truth = linear()
    x, objective = truth.sample((200,), generator=0), ImportanceWeighted(50)
    options = {"epochs": 1, "learning_rate": 1e-9, "validation": x, "seed": 0, "progress": False, "compile": False}
    ours = ab.fit(model, x, objective=objective, **options).epochs[0].validation
    single = ab.fit(model, x, **options).epochs[0].validation
    wanted = float(objective.validation_loss(model, x, None).mean().detach())
    assert abs(ours - wanted) < 1e-3 and ours < single - 0.1


def test_what_the_objective_refuses():
    with pytest.raises(ValueError, match=r"particles: expected .* got 0"):
        ImportanceWeighted(0)
    x = torch.zeros(60, 2)
    with pytest.raises(ValueError, match="density: expected one with a posterior network, such as LatentVariable"):
        ab.fit(Normal([0.0, 0.0], learnable=True), x, objective=ImportanceWeighted(2), progress=False)
    discrete = LatentVariable(
        ab.densities.Bernoulli([0.0]), Normal(torch.zeros(2), context=1), ab.densities.Bernoulli([0.0], context=2)
    )
    with pytest.raises(ValueError, match="posteriors whose draws are differentiable, got a Bernoulli"):
        ab.fit(discrete, x, objective=ImportanceWeighted(2), progress=False)


def test_a_fit_with_gaps_starts_at_what_was_observed():
    torch.manual_seed(0)
    x = torch.tensor([[5.0, NAN, 1.0], [NAN, NAN, 1.0], [6.0, NAN, 0.0]])
    for family in (Gaussians(1, floor=0.1), [Gaussians(1, floor=0.1), Gaussians(1), Levels(2)]):
        model = vaes.vae(3, family, 2, "vamp", hidden=(8,), gaps=True)
        model.initialize(x)
        assert all(bool(p.isfinite().all()) for p in model.parameters())
        assert bool(model.lower_bound(x).isfinite().all())


# gaps filled


def test_filled_gaps_are_those_of_the_conditional():
    model, truth = linear()
    with torch.no_grad():
        best = queries.impute(model, ROWS, best=True, proposals=20_000, seed=0)
        drawn = queries.impute(model, ROWS, draws=4000, proposals=20_000, seed=0)
        middle = queries.impute(model, ROWS, best="median", proposals=20_000, seed=0)
    wanted = queries.impute(truth, ROWS, best=True)
    assert torch.allclose(best, wanted, atol=0.05) and torch.allclose(middle, wanted, atol=0.08)
    assert torch.allclose(drawn.mean(dim=0), wanted, atol=0.1)
    assert torch.equal(best[2], ROWS[2]) and torch.equal(drawn[:, 0, 0], torch.full((4000,), 0.5))
    spread = truth.conditional([2], ROWS[1, 2:]).moments().covariance
    assert torch.allclose(torch.cov(drawn[:, 1, :2].mT), spread, atol=0.1)


def test_a_hierarchy_fills_gaps_too_and_levels_by_the_most_probable():
    torch.manual_seed(0)
    for model in (hierarchy(), vaes.vae(3, [Gaussians(1), Gaussians(1), Levels(3)], 2, hidden=(8,), gaps=True)):
        rows = torch.tensor([[0.3, NAN, NAN], [NAN, 1.0, 2.0]])
        for best in (False, "mean", "median"):
            filled = queries.impute(model, rows, best=best, proposals=64, seed=0)
            filled = filled.squeeze(0)
            assert filled.shape == (2, 3) and bool(filled.isfinite().all())
            assert torch.equal(filled[~rows.isnan()], rows[~rows.isnan()])
    assert float(filled[0, 2]) in (0.0, 1.0, 2.0)
    sure = Factorized(Levels(2), (2,), MLP(1, 4, hidden=()), located=True)
    with torch.no_grad():
        sure.network.layers[0].weight.zero_()
        sure.start.b[1] = torch.tensor([0.0, 3.0])
    guess = vaes.vae(2, Levels(2), 1, hidden=(4,), gaps=True)
    model = LatentVariable(Normal.standard(1), sure, guess.posterior)
    assert queries.impute(model, torch.tensor([[0.0, NAN]]), best=True, seed=0).tolist() == [[0.0, 1.0]]


def entries():
    """The depths of a linear chain of two levels with rough guesses, weights 0.3 and 0.7; and the density of x."""
    decoder = linear()[0].decoder
    low = LatentLevel(
        Normal([0.4], 0.8, network=LinearMean(1, 1, 0.9)), Normal([0.0], context=5), WithMask(MLP(3, 4, 3, hidden=(4,)))
    )
    top = LatentLevel(Normal.standard(1), Normal([0.0], context=4))
    with drawing(0):
        model = LatentDepthMixture(Entries(HierarchicalVAE([low, top], decoder)))
    with torch.no_grad():
        model.logits.copy_(torch.tensor([0.3, 0.7]).log())
        model.depths.starts["1"].state.fill_(-1.5)
        noise = decoder.family.variance(decoder.numbers(torch.zeros(1)))
        start = decoder.family.mean(decoder.numbers(torch.zeros(1)))
        w = decoder.family.mean(decoder.numbers(torch.ones(1))) - start
        slope = 0.9
        each = [(0.4 - 1.5 * slope, 0.64), (0.4, 0.64 + slope**2)]
        factors = [torch.linalg.cholesky(v * torch.outer(w, w) + torch.diag(noise)) for _, v in each]
        means = torch.stack([start + m * w for m, _ in each])
    return model, GaussianMixture(means, scale_tril=torch.stack(factors), weights=[0.3, 0.7])


def test_gaps_of_a_mixture_of_depths_are_those_of_its_conditional():
    model, truth = entries()
    rows = torch.cat([ROWS, torch.tensor([[-2.0, NAN, NAN]])])
    wanted = queries.impute(truth, rows, best=True)
    with torch.no_grad():
        best = queries.impute(model, rows, best=True, proposals=20_000, seed=0)
        drawn = queries.impute(model, rows, draws=4000, proposals=20_000, seed=0)
        _, log_w = model.weighted_completion(rows.expand(20_000, -1, -1), None)
    assert torch.allclose(best, wanted, atol=0.06)
    assert torch.allclose(drawn.mean(dim=0), wanted, atol=0.12)
    value, error = log_mean_weight(log_w)
    seen = [[i for i in range(3) if not row[i].isnan()] for row in rows]
    marginals = [
        truth.marginal(s).log_prob(row[s]) if s else torch.zeros(()) for row, s in zip(rows, seen, strict=True)
    ]
    assert bool(((value - torch.stack(marginals)).abs() < 4 * error + 1e-5).all())
    assert LatentDepthMixture(Entries(hierarchy()), posterior=MLP(3, 2)).weighted_completion(ROWS, None) is None


def test_the_gradient_of_a_completion_of_one_component_is_that_of_all():
    torch.manual_seed(0)
    free = torch.tensor([0.2, -0.4, 0.1], requires_grad=True)
    rows = [(torch.full((200_000, 1), float(k)), free[k].expand(200_000)) for k in range(3)]
    told = torch.tensor([0.5, 0.3, 0.2]).log()
    filled, log_w = of_one_component(rows, told)
    wanted = (told.exp() * free.exp() * torch.tensor([0.0, 1.0, 4.0])).sum()
    value = (log_w.exp() * filled.squeeze(-1).square()).mean()
    assert torch.allclose(value, wanted, atol=0.02)
    found = torch.autograd.grad(value, free)[0]
    assert torch.allclose(found, torch.autograd.grad(wanted, free)[0], atol=0.02)
    nowhere = of_one_component([(torch.zeros(2, 1), torch.full((2,), -torch.inf))] * 2, torch.zeros(2))[1]
    assert bool(nowhere.isneginf().all())


def test_completions_of_parts_that_are_independent_or_at_a_context():
    marginals = Marginals([Gaussians(1), Levels(2)])
    product = Independent([marginals, Marginals([Levels(3)])])
    x = torch.tensor([[NAN, 1.0, NAN], [0.5, NAN, 2.0]])
    filled, log_w = product.weighted_completion(x, None)
    assert filled.shape == x.shape and torch.allclose(log_w, product.log_prob(x))
    assert Independent([marginals, Normal([0.0])]).weighted_completion(x, None) is None
    decoder = linear()[0].decoder
    filled, log_w = at_context(decoder, torch.zeros(1)).weighted_completion(ROWS, None)
    assert not bool(filled.isnan().any()) and torch.allclose(log_w, decoder.log_prob(ROWS, torch.zeros(1)))


def test_weights_that_are_worth_few_draws_warn_and_impossible_rows_are_named():
    model, _ = linear()
    with pytest.warns(QueryWarning, match=r"of 1 of 1 rows are worth fewer than 30; raise proposals, now 20"):
        queries.impute(model, torch.tensor([[4.0, NAN, 6.0]]), proposals=20, seed=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        queries.impute(model, ROWS, proposals=2000, seed=0)
    levels = vaes.vae(2, Levels(2), 1, hidden=(4,), gaps=True)
    with pytest.raises(ValueError, match=r"rows: expected values that are possible, .* of what row 1 has is 0"):
        queries.impute(levels, torch.tensor([[0.0, NAN], [7.0, NAN]]), seed=0)


def test_a_model_of_gaps_comes_back_from_a_file(tmp_path):
    model, _ = linear()
    ab.save(model, tmp_path / "gaps.safetensors")
    again = ab.load(tmp_path / "gaps.safetensors")
    assert again.gaps and torch.equal(model.lower_bound(ROWS, generator=0), again.lower_bound(ROWS, generator=0))


@pytest.mark.parametrize("prior", ["normal", "flow", "gaussian mixture"])
def test_more_gaps_teach_the_posterior_alone(prior):
    torch.manual_seed(0)
    model = vaes.vae(3, Gaussians(1, floor=0.1), 2, prior, hidden=(8,), gaps=True)
    x = torch.randn(40, 3)
    batch = Batch(model, x, None, None, torch.arange(40), 0.0)

    def gradients(objective):
        model.zero_grad()
        with drawing(0):
            objective(batch).mean().backward()
        return {
            name: parameter.grad.clone() for name, parameter in model.named_parameters() if parameter.grad is not None
        }

    plain, more = (gradients(ImportanceWeighted(5, more_gaps=more)) for more in (False, True))
    assert plain.keys() == more.keys() and any(name.startswith("prior") for name in plain) == (prior != "normal")
    assert all(parameter.requires_grad for parameter in model.parameters())
    for name in plain:
        assert torch.equal(plain[name], more[name]) != name.startswith("posterior")


def test_a_posterior_that_learned_of_more_gaps_guesses_a_column_that_was_never_missing():
    x = torch.randn(600, 1, generator=torch.Generator().manual_seed(0)) * torch.tensor([1.0, -1.0, 0.8])
    x = x + 0.1 * torch.randn(600, 3, generator=torch.Generator().manual_seed(1))
    gappy = x[:200].clone()
    gappy[:, 0] = NAN

    def gap(more):
        torch.manual_seed(0)
        model = vaes.vae(3, Gaussians(1, floor=0.05), 1, hidden=(16,), gaps=True)
        options = {
            "epochs": 25,
            "batch_size": 50,
            "learning_rate": 1e-2,
            "seed": 0,
            "progress": False,
            "compile": False,
        }
        ab.fit(model, x[200:], objective=ImportanceWeighted(5, more_gaps=more), **options)
        with torch.no_grad():
            log_p, _ = model.estimate(gappy, samples=1000, generator=0)
            return float((log_p - model.lower_bound(gappy.expand(20, -1, -1), generator=0)).mean())

    assert 1.5 * gap(True) < gap(False)


def test_more_gaps_are_refused_of_what_takes_none():
    x = torch.zeros(60, 3)
    complete, gappy = (vaes.vae(3, Gaussians(1, floor=0.1), 2, hidden=(8,), gaps=gaps) for gaps in (False, True))
    vamp = vaes.vae(3, Gaussians(1, floor=0.1), 2, "vamp", hidden=(8,), gaps=True)
    for model, message in (
        (complete, "expected False of a model that takes no gaps, got True; make it with gaps=True"),
        (
            NotAtRandom(gappy, Alone(3)),
            "expected False of a density that is no LatentVariable, got True of a NotAtRandom",
        ),
        (vamp, "expected False of a VampPrior that shares parameters with the posterior"),
    ):
        with pytest.raises(ValueError, match=f"more_gaps: {message}"):
            ab.fit(model, x, objective=ImportanceWeighted(2, more_gaps=True), progress=False)
