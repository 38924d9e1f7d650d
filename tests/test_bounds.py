"""Densities of which a bound is known: terms, gradients, objectives, fits, and who refuses them."""

import itertools
import math

import pyarrow as pa
import pyarrow.csv
import pytest
import torch
from torch.distributions import MultivariateNormal, kl_divergence

import anabranch as ab
from anabranch import queries
from anabranch.cli.app import app
from anabranch.densities import Bernoulli, Density, Normal
from anabranch.families import Levels
from anabranch.models import Embedded, LatentVariable, Subset
from anabranch.networks import MLP
from anabranch.objectives import Likelihood, LowerBound
from anabranch.objectives.objective import Batch
from anabranch.tables import Schema, TableModel
from anabranch.testing import check_density, linear_gaussian, marginal, randomize
from anabranch.testing.linear_gaussian import LinearMean
from anabranch.testing.normalisation import check_samples


def model(**sizes):
    return randomize(linear_gaussian(**sizes), scale=0.2)


def rows(count=6, features=2, seed=0):
    return torch.randn(count, features, generator=torch.Generator().manual_seed(seed))


def batch(density, x, progress=0.0):
    return Batch(density, x, None, None, torch.arange(len(x)), progress)


def test_the_bound_is_the_difference_of_its_terms():
    density, x = model(features=3, latents=2), rows(features=3)
    log_likelihood, divergence = density.terms(x, generator=1)
    assert log_likelihood.shape == (6,) and divergence.shape == (6, 2)
    assert torch.allclose(density.lower_bound(x, generator=1), log_likelihood - divergence.sum(-1))


@pytest.mark.parametrize("full", list(itertools.product([False, True], repeat=2)))
def test_the_divergence_of_normal_densities_is_a_formula(full):
    factors = [torch.tensor([[1.0, 0.0], [0.6, 0.7]]), torch.tensor([[1.5, 0.0], [-0.4, 0.9]])]
    means = [torch.tensor([0.3, -1.0]), torch.tensor([0.0, 0.5])]
    factors = [f if whole else torch.diag(f.diagonal()) for f, whole in zip(factors, full, strict=True)]
    p, q = (
        Normal(m, scale_tril=f) if w else Normal(m, f.diagonal()) for m, f, w in zip(means, factors, full, strict=True)
    )
    wanted = kl_divergence(*(MultivariateNormal(m, scale_tril=f) for m, f in zip(means, factors, strict=True)))
    found = p.divergence(q)
    assert found.shape == ((1,) if any(full) else (2,))
    assert torch.allclose(found.sum(-1), wanted, atol=1e-6)
    assert p.divergence(Bernoulli([0.0, 0.0])) is None


def test_a_posterior_that_is_the_true_one_closes_the_gap():
    density = linear_gaussian()
    slope, noise = density.decoder.theta.network.slope.detach(), density.decoder.theta.log_scale.detach().exp()
    precision = 1 + (slope / noise[:, None]).square().sum()
    pull = ((slope / noise.square()[:, None]) / precision).mT
    with torch.no_grad():
        density.posterior.theta.network.slope.copy_(pull)
        density.posterior.theta.loc.copy_(-pull @ density.decoder.theta.loc)
        density.posterior.theta.log_scale.copy_(-0.5 * precision.log().expand(1))
    x = rows()
    truth = marginal(density).log_prob(x)
    value, error = density.estimate(x, samples=5, generator=0)
    assert torch.allclose(value, truth, atol=1e-4) and float(error.max()) < 1e-4
    mean = density.lower_bound(x.expand(5_000, 6, 2), generator=0).mean(0)
    assert torch.allclose(mean, truth, atol=0.1)


def of_levels(seed=0):
    """A hidden coin: what is true of it can be summed over both sides."""
    torch.manual_seed(seed)
    decoder = Normal(torch.zeros(2), context=1, hidden=(4,))
    return randomize(LatentVariable(Bernoulli([0.3]), decoder, Bernoulli([0.2], context=2, hidden=(4,))), 0.5)


