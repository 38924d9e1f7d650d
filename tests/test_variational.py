"""Variational inference: what is known of the target comes out, estimators agree, and a bad target is one line."""

import copy
import math
import warnings

import pytest
import torch
from torch import nn

import anabranch as ab
from anabranch.densities import Normal
from anabranch.objectives import Batch, VariationalBound
from anabranch.testing import randomize
from anabranch.training import MissedTargetWarning, judge_variational
from anabranch.transforms import Householder, Inverse, Planar

QUICK = {"progress": False, "seed": 0}


def correlated(x):
    """A normal density of mean (2, -1) and correlation 0.8, times exp(0.7)."""
    covariance = torch.tensor([[1.0, 0.8], [0.8, 1.0]]).to(x)
    d = x - torch.tensor([2.0, -1.0]).to(x)
    return 0.7 - 0.5 * (d * torch.linalg.solve(covariance, d.mT).mT).sum(dim=-1)


LOG_Z = 0.7 + math.log(2 * math.pi) + 0.5 * math.log(0.36)


def posterior():
    with ab.drawing(0):
        return ab.Flow(ab.flows.householder(2), Normal(torch.zeros(2), learnable=True))


@pytest.mark.parametrize("gradient", ["total", "path"])
def test_a_normal_target_is_met(gradient):
    q = posterior()
    result = ab.fit_variational(q, correlated, steps=300, batch_size=64, learning_rate=0.05, gradient=gradient, **QUICK)
    assert result.density is q and result.history.epochs[-1].step == 300
    assert result.log_normaliser == pytest.approx(LOG_Z, abs=0.02)
    assert result.lower_bound <= result.log_normaliser + 1e-6 and result.lower_bound > LOG_Z - 0.02
    assert result.efficiency > 0.95 and result.draws == 20_000
    assert "log Z" in str(result)


def test_the_path_gradient_falls_to_zero_where_the_density_is_the_target_and_the_total_one_does_not():
    q = randomize(ab.Flow([Inverse(Planar(2)), Householder(2)]), scale=0.1).double()
    target = copy.deepcopy(q)
    norms = {}
    for gradient in ("total", "path"):
        for draws in (1, 5):
            q.zero_grad()
            objective = VariationalBound(target.log_prob, draws, gradient)
            rows = torch.zeros(50, 2, dtype=torch.float64)
            with ab.drawing(0):
                objective(Batch(q, rows, None, None, torch.arange(50), 0.0)).mean().backward()
            norms[gradient, draws] = max(float(p.grad.abs().max()) for p in q.parameters())
    assert norms["path", 1] < 1e-5 and norms["path", 5] < 1e-5
    assert norms["total", 1] > 1e-2 and norms["total", 5] > 1e-3


@pytest.mark.parametrize("draws", [1, 4])
def test_both_gradients_agree_in_the_mean(draws):
    q = randomize(ab.Flow(Householder(2), Normal(torch.zeros(2), learnable=True)), scale=0.3).double()
    rows = torch.zeros(40_000, 2, dtype=torch.float64)
    found = []
    for gradient in ("total", "path"):
        q.zero_grad()
        with ab.drawing(1):
            losses = VariationalBound(correlated, draws, gradient)(
                Batch(q, rows, None, None, torch.arange(40_000), 0.0)
            )
        losses.mean().backward()
        found.append((losses.detach(), torch.cat([p.grad.flatten() for p in q.parameters()])))
    assert torch.allclose(found[0][0], found[1][0])
    assert torch.allclose(found[0][1], found[1][1], atol=0.05)


def test_more_draws_bring_the_bound_closer():
    q = Normal(torch.zeros(2), learnable=True)
    bounds = []
    for draws in (1, 16):
        with torch.no_grad(), ab.drawing(0):
            losses = VariationalBound(correlated, draws)(
                Batch(q, torch.zeros(5_000, 2), None, None, torch.arange(5_000), 0.0)
            )
        bounds.append(-float(losses.mean()))
    assert bounds[0] + 0.5 < bounds[1] < LOG_Z


def two_modes(x):
    return torch.logsumexp(torch.stack([-0.5 * ((x[:, 0] - m) / 0.5).square() for m in (-3.0, 3.0)]), dim=0)


