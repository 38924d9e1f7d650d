"""Columns of an autoencoder alone, and given others, against the integral over one hidden number."""

import math

import numpy as np
import pandas as pd
import pytest
import torch

import anabranch as ab
from anabranch import queries, vaes
from anabranch.densities import AtContext, CollapseWarning
from anabranch.families import Gaussians, Levels
from anabranch.models import DecodedDraws, LatentVariable, NotAtRandom, Observed
from anabranch.networks import Alone
from anabranch.objectives import ImportanceWeighted
from anabranch.queries import Interval, QueryWarning, conditional, marginal
from anabranch.queries.drawn_inquiry import DrawnInquiry
from anabranch.tables import fit_table
from anabranch.testing import randomize

GRID = torch.linspace(-9, 9, 4001, dtype=torch.float64).unsqueeze(1)
X = torch.tensor([[0.3, 2.0, -1.0], [-0.8, 0.0, 0.5], [1.5, 1.0, 0.0]], dtype=torch.float64)


def autoencoder(scale=0.7):
    with ab.drawing(0):
        families = [Gaussians(1, floor=0.3), Levels(3), Gaussians(2, floor=0.3)]
        model = randomize(vaes.vae(3, families, 1, hidden=(6,), gaps=True), scale).double().eval()
    for parameter in model.posterior.parameters():  # the prior, whose weights are fair
        parameter.data.zero_()
    return model


def integral(model, x, columns):
    """log p of these columns of rows, by the rectangle rule."""
    row = torch.full((len(x), 3), torch.nan, dtype=torch.float64)
    row[:, columns] = x[:, columns]
    with torch.no_grad():
        log_p = model.decoder.log_prob(row.unsqueeze(1), GRID) + model.prior.log_prob(GRID)
    return log_p.logsumexp(dim=1) + math.log(float(GRID[1, 0] - GRID[0, 0]))


@pytest.mark.parametrize("columns", [[0], [2, 1], [1, 0, 2]])
def test_columns_alone_are_rows_with_gaps(columns):
    model = autoencoder()
    alone = marginal(model, columns)
    value, error = alone.estimate(X[:, columns], samples=20_000, generator=0)
    truth = integral(model, X, columns)
    assert float(truth.std()) > 0.1 and float(error.max()) < 0.05
    assert bool(((value - truth).abs() < 4 * error + 1e-9).all())
    drawn = alone.sample((4000,), generator=1)
    whole = model.sample((4000,), generator=1)[:, columns]
    assert torch.equal(drawn, whole)
    assert bool(alone.support.check(drawn).all())


@pytest.mark.parametrize("observed", [{0: 0.3}, {1: 2.0, 2: -1.0}])
def test_columns_given_others_are_decoded_draws(observed):
    model = autoencoder()
    rest = [i for i in range(3) if i not in observed]
    given = conditional(model, observed)
    assert isinstance(given, DecodedDraws) and given.likelihood == "exact" and given.effective_draws > 200
    rows = X.clone()
    for i, value in observed.items():
        rows[:, i] = value
    truth = integral(model, rows, [0, 1, 2]) - integral(model, rows, list(observed))
    value, error = given.estimate(rows[:, rest])
    assert torch.equal(value, given.log_prob(rows[:, rest])) and float(truth.std()) > 0.1
    assert bool(((value - truth).abs() < 4 * error).all()) and float(error.min()) > 0 and float(error.max()) < 0.1
    # and given more still
    if len(rest) == 2:
        more = conditional(model, {**observed, 1: 2.0})
        rows[:, 1] = 2.0
        truth = integral(model, rows, [0, 1, 2]) - integral(model, rows, [0, 1])
        assert torch.allclose(more.log_prob(rows[:, [2]]), truth, atol=0.08)


def test_a_posterior_that_is_worth_few_draws_is_named():
    model = autoencoder()
    buffers = dict(model.posterior.named_buffers())
    next(value for name, value in buffers.items() if name.endswith("log_scale")).fill_(-0.5)
    next(value for name, value in buffers.items() if name.endswith("loc")).fill_(-3.0)
    with pytest.warns(
        QueryWarning, match=r"draws of the hidden variable are worth \d+\.\d independent ones at .* fewer than 30"
    ):
        conditional(model, {0: 3.0, 2: -3.0})


def test_a_model_with_a_context_is_asked_at_one():
    with ab.drawing(0):
        decoder = vaes.decoder(2, [Gaussians(1), Levels(3)], 3, hidden=(4,))
        encoder = ab.networks.WithMask(ab.networks.MLP(4, 4, context=4, hidden=(4,)))
        posterior = ab.densities.Encoded(vaes.posteriors.diagonal(1, 4), encoder)
        model = randomize(LatentVariable(ab.densities.Normal.standard(1), decoder, posterior), 0.5).double()
    assert model.gaps and model.context_shape == (2,)
    at = torch.tensor([0.5, -1.0], dtype=torch.float64)
    alone = marginal(model, [1], context=at)
    assert isinstance(alone.density, AtContext)
    x = torch.tensor([[torch.nan, 2.0]], dtype=torch.float64)
    one, other = (m.lower_bound(v, c, generator=0) for m, v, c in ((alone, x[:, 1:], None), (model, x, at)))
    assert torch.equal(one, other)
    assert conditional(model, {1: 2.0}, context=at).sample((5,)).shape == (5, 1)