def test_the_gradient_where_draws_are_not_differentiable_is_that_of_the_exact_bound():
    density = of_levels()
    x = density.sample((3,), generator=0)
    theta = [p for p in density.posterior.parameters() if p.requires_grad]
    sides = torch.tensor([[0.0], [1.0]])
    log_q = torch.stack([density.posterior.log_prob(side.expand(3, 1), x) for side in sides])
    log_p = torch.stack([density.decoder.log_prob(x, s.expand(3, 1)) + density.prior.log_prob(s) for s in sides])
    exact = (log_q.exp() * (log_p - log_q)).sum(0)
    wanted = torch.autograd.grad(exact.sum(), theta)
    drawn = density.lower_bound(x.expand(40_000, 3, 2), generator=0)
    assert torch.allclose(drawn.mean(0), exact, atol=0.02)
    found = torch.autograd.grad(drawn.mean(0).sum(), theta)
    for one, other in zip(found, wanted, strict=True):
        assert torch.allclose(one, other, atol=0.03)
    assert max(float(g.abs().max()) for g in wanted) > 0.3
    truth = torch.logsumexp(log_p, 0)
    value, error = density.estimate(x, samples=20_000, generator=0)
    assert bool(((value - truth).abs() < 5 * error).all())


def test_images_and_contexts_reach_the_parts_in_their_shape():
    density = LatentVariable(
        prior=Normal(torch.zeros(2), context=3, hidden=(4,)),
        decoder=Normal(torch.zeros(1, 2, 2), context=5, hidden=(4,)),
        posterior=Normal(torch.zeros(2), context=7, hidden=(4,)),
    )
    context = rows(4, 3)
    x = density.sample((6,), context, generator=0)
    assert x.shape == (6, 4, 1, 2, 2)
    assert density.lower_bound(x, context).shape == (6, 4)
    assert density.lower_bound(x[0, 0], context).shape == (4,)
    assert density.estimate(x, context, samples=2)[1].shape == (6, 4)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (
            lambda: LatentVariable(Normal([0.0]), Normal([0.0], context=1), Normal([0.0, 0.0], context=1)),
            r"posterior: expected event shape \(1,\), the prior's, got \(2,\)",
        ),
        (
            lambda: LatentVariable(Normal([0.0]), Normal([0.0]), Normal([0.0], context=1)),
            r"decoder: expected a density whose context is z, .* got one without a context",
        ),
        (
            lambda: LatentVariable(Normal([0.0, 0.0]), Normal([0.0], context=1), Normal([0.0, 0.0], context=1)),
            r"decoder: expected a density whose context is z, of shape \(2,\).* got a context of shape \(1,\)",
        ),
        (
            lambda: LatentVariable(Normal([0.0]), Normal([0.0], context=1), linear_gaussian(1, context=1)),
            "posterior: expected a density whose likelihood is exact, got a LatentVariable",
        ),
    ],
)
def test_parts_that_do_not_fit(build, message):
    with pytest.raises(ValueError, match=message):
        build()


def around(density):
    with ab.drawing(0):
        return randomize(ab.Flow(ab.flows.realnvp(2, blocks=2, hidden=(4,)), base=density), 0.3)


@pytest.mark.parametrize("wrap", [lambda density: density, around])
def test_objectives_weigh_the_terms_also_of_a_part(wrap):
    part = model()
    density, x = wrap(part), rows()

    def value(objective, progress=0.0):
        with ab.drawing(3):
            return objective(batch(density, x, progress))

    z, log_det = (x, 0.0) if density is part else density.transform(x)
    log_likelihood, divergence = part.terms(z, generator=3)
    log_likelihood = log_likelihood + log_det
    assert torch.allclose(value(LowerBound()), -density.lower_bound(x, generator=3))
    assert torch.allclose(value(LowerBound(beta=4)), -log_likelihood + 4 * divergence.sum(-1))
    assert torch.allclose(value(LowerBound(warmup=0.5)), -log_likelihood)
    assert torch.allclose(value(LowerBound(warmup=0.5), 0.25), -log_likelihood + 0.5 * divergence.sum(-1))
    assert torch.allclose(value(LowerBound(warmup=0.5), 0.9), value(LowerBound()))
    assert torch.allclose(value(LowerBound(free=100.0)), 100 - log_likelihood)
    mean = divergence.mean(0).sum()
    assert torch.allclose(value(LowerBound(free=1e-6)), mean - log_likelihood)
    assert torch.allclose(value(Likelihood(temperature=0.1)), -log_likelihood + 0.1 * divergence.sum(-1))
    assert torch.allclose(value(Likelihood(temperature=0.1), 0.9), -density.lower_bound(x, generator=3))


def test_free_nats_have_no_gradient():
    density, x = model(), rows()
    LowerBound(free=100.0)(batch(density, x)).mean().backward()
    assert float(density.posterior.theta.log_scale.grad.abs().max()) > 0  # by the decoder's term
    posterior = [p for p in density.posterior.parameters() if p.requires_grad]
    divergence = density.weighed_bound(x, lambda likely, d: -LowerBound(free=100.0)._priced(d).sum(-1))
    assert all(not g.any() for g in torch.autograd.grad(divergence.sum(), posterior))


