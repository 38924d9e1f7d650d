"""Questions to latent-variable models: what they encode and cost, posteriors of rows by gradient, annealed weights."""

import math

import pytest
import torch

import anabranch as ab
from anabranch.densities import Bernoulli, CollapseWarning, GaussianMixture, Normal
from anabranch.densities.aggregated import aggregated_log_prob, shares_between
from anabranch.families import Gaussians, Levels
from anabranch.models import LatentVariable
from anabranch.queries import annealed, encode, latent_report, refine
from anabranch.testing import linear_gaussian, marginal, randomize
from anabranch.testing.linear_gaussian import LinearMean


def model(**sizes):
    return randomize(linear_gaussian(**sizes), scale=0.2).double()


def drawn(density, count, seed=0):
    return density.sample((count,), generator=seed)


def exact_posterior(density, x):
    """Mean (rows, latents) and covariance of p(z | x) of a linear Gaussian model."""
    slope = density.decoder.theta.network.slope.detach()
    theta = density.decoder.theta.constants()
    precision = (-2 * theta["log_scale"]).exp().detach()
    covariance = torch.linalg.inv(torch.eye(slope.shape[1]).to(slope) + slope.mT @ (precision[:, None] * slope))
    return (precision * (x - theta["loc"].detach())) @ slope @ covariance, covariance


# what a model encodes


def test_codes_are_means_or_draws_of_the_posterior():
    density = model(features=3, latents=2)
    x = drawn(density, 5)
    theta = density.posterior.theta(x)
    assert torch.allclose(encode(density, x), theta["loc"])
    draws = encode(density, x, samples=4000, seed=1)
    assert draws.shape == (4000, 5, 2)
    assert torch.allclose(draws.mean(0), theta["loc"], atol=0.1) and not draws.requires_grad
    flow = ab.vaes.vae((2, 2), Levels(3), 2, posterior="planar", hidden=(4, 4))
    assert encode(flow, torch.zeros(6, 2, 2), seed=0).shape == (6, 2)
    with pytest.raises(ValueError, match="model: expected a LatentVariable, got Normal"):
        encode(Normal([0.0]), x)


# rate, distortion, information, gap


def test_the_aggregated_posterior_is_the_mean_over_rows():
    density = model()
    x = drawn(density, 7)
    z = torch.randn(4, 1).double()
    each = torch.stack([density.posterior.log_prob(z, row.expand(4, 2)) for row in x])
    assert torch.allclose(aggregated_log_prob(density.posterior, z, x), each.logsumexp(0) - math.log(7))


def test_a_report_of_a_linear_model_agrees_with_what_is_known():
    density = model(features=3, latents=2)
    x = drawn(density, 2000)
    report = latent_report(density, x, rows=2000, seed=2)
    with torch.no_grad():
        _, divergence = density.terms(x)
        bound = density.lower_bound(x, generator=5).mean()
    assert float(report.rate.value) == pytest.approx(float(divergence.sum(-1).mean()), abs=1e-6)
    assert report.lower_bound == pytest.approx(float(bound), abs=5 * float(report.distortion.standard_error))
    error = math.hypot(*(float(e.standard_error) for e in (report.information, report.gap)))
    assert float(report.rate.value - report.information.value - report.gap.value) == pytest.approx(0, abs=5 * error)
    # q(z) is normal, for means are linear in x: its divergence from the prior is a formula
    density.requires_grad_(False)
    mean = density.posterior.theta(x)["loc"]
    spread = density.posterior.theta(x)["log_scale"][0].mul(2).exp()
    aggregated = Normal(mean.mean(0), scale_tril=torch.linalg.cholesky(mean.T.cov() + torch.diag(spread)))
    gap = float(aggregated.divergence(density.prior).sum())
    assert float(report.gap.value) == pytest.approx(gap, abs=5 * float(report.gap.standard_error) + 0.03)
    wanted = mean.var(0) / (mean.var(0) + spread)
    assert torch.allclose(report.shares, wanted, atol=0.02) and report.active == 2
    assert str(report).splitlines()[0] == "active   2 of 2 latent numbers" and "gap" in str(report)