def test_what_takes_no_gaps_has_no_columns_alone():
    with pytest.raises(ValueError, match="density: expected one over vectors that takes a NaN for a gap, got a Normal"):
        Observed(ab.densities.Normal(torch.zeros(2)), [0])
    decoder = vaes.decoder(2, Gaussians(1), 1, hidden=())
    with pytest.raises(
        ValueError, match=r"given, log_weights: expected shapes \(K, 1\) and \(K,\), K at least 1, got \(3, 2\)"
    ):
        DecodedDraws(decoder, torch.zeros(3, 2), torch.zeros(3))
    for given, log_weights, message in (
        (
            torch.zeros(3, 1),
            torch.full((3,), -torch.inf),
            "log_weights: expected numbers or -inf, not all of them -inf",
        ),
        (
            torch.zeros(3, 1),
            torch.tensor([0.0, torch.inf, 0.0]),
            "log_weights: expected numbers or -inf, .* got NaN, inf or",
        ),
        (torch.tensor([[0.0], [torch.nan]]), torch.zeros(2), "given: expected finite numbers, got NaN or infinity"),
        (torch.zeros(0, 1), torch.zeros(0), r"K at least 1, got \(0, 1\) and \(0,\)"),
        (torch.tensor(0.0), torch.zeros(3), r"K at least 1, got \(\) and \(3,\)"),
    ):
        with pytest.raises(ValueError, match=message):
            DecodedDraws(decoder, given, log_weights)
    told = NotAtRandom(vaes.vae(2, Gaussians(1), 1, hidden=(4,), gaps=True), Alone(2))
    with pytest.raises(
        ValueError, match="a NaN is a gap, got a NotAtRandom, which gives the probability that a number is"
    ):
        Observed(told, [0])


def narrow(seed):
    """An autoencoder whose decoder is narrow, so that draws of the prior are worth few given a value."""
    with ab.drawing(seed):
        families = [Gaussians(1, floor=0.02), Levels(3), Gaussians(1, floor=0.02)]
        model = randomize(vaes.vae(3, families, 1, hidden=(6,), gaps=True), 0.7).double().eval()
    for parameter in model.posterior.parameters():  # the prior
        parameter.data.zero_()
    return model


def test_answers_given_values_have_the_error_of_the_draws_of_z():
    of_mean, of_share, of_quantile, of_events = [], [], [], []
    for seed in range(1, 9):
        model = narrow(seed)
        told = {0: float(model.sample((1,), generator=seed)[0, 0])}
        row = torch.tensor([[told[0], torch.nan, torch.nan]], dtype=torch.float64)
        with torch.no_grad():
            log_p = model.decoder.log_prob(row, GRID) + model.prior.log_prob(GRID)
        truth = (
            DecodedDraws(Observed(model.decoder, [1, 2]), GRID, log_p).sample((100_000,), generator=0)[:, 1].sort()[0]
        )
        options = {"samples": 60_000, "seed": 0}
        worth = conditional(model, told).effective_draws
        mean = queries.expectation(model, "mean", told, columns=[2], **options)
        assert worth < 4096 and float(mean.standard_error) > 0
        of_mean.append(float((mean.value - truth.mean()) / mean.standard_error))
        middle = float(truth[50_000])
        share = queries.probability(model, {2: (-math.inf, middle)}, told, **options)
        of_share.append(float((share.value - 0.5) / share.standard_error))
        quantile = queries.quantile(model, 2, 0.5, told, **options)
        of_quantile.append(float((quantile.value - middle) / quantile.standard_error))
        inquiry = DrawnInquiry(model, **options)
        below = inquiry.mean(lambda x: x[:, [2]], [2], {0: Interval(told[0], told[0]), 2: Interval(high=middle)})
        of_events.append(float((below.value - truth[:50_000].mean()) / below.standard_error))
    for scores in (of_mean, of_share, of_quantile, of_events):
        assert 0.3 < float(torch.tensor(scores).square().mean().sqrt()) < 1.4


def test_a_value_at_which_the_density_is_nan_is_named():
    with ab.drawing(0):
        model = vaes.vae(2, Gaussians(1, floor=0.1), 2, hidden=(8,), gaps=True)
    with pytest.raises(
        queries.ImpossibleError, match="is a number, got 1e\\+30 in column 0, where it is NaN; they are too far"
    ):
        conditional(model, {0: 1e30})