def test_a_mixture_with_a_posterior_network_has_terms_too():
    with ab.drawing(0):
        mixture = randomize(ab.FlowMixture([Normal([0.0, 0.0]), Normal([1.0, 2.0])], posterior=MLP(2, 2)), 0.5)
    x = rows()
    log_q = mixture.log_posterior(x)
    expected = (log_q.exp() * mixture.joint_log_prob(x)).sum(-1)
    negative_entropy = (log_q.exp() * log_q).sum(-1)
    assert torch.allclose(LowerBound()(batch(mixture, x)), -mixture.lower_bound(x), atol=1e-6)
    # the divergence from equal shares
    warm = LowerBound(beta=3.0)(batch(mixture, x))
    assert torch.allclose(warm, -(expected + math.log(2)) + 3 * (negative_entropy + math.log(2)), atol=1e-5)
    assert torch.allclose(Likelihood(temperature=3.0)(batch(mixture, x)), -(expected - 3 * negative_entropy), atol=1e-5)


@pytest.mark.parametrize("objective", [LowerBound(), Likelihood(temperature=2.0)])
def test_a_density_without_terms_is_refused(objective):
    with pytest.raises(ValueError, match="posterior network"):
        ab.fit(Normal([0.0, 0.0], learnable=True), rows(9), objective=objective, epochs=1, progress=False)


def test_a_mixture_of_bounds_sums_weights_and_not_bounds():
    # the log sum exp of single bounds may lie above log p in the mean: here it would, by 0.1 to 0.4 nats
    density = linear_gaussian()
    with torch.no_grad():
        density.posterior.theta.log_scale.fill_(0.0)
        density.decoder.theta.log_scale.fill_(0.0)
    mixture, truth = ab.FlowMixture([density] * 8), marginal(density)
    x = truth.sample((4,), generator=0)
    bound = mixture.lower_bound(x.expand(4_000, 4, 2), generator=0)
    assert bool((bound.mean(0) < truth.log_prob(x)).all())
    value, error = mixture.estimate(x, samples=20_000, generator=0)
    assert bool(((value - truth.log_prob(x)).abs() < 5 * error + error.square()).all())
    with pytest.raises(ValueError, match=r"responsibilities: expected .* exact, got a FlowMixture"):
        mixture.responsibilities(x)


def test_one_density_with_vectors_for_components_may_be_a_bound():
    shared = randomize(linear_gaussian(context=2), 0.3)
    mixture = ab.FlowMixture(Embedded(shared, 3, size=2))
    assert mixture.likelihood == "bound" and mixture.parts() == [shared]
    assert mixture.lower_bound(rows()).shape == (6,)


def test_a_fit_judges_by_the_bound_with_the_same_draws():
    truth = Normal([1.0, -1.0], scale_tril=[[1.0, 0.0], [0.9, 0.5]])
    x, held_out = truth.sample((400,), generator=0), truth.sample((400,), generator=1)
    density = linear_gaussian()
    history = ab.fit(
        density,
        x,
        validation=held_out,
        objective=LowerBound(warmup=0.3),
        epochs=60,
        batch_size=50,
        learning_rate=0.06,
        seed=0,
        patience=None,
        progress=False,
    )
    value, error = (v.mean() for v in density.estimate(held_out, samples=200, generator=0))
    assert float(truth.log_prob(held_out).mean() - value) < 0.05 and float(error) < 0.1
    best = -density.eval().lower_bound(held_out, generator=0).mean().detach()
    assert math.isclose(history.best.validation, float(best), abs_tol=1e-4)


def test_a_row_of_density_zero_is_explained_for_a_bound_too():
    density = LatentVariable(
        Normal([0.0]),
        ab.densities.Uniform([0.0], [1.0], network=LinearMean(1, 1)),
        Normal([0.0], context=1, learnable=True),
    )
    with pytest.raises(ab.NonFiniteError, match="The density is 0 there"):
        ab.fit(density, torch.full((9, 1), 1e6), validation=0, epochs=1, progress=False)