def test_annealing_rises_geometrically_to_one_and_the_result_is_of_the_target_itself():
    objective = VariationalBound(two_modes, anneal=0.5, coldness=0.01)
    assert [objective.beta(share) for share in (0.0, 0.25)] == pytest.approx([0.01, 0.1])
    assert not objective.settled and objective.phases == (0.5,)
    objective.next_phase()
    assert objective.settled and objective.beta(0.4) == 1
    q = ab.Flow(ab.flows.nsf(1, blocks=1, hidden=(8,), bins=8), Normal(torch.zeros(1), learnable=True))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = ab.fit_variational(q, two_modes, steps=300, batch_size=64, learning_rate=0.02, anneal=0.5, **QUICK)
    assert result.log_normaliser == pytest.approx(math.log(2 * 0.5 * math.sqrt(2 * math.pi)), abs=0.1)


def test_weights_without_a_variance_have_a_large_pareto_k():
    narrow = Normal([0.0], [0.4])
    judged = judge_variational(narrow, lambda x: -0.5 * x.square().sum(dim=-1), generator=0)
    assert judged.pareto_k > 0.7 and "cannot be trusted" in str(judged) and judged.history is None
    wide = judge_variational(Normal([0.0], [2.0]), lambda x: -0.5 * x.square().sum(dim=-1), generator=0)
    assert wide.pareto_k < 0.5
    assert wide.log_normaliser == pytest.approx(0.5 * math.log(2 * math.pi), abs=4 * wide.error)
    assert 0 < wide.error < 0.02


def test_a_mean_that_few_draws_carry_is_not_trusted():
    """All other weights are 0 beside the largest: a tail of equal values, which tells nothing."""
    for distance in (1e4, 1e6):
        judged = judge_variational(Normal([0.0]), lambda x, c=distance: -0.5 * (x[:, 0] - c) ** 2, 1_000, generator=0)
        assert judged.effective < 2 and judged.pareto_k == math.inf and "cannot be trusted" in str(judged)


def test_a_target_that_is_zero_in_places_is_judged():
    judged = judge_variational(Normal([0.0]), lambda x: torch.where(x[:, 0] > 0, 0.0, -torch.inf), generator=0)
    assert judged.lower_bound == -math.inf and judged.lower_bound_error == 0
    judged = judge_variational(
        Normal([0.0]), lambda x: torch.where(x[:, 0] > 0, -0.5 * x[:, 0] ** 2, -torch.inf), generator=0
    )
    assert judged.log_normaliser == pytest.approx(0.5 * math.log(2 * math.pi) - math.log(2), abs=0.05)


def test_a_target_that_is_zero_at_all_draws_is_an_error_and_at_nearly_all_a_warning():
    with pytest.raises(ValueError, match=r"^log_target: expected a target above 0 at some of 1,000 draws .* got -inf"):
        judge_variational(Normal([0.0]), lambda x: torch.full((len(x),), -torch.inf), 1_000, generator=0)

    def far(x):
        return torch.where(x[:, 0] > 3, 0.0, -torch.inf)

    with pytest.warns(MissedTargetWarning, match=r"^log_target is -inf at all but \d+ of 20,000 draws"):
        judged = judge_variational(Normal([0.0]), far, generator=0)
    assert math.isfinite(judged.log_normaliser) and 1 <= judged.effective < 200
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        judge_variational(Normal([0.0]), lambda x: torch.where(x[:, 0] > 2, 0.0, -torch.inf), generator=0)


def test_a_fit_goes_on_from_its_checkpoint(tmp_path):
    settings = {"steps": 300, "batch_size": 16, "learning_rate": 0.03, "samples": 1_000, "anneal": 0.6} | QUICK
    whole = ab.fit_variational(posterior(), correlated, **settings)
    file = tmp_path / "fit.safetensors"
    q = posterior()

    def stop(epoch):
        if epoch.epoch == 2:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        ab.fit_variational(q, correlated, checkpoint=file, checkpoint_seconds=0, callback=stop, **settings)
    again = ab.fit_variational(posterior(), correlated, checkpoint=file, **settings)
    assert again.log_normaliser == whole.log_normaliser and again.pareto_k == whole.pareto_k


