"""Columns of an autoencoder alone, and given others, against the integral over one hidden number."""

import math

import numpy as np
import pandas as pd
import pytest
import torch

import anabranch as ab
from anabranch import vaes
from anabranch.densities import AtContext
from anabranch.families import Gaussians, Levels
from anabranch.models import DecodedDraws, LatentVariable, Observed
from anabranch.queries import QueryWarning, conditional, marginal
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
    assert isinstance(given, DecodedDraws) and given.likelihood == "exact" and float(given.effective) > 200
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
    with pytest.warns(QueryWarning, match=r"4,096 draws of the hidden variable are worth \d+\.\d at .* fewer than 30"):
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
    with pytest.raises(ValueError, match=r"given, log_weights: expected shapes \(K, 1\) and \(K,\), got \(3, 2\)"):
        DecodedDraws(decoder, torch.zeros(3, 2), torch.zeros(3))
    with pytest.raises(ValueError, match="log_weights: expected numbers, not all of them -inf"):
        DecodedDraws(decoder, torch.zeros(3, 1), torch.full((3,), -torch.inf))


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