def test_a_tolerance_below_the_error_of_the_draws_of_z_is_not_met():
    model = narrow(5)
    options = {"columns": [2], "samples": 1000, "tolerance": 1e-4, "most": 4000, "seed": 0}
    with pytest.warns(QueryWarning, match="standard error is .* above the tolerance of 0.0001"):
        found = queries.expectation(model, "mean", {0: 0.1}, **options)
    assert float(found.standard_error) > 1e-4


@pytest.mark.parametrize("seed", [0, 1])
def test_a_conditional_is_asked_again(seed):
    first = conditional(autoencoder(0.5 + 0.3 * seed), {0: 0.1})
    both, alone = first.conditional([0], [1.0]), first.marginal([1])
    assert isinstance(both, DecodedDraws) and isinstance(alone, DecodedDraws)
    x = torch.linspace(-1, 1, 5, dtype=torch.float64).unsqueeze(1)
    # p(c | a, b) = p(b, c | a) / p(b | a), and p(c | a) = sum_b p(b, c | a), of the same draws
    of_level = first.marginal([0])
    joint = torch.stack([first.log_prob(torch.cat([torch.full_like(x, k), x], dim=1)) for k in range(3)])
    assert torch.allclose(both.log_prob(x), joint[1] - of_level.log_prob(torch.ones(1, dtype=torch.float64)), atol=1e-9)
    assert torch.allclose(alone.log_prob(x), joint.logsumexp(dim=0), atol=1e-9)
    with pytest.raises(ValueError, match="values: expected possible ones"):
        first.conditional([0], [7.0])
    # gaps are filled by the same
    rows = torch.tensor([[1.0, torch.nan], [torch.nan, torch.nan], [2.0, 0.5]], dtype=torch.float64)
    drawn = queries.impute(first, rows, draws=4000, proposals=4000, seed=0)
    assert torch.equal(drawn[:, 2], rows[2].expand(4000, 2)) and bool((drawn[:, 0, 0] == 1).all())
    for filled, density in ((drawn[:, 0, 1], both), (drawn[:, 1, 1], alone)):
        reference = density.sample((4000,), generator=1)[:, 0]
        gap = float((filled.sort()[0] - reference.sort()[0]).abs().mean())
        assert gap < 0.1 * float(reference.std())


def test_mixtures_of_autoencoders_answer_given_values():
    members = [autoencoder(0.7), autoencoder(0.4)]
    both = ab.models.Ensemble(members, weights=[0.3, 0.7]).double()
    assert conditional(both, {0: 0.3}).effective_draws > 200
    log_p = torch.stack([integral(member, X, [0]) for member in members], dim=-1)
    shares = (log_p + torch.tensor([0.3, 0.7], dtype=torch.float64).log()).log_softmax(dim=-1)
    for row, share in zip(X, shares, strict=True):
        told = {0: float(row[0])}
        with torch.no_grad():
            value = torch.stack([conditional(member, told).log_prob(row[1:]) for member in members])
            assert abs(float(conditional(both, told).log_prob(row[1:]) - (value + share).logsumexp(dim=0))) < 0.02
    gappy = X.clone()
    gappy[:, 1] = torch.nan
    for mixture in (both, ab.models.FlowMixture(members).double()):
        assert bool((queries.impute(mixture, gappy, draws=3, seed=0)[..., 1] % 1 == 0).all())


def test_columns_of_whole_numbers():
    with ab.drawing(0):
        model = vaes.vae(3, Levels(4), 1, hidden=(4,), gaps=True)
    x = torch.tensor([[0, 3, 1], [2, 2, 0]])
    alone = marginal(model, [2, 0])
    values = [alone.estimate(rows, samples=10, generator=0)[0] for rows in (x[:, [2, 0]], x[:, [2, 0]].float())]
    assert torch.equal(*values)
    given = conditional(model, {0: 2})
    assert torch.equal(given.log_prob(x[:, 1:]), given.log_prob(x[:, 1:].float()))
    how = ImportanceWeighted(2, more_gaps=True)
    with pytest.warns(CollapseWarning):  # the fit is short
        ab.fit(model, x.repeat(30, 1), objective=how, epochs=1, progress=False, compile=False)


def test_a_table_answers_given_values(tmp_path):
    rng = np.random.default_rng(0)
    size = rng.normal(size=160)
    table = pd.DataFrame({"size": 10 + 2 * size, "kind": np.where(size > 0, "large", "small")})
    model, _ = fit_table(
        table, model="vae", hidden=(16,), latent=1, epochs=80, learning_rate=3e-2, progress=False, seed=0
    )
    large = model.conditional({"kind": "large"})
    drawn = large.sample(500, seed=0).column("size").to_numpy()
    assert abs(float(drawn.mean()) - float(table["size"][size > 0].mean())) < 0.4
    ab.save(large, tmp_path / "large")
    again = ab.load(tmp_path / "large")
    assert np.array_equal(again.log_prob(table[["size"]]), large.log_prob(table[["size"]]))
    assert model.marginal(["kind"]).estimate(table[["kind"]].head(3))[0].shape == (3,)
    assert float(model.ask("P(kind=large | size=14)")) > 0.9