def test_the_rows_of_a_fit_do_not_grow_with_the_features(monkeypatch):
    monkeypatch.setattr("anabranch.training.variational._MOST_NUMBERS", 10 * 16 * 50)
    q = Normal(torch.zeros(50), learnable=True)
    result = ab.fit_variational(q, lambda x: -x.square().sum(dim=-1), steps=40, batch_size=16, samples=100, **QUICK)
    assert [epoch.step for epoch in result.history.epochs] == [10, 20, 30, 40]
    assert result.history.rows == 10 * 16


def test_the_same_seed_gives_the_same_result():
    results = [ab.fit_variational(posterior(), correlated, steps=100, samples=1_000, **QUICK) for _ in range(2)]
    assert results[0].log_normaliser == results[1].log_normaliser


def nan_beyond(x):
    return torch.where(x[:, 0] > 1.5, torch.nan, -0.5 * (x - 3).square().sum(dim=-1))


def zero_beyond(x):
    return torch.where(x[:, 0] > 1.5, -torch.inf, -0.5 * (x - 3).square().sum(dim=-1))


@pytest.mark.parametrize(("target", "word"), [(nan_beyond, "nan"), (zero_beyond, "-inf")])
def test_a_target_that_is_no_number_somewhere_is_one_line_with_the_point(target, word):
    # at first q draws within [-1, 1]
    q = ab.Flow(ab.transforms.Inverse(ab.transforms.Elementwise(ab.transforms.Affine(), 1)), Normal([0.0], [0.1]))
    with pytest.raises(ab.NonFiniteError, match=f"log_target: expected finite numbers, got {word} at a draw") as caught:
        ab.fit_variational(q, target, steps=2_000, learning_rate=0.1, **QUICK)
    said = str(caught.value)
    assert "\n" not in said and "at step" in said
    assert float(said.split("x = [")[1].split("]", maxsplit=1)[0]) > 1.5
    assert all(bool(p.isfinite().all()) for p in q.parameters())
    with pytest.raises(
        ValueError, match=f"log_target: expected finite numbers, got {word} at a draw of the density as"
    ):
        ab.fit_variational(Normal([0.0], [3.0], learnable=True), target, steps=10, **QUICK)


def one_normal():
    return Normal([0.0], learnable=True)


class Sampled(ab.densities.Density):
    reparameterized = False

    def __init__(self):
        super().__init__((1,))
        self.a = nn.Parameter(torch.zeros(1))

    def _sample(self, shape, context):
        return torch.randn(*shape, 1)

    def _log_prob(self, x, context):
        return -x.square().sum(-1)


@pytest.mark.parametrize(
    ("density", "target", "settings", "message"),
    [
        (Sampled, correlated, {}, "density: expected one whose draws are differentiable"),
        (
            one_normal,
            lambda x: x,
            {},
            r"log_target: expected one number for each of 256 rows",
        ),
        (
            one_normal,
            lambda x: 1.0,
            {},
            "log_target: expected a tensor of floating-point numbers",
        ),
        (
            one_normal,
            lambda x: -x.detach().square().sum(-1),
            {},
            "log_target: expected a function that PyTorch can differentiate by x",
        ),
        (
            one_normal,
            lambda x: -x.abs().sqrt().sum(-1) * 0 / 0,
            {},
            "log_target: expected finite",
        ),
        (one_normal, 3, {}, "log_target: expected a function of x"),
        (one_normal, correlated, {"gradient": "reinforce"}, "gradient: expected one of"),
        (
            one_normal,
            correlated,
            {"coldness": 2.0},
            "coldness: expected a number of at most 1",
        ),
        (one_normal, correlated, {"steps": 0}, "steps: expected a whole number"),
        (lambda: nn.Linear(2, 2), correlated, {}, "density: expected a Density"),
        (
            lambda: ab.Flow(ab.flows.planar(2, context=1, blocks=1)),
            correlated,
            {},
            "density: expected one without a context, got a Flow",
        ),
    ],
)
def test_refuses(density, target, settings, message):
    with pytest.raises(ValueError, match=message):
        ab.fit_variational(density(), target, **settings)
