"""Rows with gaps, completed while a density learns."""

import itertools
import json
import sys
import warnings

import numpy as np
import pandas as pd
import pytest
import torch

import anabranch as ab
from anabranch.models import AnyOrder
from anabranch.models.order_loss import OrderLoss
from anabranch.objectives import Completion, Likelihood, UnsettledWarning
from anabranch.tables import fit_table
from anabranch.training import Schedule
from anabranch.training.outcome import course_in_words


def flagged(rows=2_000, seed=0):
    """A flag, true in a tenth of the rows, and an amount, which is known of most of those and of a fifth of the others."""
    rng = np.random.default_rng(seed)
    flag = rng.random(rows) < 0.1
    amount = np.exp(rng.normal(3 + 1.0 * flag, 0.5))
    return pd.DataFrame({"amount": amount, "flag": flag.astype(int)}), rng.random(rows) < np.where(flag, 0.9, 0.2)


@pytest.fixture(scope="module")
def of_flagged():
    frame, known = flagged()
    gappy = frame.assign(amount=frame["amount"].where(known))
    options = {"hidden": 32, "blocks": 1, "epochs": 60, "batch_size": 200, "learning_rate": 5e-3, "progress": False}
    model, _ = fit_table(gappy, **options)
    return model, frame


class TestTables:
    def test_means_and_probabilities_are_of_all_rows(self, of_flagged):
        model, frame = of_flagged
        share = frame["flag"].mean()
        assert float(model.ask("E[flag]")) == pytest.approx(share, abs=0.01)
        assert float(model.ask("P(flag = 1)")) == pytest.approx(share, abs=0.01)
        assert model.sample(4_000, seed=0)["flag"].to_numpy().mean() == pytest.approx(share, abs=0.02)

    def test_a_gappy_column_is_a_condition_like_any_other(self, of_flagged):
        model, frame = of_flagged
        # of the rows whose amount is known, a third have a flag
        low = (frame["amount"] < 20).to_numpy()
        assert float(model.ask("P(flag = 1 | amount < 20)")) == pytest.approx(
            frame["flag"].to_numpy()[low].mean(), abs=0.03
        )
        # the network itself, amount first: not the joint, which begins with the flag
        z = model.schema.tensor(model.schema.encode(frame)[0], torch.float32)
        amount, flag = (model.schema.columns.index(name) for name in ("amount", "flag"))
        with torch.no_grad():
            log_p = model.density.terms(z, [flag], [amount]).squeeze(-1).exp().numpy()
        p = np.where(frame["flag"] == 1, log_p, 1 - log_p)
        assert p.mean() == pytest.approx(frame["flag"].mean(), abs=0.04)

    def test_a_mean_of_gaps_is_that_of_all_rows(self, of_flagged):
        model, frame = of_flagged
        assert float(model.ask("Q[0.5](amount)")) == pytest.approx(frame["amount"].median(), rel=0.1)


class TestLoss:
    def test_draws_are_scored_only_where_an_observed_column_is_hidden(self, monkeypatch):
        model = AnyOrder(3, hidden=8, agreement=0.0)
        x, observed = torch.randn(5, 3), torch.tensor([True, True, False]).expand(5, 3)
        shown = torch.tensor([True, True, False]).expand(5, 3)
        monkeypatch.setattr(OrderLoss, "_shown", lambda self, among, like: (shown, torch.ones(len(like), 1)))
        assert torch.equal(model.completed_loss(x, observed), torch.zeros(5))
        shown = torch.tensor([True, False, False]).expand(5, 3)
        with torch.no_grad():
            both = model.completed_loss(x, observed)
            alone = model.completed_loss(x, observed, drawn_count=False)
        entered = model.network.entered(x, shown)
        log_p = model.network.log_prob(x, entered).detach()
        torch.testing.assert_close(both, -log_p[:, 1:].sum(dim=-1))
        torch.testing.assert_close(alone, -log_p[:, 1])

    def test_draws_keep_what_was_observed(self):
        model = AnyOrder(3, hidden=8)
        x = torch.randn(50, 3)
        gappy = torch.where(torch.rand(50, 3) < 0.4, torch.nan, x)
        full = model.completed(gappy)
        assert full.isfinite().all()
        assert torch.equal(full[~gappy.isnan()], gappy[~gappy.isnan()])


