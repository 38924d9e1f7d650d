"""Numbers that are missing for reasons that their values tell: beside integrals on a grid."""

import math

import pytest
import torch

import anabranch as ab
from anabranch import queries, vaes
from anabranch.densities import Normal
from anabranch.draws import drawing
from anabranch.families import Gaussians
from anabranch.models import LatentVariable, Marginals, NotAtRandom
from anabranch.networks import MLP, Alone, WithMask
from anabranch.objectives import ImportanceWeighted
from anabranch.objectives.objective import Batch

SLOPE, OFFSET, W, B = 2.0, -0.5, 0.8, 0.3
GONE = torch.tensor([[math.nan]])


def model_of_one_number():
    """z ~ N(0, 1), x | z ~ N(W z + B, S^2), and x is missing with probability sigmoid(SLOPE x + OFFSET)."""
    decoder = Marginals([Gaussians(1, floor=0.05)], MLP(1, 3, hidden=()))
    posterior = Normal(torch.zeros(1), network=WithMask(MLP(1, 2, 1, hidden=(), zero_start=True)))
    model = NotAtRandom(LatentVariable(Normal.standard(1), decoder, posterior), Alone(1))
    with torch.no_grad():
        layer = decoder.network.layers[0]
        layer.weight.copy_(torch.tensor([[0.0], [W], [0.0]]))
        layer.bias.copy_(torch.tensor([0.0, B, -0.7]))
        model.missing.slope.fill_(SLOPE)
        model.missing.offset.fill_(OFFSET)
        deviation = float((W**2 + decoder.family(0).variance(decoder._numbers(torch.zeros(1)))).sqrt())
    return model, deviation


def on_a_grid(mean, deviation):
    """x, and p(x) P(missing | x) dx."""
    x = torch.linspace(mean - 8 * deviation, mean + 8 * deviation, 4001, dtype=torch.float64)
    p = torch.exp(-0.5 * ((x - mean) / deviation) ** 2) / (deviation * math.sqrt(2 * math.pi))
    return x, p * torch.sigmoid(SLOPE * x + OFFSET) * (x[1] - x[0])


def test_the_estimate_is_that_of_what_was_observed_and_of_what_is_missing():
    model, deviation = model_of_one_number()
    x = torch.tensor([[0.7]])
    value, error = model.estimate(torch.cat([GONE, x]), samples=40_000, generator=0)
    _, mass = on_a_grid(B, deviation)
    told = torch.nn.functional.logsigmoid(-(SLOPE * x + OFFSET))
    wanted = [float(mass.sum().log()), float(Normal([B], deviation).log_prob(x) + told)]
    assert bool(((value - torch.tensor(wanted)).abs() < 4 * error + 1e-4).all()) and float(error.max()) < 0.02


def test_gaps_are_filled_as_the_reasons_tell():
    model, deviation = model_of_one_number()
    x, mass = on_a_grid(B, deviation)
    wanted = float((x * mass).sum() / mass.sum())
    best = queries.impute(model, GONE, best=True, proposals=40_000, seed=0)
    plain = queries.impute(model.density, GONE, best=True, proposals=40_000, seed=0)
    assert abs(float(best) - wanted) < 0.03 and abs(float(plain) - B) < 0.03 and wanted > B + 0.3


def test_draws_have_gaps_where_values_are_large():
    model, deviation = model_of_one_number()
    x = model.sample((4000,), generator=0)
    share = float(x.isnan().float().mean())
    assert abs(share - float(on_a_grid(B, deviation)[1].sum())) < 0.03
    assert float(x[~x.isnan()].mean()) < B - 0.2


def test_the_gradient_moves_the_density_by_what_is_missing():
    model, deviation = model_of_one_number()
    objective = ImportanceWeighted(400)
    rows = GONE.expand(200, 1)
    with drawing(0):
        objective(Batch(model, rows, None, None, torch.arange(200), 0.0)).mean().backward()
    layer = model.density.decoder.network.layers[0]
    step = 1e-3
    below, above = (float(on_a_grid(B + h, deviation)[1].sum().log()) for h in (-step, step))
    assert abs(float(layer.bias.grad[1]) + (above - below) / (2 * step)) < 0.05


def test_a_fit_finds_that_large_values_are_missing():
    with drawing(0):
        x = torch.randn(600, 1) @ torch.ones(1, 2) + 0.3 * torch.randn(600, 2)
        x[:, 1][torch.rand(600) < (4 * x[:, 1]).sigmoid()] = math.nan
        model = NotAtRandom(vaes.vae((2,), [Gaussians(1, floor=0.1)] * 2, 1, hidden=(16,), gaps=True), Alone(2))
    options = {"epochs": 60, "learning_rate": 3e-2, "batch_size": 100, "seed": 0, "progress": False, "compile": False}
    ab.fit(model, x, objective=ImportanceWeighted(5), validation=0, **options)
    assert float(model.missing.slope.detach()[1]) > 1.0


def test_what_is_refused(tmp_path):
    plain = vaes.vae((2,), Gaussians(1, floor=0.1), 1, hidden=(8,))
    with pytest.raises(ValueError, match=r"density: expected one of vectors that takes NaN for gaps, .* takes none"):
        NotAtRandom(plain, Alone(2))
    told = vaes.vae((2,), Gaussians(1, floor=0.1), 1, hidden=(8,), gaps=True)
    with pytest.raises(ValueError, match="missing: expected a network of 2 features and as many outputs"):
        NotAtRandom(told, Alone(3))
    model = model_of_one_number()[0]
    ab.save(model, tmp_path / "m.safetensors")
    again = ab.load(tmp_path / "m.safetensors")
    assert torch.equal(again.lower_bound(GONE, generator=0), model.lower_bound(GONE, generator=0))