def test_shares_of_numbers_that_tell_nothing_are_next_to_none():
    density = Normal(torch.zeros(2), context=3, learnable=True, hidden=(4,))
    contexts = torch.randn(400, 3, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.manual_seed(0)
        assert float(shares_between(density, contexts, 32).max()) < 0.01


def test_a_report_asks_for_rows_and_a_model():
    density = model()
    with pytest.raises(ValueError, match="x: expected at least 2 rows, got 1"):
        latent_report(density, drawn(density, 1))
    with pytest.raises(ValueError, match="model: expected a LatentVariable"):
        latent_report(Normal([0.0]), torch.zeros(3, 1))


# a prior afterwards


def test_a_prior_that_is_fitted_afterwards_closes_the_gap():
    torch.manual_seed(0)
    density = model().float()
    with torch.no_grad():
        density.posterior.theta.network.slope.fill_(0.4)
    x = torch.cat([drawn(density, 150) + 3, drawn(density, 150) - 3])
    before = {name: p.clone() for name, p in density.named_parameters()}
    prior = GaussianMixture([[-1.0], [1.0]], learnable=True)
    better, history = ab.training.fit_prior(
        density, x, prior, epochs=20, learning_rate=5e-2, batch_size=300, progress=False, compile=False
    )
    assert better.prior is prior and better.decoder is density.decoder and len(history.epochs) > 1
    assert all(torch.equal(p, before[name]) and p.requires_grad for name, p in density.named_parameters())
    gaps = [latent_report(one, x, seed=2).gap for one in (density, better)]
    assert float(gaps[0].value) > 0.5 and float(gaps[1].value) < 0.15
    with torch.no_grad():
        gain = (better.lower_bound(x, generator=3) - density.lower_bound(x, generator=3)).mean()
    assert float(gain) == pytest.approx(float(gaps[0].value - gaps[1].value), abs=0.2)
    with pytest.raises(ValueError, match=r"prior: expected a density of events \(1,\) .* got one of \(2,\)"):
        ab.training.fit_prior(density, x, Normal([0.0, 0.0], learnable=True))
    with pytest.raises(ValueError, match=r"prior: expected dtype torch.float32, the model's, got torch.float64"):
        ab.training.fit_prior(density, x, Normal([0.0], learnable=True).double())


def test_a_vamp_prior_fitted_afterwards_leaves_the_posterior_alone():
    torch.manual_seed(0)
    density = model().float()
    x = drawn(density, 100)
    before = [p.clone() for p in density.posterior.parameters()]
    prior = ab.models.VampPrior(density.posterior, 5)
    ab.training.fit_prior(density, x, prior, epochs=2, learning_rate=5e-2, progress=False, compile=False)
    assert all(torch.equal(p, one) for p, one in zip(density.posterior.parameters(), before, strict=True))
    assert all(p.requires_grad for p in density.posterior.parameters())
    assert bool(prior.pseudo_inputs.get_buffer("started"))


# posteriors of rows


@pytest.mark.parametrize("start", ["posterior", "prior"])
def test_a_refined_posterior_is_the_true_one_of_a_linear_model(start):
    density = model()
    x = drawn(density, 10)
    refined = refine(density, x, start=start, steps=300, learning_rate=0.1, samples=16, seed=2)
    mean, covariance = exact_posterior(density, x)
    assert torch.allclose(refined.mean, mean, atol=0.08)
    assert torch.allclose(refined.context[:, 1:].exp(), covariance.diagonal().sqrt().expand(10, 1), atol=0.08)
    value, error = refined.model.estimate(x, refined.context, samples=50, generator=0)
    truth = marginal(density).log_prob(x)
    assert float(error.max()) < 0.03 and bool(((value - truth).abs() < 5 * error + 1e-3).all())
    bound = refined.model.lower_bound(x.expand(5000, 10, 2), refined.context, generator=0).mean(0)
    assert bool(((bound - truth).abs() < 0.06).all())


def test_a_row_that_cannot_be_raised_keeps_its_start():
    density = model()
    x = drawn(density, 10)
    mean, covariance = exact_posterior(density, x)
    with torch.no_grad():
        slope, scale = (
            exact_posterior(density, torch.eye(2).double())[0]
            - exact_posterior(density, torch.zeros(2, 2).double())[0],
            covariance.diagonal().sqrt(),
        )
        density.posterior.theta.network.slope.copy_(slope.mT)
        density.posterior.theta.loc.copy_(exact_posterior(density, torch.zeros(1, 2).double())[0][0])
        density.posterior.theta.log_scale.copy_(scale.log())
    refined = refine(density, x, steps=3, learning_rate=3.0, seed=2)
    assert torch.allclose(refined.mean, mean, atol=1e-6)


def test_what_cannot_be_refined():
    x = torch.zeros(3, 2)
    with pytest.raises(ValueError, match="take no context beside z"):
        refine(linear_gaussian(context=2), x)
    levels = LatentVariable(Bernoulli([0.3]), Normal(torch.zeros(2), context=1), Bernoulli([0.0], context=2))
    with pytest.raises(ValueError, match="z are real numbers, got one whose z are levels"):
        refine(levels, x)
    table = ab.vaes.without_encoder(3, 2, Gaussians(1), latent=1, hidden=(4,))
    with pytest.raises(ValueError, match="start: expected 'prior' for a model whose posterior takes a context"):
        refine(table, x)


def test_a_decoder_is_learned_without_an_encoder():
    torch.manual_seed(0)
    truth = linear_gaussian(features=3)
    x = drawn(truth, 200)
    model = ab.vaes.without_encoder(200, 3, Gaussians(1, floor=0.05), latent=1, hidden=())
    numbers = torch.arange(200.0).unsqueeze(1)
    options = {"validation": 0, "batch_size": 50, "learning_rate": 5e-2, "progress": False, "compile": False}
    ab.fit(model, x, numbers, epochs=200, seed=0, **options)
    new = drawn(truth, 100, seed=1)
    refined = refine(model.eval(), new, start="prior", steps=150, learning_rate=0.1, seed=2)
    value, _ = refined.model.estimate(new, refined.context, samples=100, generator=0)
    independent = Normal(x.mean(0), x.std(0)).log_prob(new).mean()
    best = marginal(truth).log_prob(new).mean()
    assert float(independent) + 0.2 < float(value.mean()) < float(best) + 0.1
    with pytest.raises(ValueError, match="prior: expected one of"):
        ab.vaes.without_encoder(3, 2, Gaussians(1), prior="vamp")


# annealed importance sampling


@pytest.mark.parametrize("start", ["prior", "posterior"])
def test_annealed_weights_find_the_density_of_a_linear_model(start):
    density = model(features=3, latents=2)
    x = drawn(density, 6)
    value, error = annealed(density, x, start=start, steps=150, chains=32, seed=2)
    truth = marginal(density).log_prob(x)
    assert value.shape == error.shape == (6,) and float(error.max()) < 0.15
    assert bool(((value - truth).abs() < 4 * error + 0.02).all())


def test_chains_both_ways_enclose_the_density_where_few_steps_leave_a_gap():
    density = model(features=3, latents=2)
    with torch.no_grad():
        density.decoder.theta.log_scale.sub_(1.5)
    z = density.prior.sample((200,), generator=0)
    x = density.decoder.sample((), z, generator=1)
    truth = marginal(density).log_prob(x)
    below, _ = annealed(density, x, steps=4, chains=2, seed=2)
    above, _ = annealed(density, x, z=z, steps=4, chains=2, seed=2)
    assert float((below - truth).mean()) < -0.1 and float((above - truth).mean()) > 0.1
    close, _ = annealed(density, x[:20], z=z[:20], steps=200, chains=8, seed=2)
    assert float((close - truth[:20]).abs().mean()) < 0.5 * float((above - truth)[:20].abs().mean())


def test_annealing_does_not_ask_an_encoder_that_is_wrong():
    density = LatentVariable(
        Normal.standard(1),
        Normal(torch.zeros(2), 0.3, network=LinearMean(1, 2)),
        Normal(torch.zeros(1), 0.05, network=LinearMean(2, 1, -3.0)),
    ).double()
    x = drawn(density, 8)
    reference = linear_gaussian(2)
    with torch.no_grad():
        reference.decoder.theta.loc.zero_()
        reference.decoder.theta.log_scale.fill_(math.log(0.3))
    truth = marginal(reference.double()).log_prob(x)
    by_encoder, _ = density.estimate(x, samples=256, generator=0)
    value, _ = annealed(density, x, steps=80, chains=16, seed=2)
    assert float((truth - by_encoder).mean()) > 1
    assert float((value - truth).abs().mean()) < 0.2


def test_what_cannot_be_annealed():
    bound = LatentVariable(linear_gaussian(1), Normal([0.0], context=1), Normal([0.0], context=1))
    with pytest.raises(ValueError, match="expected a prior whose likelihood is exact, got a LatentVariable"):
        annealed(bound, torch.zeros(2, 1))
    levels = LatentVariable(Bernoulli([0.3]), Normal(torch.zeros(2), context=1), Bernoulli([0.0], context=2))
    with pytest.raises(ValueError, match="z are real numbers"):
        annealed(levels, torch.zeros(2, 2))


@pytest.mark.parametrize("rows", [2, 10, 60])
@pytest.mark.parametrize("flow", [False, True])
def test_a_posterior_that_ignores_x_has_no_active_number_however_few_rows(rows, flow):
    model = ab.vaes.vae(3, Gaussians(1, floor=0.1), 16, posterior="radial" if flow else "diagonal", hidden=(4,))
    for parameter in model.posterior.parameters():
        parameter.data.zero_()
    x = torch.randn(rows, 3, generator=torch.Generator().manual_seed(0))
    assert latent_report(model, x, seed=0).active == 0
    assert any(isinstance(symptom, CollapseWarning) for symptom in model.symptoms(x))


def test_a_report_names_the_row_of_a_number_that_is_none():
    model = ab.vaes.vae(3, Gaussians(1, floor=0.1), 2, hidden=(4,))
    x = torch.randn(5, 3)
    x[3, 1] = torch.nan
    with pytest.raises(ValueError, match=r"got some in row 3"):
        latent_report(model, x)


def test_what_a_row_is_encoded_as_can_be_written_to():
    model = ab.vaes.vae(3, Gaussians(1, floor=0.1), 2, hidden=(4,))
    encode(model, torch.zeros(1, 3).expand(4, 3)).add_(1.0)