def gappy_rows(rows=300):
    x = torch.randn(rows, 2, generator=torch.Generator().manual_seed(0))
    x[:, 1] += x[:, 0]
    x[x[:, 0] > 0, 1] = torch.nan
    return x


class TestFit:
    def test_takes_minutes(self):
        options = {"batch_size": 100, "seed": 0, "progress": False, "epochs": None, "compile": False}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UnsettledWarning)
            history = ab.fit(AnyOrder(2, hidden=8), gappy_rows(), objective=Completion(2), minutes=0.01, **options)
        assert history.stopped == "minutes"
        with pytest.raises(ValueError, match="an objective that goes by epochs, got minutes alone"):
            ab.fit(AnyOrder(2, hidden=8), gappy_rows(), objective=Completion() + Likelihood(), minutes=0.01, **options)

    def test_the_steps_of_phases_are_taken_again(self):
        options = {"batch_size": 100, "seed": 0, "progress": False, "compile": False}
        models = []
        for _ in range(2):
            torch.manual_seed(0)
            models.append(AnyOrder(2, hidden=8))
        history = ab.fit(models[0], gappy_rows(), epochs=None, minutes=0.02, **options)
        schedule = history.schedule
        assert len(schedule.phases) == 2
        assert 0 < schedule.phases[0] <= schedule.phases[1] < schedule.steps
        plain = Schedule.from_dict(json.loads(json.dumps(schedule.to_dict())))
        assert plain == schedule
        ab.fit(models[1], gappy_rows(), epochs=None, schedule=plain, **options)
        for one, other in zip(models[0].parameters(), models[1].parameters(), strict=True):
            torch.testing.assert_close(one, other)

    def test_a_schedule_of_rows_without_gaps_serves_rows_with_gaps(self):
        schedule = Schedule(5, ((15, 0.0), (20, 1.0)))
        objective = Completion()
        options = {"batch_size": 100, "seed": 0, "progress": False, "compile": False, "epochs": None}
        history = ab.fit(AnyOrder(2, hidden=8), gappy_rows(), schedule=schedule, objective=objective, **options)
        assert objective.settled
        assert history.schedule.phases == (6, 8)

    def test_says_where_it_ends_before_the_last_phase(self, monkeypatch):
        # 0.02 seconds at each look
        monkeypatch.setattr(sys.modules["anabranch.training.fit"], "perf_counter", itertools.count(0, 0.02).__next__)
        objective = Completion(observed=0.98, conditions=0.01)
        options = {"batch_size": 100, "seed": 0, "progress": False, "epochs": None, "compile": False}
        with pytest.warns(
            UnsettledWarning, match="steps, before Completion had come to its last phase; give it more min"
        ):
            history = ab.fit(AnyOrder(2, hidden=8), gappy_rows(), objective=objective, minutes=0.005, **options)
        assert not history.judged

    def test_the_phases_fit_into_few_epochs(self):
        objective = Completion()
        with warnings.catch_warnings():
            warnings.simplefilter("error", UnsettledWarning)
            ab.fit(AnyOrder(2, hidden=8), gappy_rows(), objective=objective, epochs=2, batch_size=50, progress=False)
        assert objective.settled

    def test_patience_waits_for_the_last_phase(self):
        objective = Completion()
        options = {"epochs": 100, "patience": 2, "batch_size": 50, "seed": 0, "progress": False}
        history = ab.fit(AnyOrder(2, hidden=8), gappy_rows(60), objective=objective, learning_rate=0.05, **options)
        assert objective.settled and history.stopped == "patience"

    def test_a_weighted_one_hands_on_its_best_too(self):
        assert (0.5 * Completion()).comparable

    def test_words_for_a_budget_that_is_over_at_once(self):
        report = {"epochs": 0.5, "best_epoch": 0.5, "steps": 5, "best_step": 5, "stopped": "minutes", "improving": None}
        said = course_in_words({**report, "judged": False, "options": {"minutes": 5.0}})
        assert said.endswith(
            "its budget of 5 minutes, too soon to tell whether it still improved: more minutes give more"
        )