def test_who_needs_exact_numbers_refuses_a_bound_in_one_line_and_others_estimate(tmp_path, capsys):
    density, x = model(), rows()
    for call in (
        lambda: queries.marginal(density, [0]),
        lambda: queries.conditional(density, {0: 1.0}),
        lambda: queries.mode(density),
    ):
        with pytest.raises(ValueError, match=r"expected .* exact, .*got a LatentVariable"):
            call()
    with pytest.raises(ValueError, match=r"model: expected a .*, got LatentVariable"):
        Subset(density, [0])
    with pytest.raises(
        ValueError, match="background: expected densities whose likelihood is exact, got a LatentVariable"
    ):
        ab.fit(density, x, background=True, epochs=1)
    table = pa.table({"a": x[:, 0].numpy(), "b": x[:, 1].numpy()})
    fitted = TableModel(Schema.standardised(table), density)
    with pytest.raises(ValueError, match="log_prob: expected a model whose log p is exact, got a LatentVariable"):
        fitted.log_prob(table)
    ab.save(fitted, tmp_path / "model.safetensors")
    pa.csv.write_csv(table, tmp_path / "table.csv")
    for command in ("score", "report", "info"):
        arguments = [command, str(tmp_path / "model.safetensors")]
        arguments += [] if command == "info" else [str(tmp_path / "table.csv")]
        arguments += ["-o", str(tmp_path / "report.html")] if command == "report" else []
        with pytest.raises(SystemExit) as ended:
            app(arguments)
        said = capsys.readouterr()
        if command == "info":
            assert ended.value.code == 0 and "Only lower bounds of log-likelihoods are known, in nats" in said.out
        elif command == "score":  # the estimate and its standard error
            assert ended.value.code == 0 and "error" in said.out.splitlines()[0]
        else:  # the page calls its numbers estimates
            assert ended.value.code == 0
            assert "log p of a row is not known exactly" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_info_tells_an_estimate_from_a_bound(tmp_path, capsys):
    table = pa.table({"a": rows()[:, 0].numpy(), "b": rows()[:, 1].numpy()})
    flow = ab.Flow(ab.flows.residual(features=2, blocks=1, hidden=(4,), log_det="estimate"))
    ab.save(TableModel(Schema.standardised(table), flow), tmp_path / "model.safetensors")
    with pytest.raises(SystemExit) as ended:
        app(["info", str(tmp_path / "model.safetensors")])
    assert ended.value.code == 0 and "Only estimates of log-likelihoods are known, in nats" in capsys.readouterr().out


class Wrong(Density):
    """A bound that breaks one promise."""

    likelihood = "bound"

    def __init__(self, fault=""):
        super().__init__((2,))
        self.inner = linear_gaussian()
        self.fault = fault

    def parts(self):
        return (self.inner,)

    def _log_weight(self, x, context):
        log_w = self.inner._log_weight(x, context)
        return log_w + 0.2 if self.fault == "weights too large" else log_w

    def _lower_bound(self, x, context):
        bound = self.inner._lower_bound(x, context)
        return bound + 8.0 if self.fault == "above" else bound

    def log_prob(self, x, context=None):
        return self.lower_bound(x, context) if self.fault == "a bound for log_prob" else super().log_prob(x, context)

    def _estimate(self, x, context, samples):
        value, error = super()._estimate(x, context, samples)
        return value, error / 100 if self.fault == "errors too small" else error

    def _sample(self, shape, context):
        x = self.inner._sample(shape, context)
        return 1.3 * x if self.fault == "samples too wide" else x


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("", None),
        ("weights too large", r"estimate: expected log p\(x\) within 5 standard errors"),
        ("above", r"lower_bound: expected it below log p\(x\) in the mean"),
        ("a bound for log_prob", "log_prob: expected a ValueError, since nothing exact is known"),
        ("errors too small", "estimate: expected"),
        ("samples too wide", "samples against log_prob"),
    ],
)
def test_the_suite_finds(fault, message):
    wrong = randomize(Wrong(fault), 0.2)
    truth = marginal(wrong.inner)
    if message is None:
        check_density(wrong, truth=truth, draws=2_000)
        return
    with pytest.raises(AssertionError, match=f"Wrong: {message}"):
        check_density(wrong, truth=truth, draws=2_000)


def test_samples_of_another_density_do_not_pass_for_those_of_a_bound():
    with ab.drawing(0):
        model, other = (randomize(ab.vaes.vae(2, Levels(3), 1, hidden=(4,)), 0.3).double() for _ in range(2))
    check_samples(model, draws=3_000)
    model._sample = other._sample
    with pytest.raises(AssertionError, match="shares of sampled values: expected within 5 standard errors"):
        check_samples(model, draws=3_000)
