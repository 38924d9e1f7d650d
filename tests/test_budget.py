"""Fits within a budget of time: when they end, what they record, that they can be repeated. No test reads a real clock."""

import json
import math
import sys

import pyarrow as pa
import pytest
import torch
from rich.console import Console

import anabranch as ab
from anabranch.objectives import Objective
from anabranch.tables import fit_table
from anabranch.training.budget import FALL, Budget
from anabranch.training.course import ByEpochs
from anabranch.training.history import Epoch
from anabranch.training.outcome import course_in_words
from anabranch.training.plateau import Plateau
from anabranch.training.progress import FitProgress
from anabranch.training.schedule import Schedule


def record(step, validation, seconds, number=1):
    return Epoch(number, step, 0.0, validation, 1.0, seconds, 0.0)


def run(budget, loss, duration, every=10):
    """Step a budget to its end: loss(step) at every validation, duration(step) seconds a step. Returns its rates."""
    rates, seconds, best = [], 0.0, None
    for step in range(1, 1_000_000):
        rates.append(budget.factor(step - 1))
        seconds += duration(step)
        budget.goes_back = False
        budget.stepped(step, seconds)
        if step % every == 0 or budget.ended:
            now = record(step, loss(step), seconds)
            if best is None or now.validation < best.validation:
                best = now
            budget.validated(now, best)
        if budget.ended:
            return rates, seconds
    raise AssertionError("no end")


def falling(step):
    return 1.0 - 0.2 * math.log(step)


class TestPlateau:
    def seen(self, losses, every=20, **options):
        plateau = Plateau(**options)
        for i, loss in enumerate(losses, start=1):
            plateau.see(every * i, loss)
            if plateau.reached:
                return every * i, plateau
        return None, plateau

    @pytest.mark.parametrize("seed", range(5))
    def test_a_loss_that_falls_slowly_among_noise_is_none(self, seed):
        noise = 0.05 * torch.randn(1000, generator=torch.Generator().manual_seed(seed))
        step, _ = self.seen([falling(i + 5) + float(noise[i]) for i in range(1000)])
        assert step is None

    @pytest.mark.parametrize("seed", range(5))
    def test_noise_alone_is_one_before_long(self, seed):
        noise = 0.05 * torch.randn(1000, generator=torch.Generator().manual_seed(seed))
        step, _ = self.seen([float(one) for one in noise])
        assert step is not None and step <= 4000

    def test_a_loss_that_rises_again_is_one_at_its_least(self):
        step, plateau = self.seen([(i - 100) ** 2 / 1e4 for i in range(1000)])
        assert abs(plateau.best_step - 20 * 100) <= 200
        assert step == pytest.approx(plateau.best_step / 0.75, abs=40)

    def test_what_hardly_falls_is_one(self):
        assert self.seen([-1e-6 * i for i in range(1000)])[0] is not None


class TestBudget:
    def test_the_time_is_used_and_a_fixed_share_of_it_ends_the_fit(self):
        budget = Budget(100.0, warmup=20, every=10)
        rates, seconds = run(budget, falling, lambda step: 0.1)
        assert budget.ended == "minutes"
        assert seconds == pytest.approx(100, abs=0.5)
        begins = budget.schedule.begins_to_fall
        assert begins == pytest.approx((1 - FALL) * 1000, abs=5)
        assert rates[:20] == pytest.approx([(i + 1) / 20 for i in range(20)])
        assert set(rates[20 : begins + 1]) == {1.0}
        assert all(a > b for a, b in zip(rates[begins:-1], rates[begins + 1 :], strict=True))
        assert 0 < rates[-1] < 0.01
        assert budget.schedule.back_to is None

    def test_a_gain_is_told_by_the_minute(self):
        budget = Budget(600.0, warmup=20, every=10)
        run(budget, lambda step: -0.001 * step, lambda step: 0.1)
        # 0.01 nats a second
        assert budget.improving == pytest.approx(0.6, rel=1e-6)

    @pytest.mark.parametrize("slower", [1.5, 3.0, 30.0])
    def test_a_machine_that_slows_down_shortens_the_fall(self, slower):
        budget = Budget(100.0, warmup=20, every=10)
        rates, seconds = run(budget, falling, lambda step: 0.1 * (slower if step > 760 else 1))
        assert seconds <= 100 * 1.02 + 2 * 0.1 * slower
        assert seconds > 95
        assert rates[-1] < 0.3
        schedule = budget.schedule
        assert [schedule.factor(step) for step in range(schedule.steps)] == pytest.approx(rates)
        assert len(rates) == schedule.steps

    def test_a_first_step_that_compiles_is_not_taken_for_the_speed(self):
        budget = Budget(100.0, warmup=20, every=10)
        rates, _ = run(budget, falling, lambda step: 40.0 if step == 1 else 0.1)
        assert len(rates) == pytest.approx(600, abs=10)

    @pytest.mark.parametrize("seconds", [1e-3, 0.05, 0.5])
    def test_the_smallest_budget_makes_a_fit(self, seconds):
        budget = Budget(seconds, warmup=20, every=10)
        rates, _ = run(budget, falling, lambda step: 0.1)
        assert 2 <= len(rates) <= 10
        assert budget.schedule.steps == len(rates)

    def test_a_loss_that_no_longer_falls_ends_it_from_its_best(self):
        budget = Budget(1e6, warmup=20, every=10)
        run(budget, lambda step: (step - 3000) ** 2 / 1e6, lambda step: 0.1)
        assert budget.ended == "plateau"
        schedule = budget.schedule
        assert schedule.back_to == 3000
        assert schedule.begins_to_fall == pytest.approx(4000, rel=0.05)
        # a quarter of the steps that led to what is kept
        assert schedule.steps - schedule.begins_to_fall == 1000
        assert budget.improving is None

    def test_it_goes_back_where_the_time_ends_a_loss_that_had_risen(self):
        budget = Budget(490.0, warmup=20, every=10)
        run(budget, lambda step: (step - 3000) ** 2 / 1e6, lambda step: 0.1)
        assert budget.ended == "minutes"
        assert budget.schedule.back_to == 3000
        assert budget.improving is None

    def test_a_number_of_steps_bounds_it_too(self):
        budget = Budget(1e6, warmup=20, every=10, most=400)
        rates, _ = run(budget, falling, lambda step: 0.1)
        assert budget.ended == "epochs" and len(rates) == 400
        assert budget.schedule.begins_to_fall == 300
        assert budget.improving > 0

    def test_without_a_wish_to_stop_the_time_is_used(self):
        budget = Budget(100.0, warmup=20, every=10, stops=False)
        run(budget, lambda step: 1.0, lambda step: 0.05)
        assert budget.ended == "minutes"


class TestSchedule:
    def test_comes_back_from_plain_data(self):
        schedule = Schedule(10, ((100, 0.0), (120, 0.3), (150, 1.0)), back_to=80, every=20, compiled=True)
        assert Schedule.from_dict(json.loads(json.dumps(schedule.to_dict()))) == schedule

    def test_falls_from_where_a_warm_up_had_come_to(self):
        schedule = Schedule(10, ((4, 0.0), (8, 1.0)))
        rates = [schedule.factor(step) for step in range(8)]
        on_the_way = [0.5 * (1 - math.sqrt(share)) for share in (0, 0.25, 0.5, 0.75)]
        assert rates == pytest.approx([0.1, 0.2, 0.3, 0.4, *on_the_way])

    @pytest.mark.parametrize(
        "wrong",
        [
            {"fall": ((10, 0.0),)},
            {"fall": ((10, 0.0), (10, 1.0))},
            {"fall": ((10, 0.0), (20, 0.9))},
            {"fall": ((10, 0.1), (20, 1.0))},
            {"fall": ((10, 0.0), (15, 0.5), (20, 0.4), (30, 1.0))},
            {"warmup": 0},
            {"every": 0},
            {"back_to": 11},
        ],
    )
    def test_refuses_what_is_none(self, wrong):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            Schedule(**{"warmup": 5, "fall": ((10, 0.0), (20, 1.0))} | wrong)


class Clock:
    """So many seconds further each time it is read."""

    def __init__(self, seconds):
        self.seconds, self.now = seconds, 0.0

    def __call__(self):
        self.now += self.seconds
        return self.now


def rows(count=400, seed=0, loc=3.0):
    return loc + 2 * torch.randn(count, 2, generator=torch.Generator().manual_seed(seed))


def fitted(monkeypatch, seconds=0.01, x=None, **options):
    """A density fitted while the clock shows so many seconds more at each look, its weights, and the history."""
    monkeypatch.setattr(sys.modules["anabranch.training.fit"], "perf_counter", Clock(seconds))
    density = ab.densities.Normal(torch.zeros(2), learnable=True)
    options = {"batch_size": 100, "seed": 0, "average": 0.9, "progress": False} | options
    history = ab.fit(density, rows() if x is None else x, **options)
    return torch.cat([p.detach().flatten() for p in density.parameters()]), history


class TestFit:
    def test_ends_in_time_and_can_be_repeated(self, monkeypatch):
        weights, history = fitted(monkeypatch, minutes=0.05, learning_rate=1e-4)
        assert history.stopped == "minutes"
        assert history.epochs[-1].seconds == pytest.approx(3, rel=0.03)
        assert history.epochs[-1].step == history.schedule.steps
        assert history.improving > 0
        again, other = fitted(monkeypatch, seconds=7.0, schedule=history.schedule, learning_rate=1e-4)
        assert torch.equal(weights, again)
        assert other.stopped == "schedule" and other.schedule == history.schedule
        assert [e.validation for e in other.epochs] == [e.validation for e in history.epochs]

    def test_ends_by_itself_the_same_on_every_machine(self, monkeypatch):
        # validation rows of another place: better for a while, and then worse
        options = {"validation": rows(100, seed=1, loc=2.0), "learning_rate": 1e-2}
        weights, history = fitted(monkeypatch, minutes=100, **options)
        assert history.stopped == "plateau"
        assert history.schedule.back_to < history.schedule.begins_to_fall
        assert history.best_loss == min(e.validation for e in history.epochs)
        assert history.improving is None
        faster, other = fitted(monkeypatch, seconds=1e-4, minutes=100, **options)
        assert torch.equal(weights, faster) and other.schedule == history.schedule
        again, _ = fitted(monkeypatch, schedule=Schedule.from_dict(history.to_dict()["schedule"]), **options)
        assert torch.equal(weights, again)

    def test_it_goes_back_to_all_of_the_best(self, monkeypatch):
        # as if the steps after the best had never been: the loss at the first step of the fall tells
        options = {"validation": rows(100, seed=1, loc=2.0), "learning_rate": 1e-2, "average": 0.0}
        _, history = fitted(monkeypatch, minutes=100, **options)
        best = next(e for e in history.epochs if e.step == history.schedule.back_to)
        before = next(e for e in history.epochs if e.step == history.schedule.begins_to_fall)
        after = next(e for e in history.epochs if e.step == history.schedule.begins_to_fall + history.schedule.every)
        assert abs(after.validation - best.validation) < 0.5 * abs(after.validation - before.validation)

    def test_a_plateau_of_before_an_objective_settles_ends_nothing(self):
        course = Budget(1000.0, warmup=1, every=100)
        for number in range(1, 22):
            record = Epoch(number, 100 * number, 1.0, 1.0, 1e-3, float(number), 1.0)
            course.validated(record, record, settled=number > 20)
        assert course.plateau.steps == [2100] and course.doing == "improves"

    @pytest.mark.slow
    def test_a_phase_hands_on_its_best_weights(self, monkeypatch):
        class TwoPhases(Objective):
            uses_labels, by_epochs, settled, comparable, phases = False, False, False, True, (0.5,)

            def __call__(self, batch):
                return batch.density.loss(batch.x, batch.context)

            def next_phase(self):
                self.settled, self.comparable = True, False

        options = {"validation": rows(100, seed=1, loc=2.0), "learning_rate": 1e-2, "average": 0.0}
        weights, history = fitted(monkeypatch, minutes=100, objective=TwoPhases(), **options)
        (end,) = history.schedule.phases
        every = history.epochs[0].step
        first = [e for e in history.epochs if e.step <= end]
        after = next(e for e in history.epochs if e.step == end + every)
        best = min(e.validation for e in first)
        assert first[-1].validation > best + 0.1  # it was overfitted by then
        assert abs(after.validation - best) < 0.5 * abs(after.validation - first[-1].validation)
        assert history.best.step > end
        again, _ = fitted(monkeypatch, schedule=history.schedule, objective=TwoPhases(), **options)
        assert torch.equal(weights, again)

    def test_many_rows_are_validated_before_a_pass_ends(self, monkeypatch):
        _, history = fitted(monkeypatch, x=rows(5000), batch_size=10, minutes=0.1, validation=0.1)
        assert [e.step for e in history.epochs][:2] == [200, 400]
        assert history.epochs[0].passes == pytest.approx(200 * 10 / 4500)

    def test_whichever_ends_first(self, monkeypatch):
        _, by_epochs = fitted(monkeypatch, minutes=100, epochs=30)
        assert by_epochs.stopped == "epochs" and by_epochs.epochs[-1].step == 30 * 4
        assert by_epochs.schedule.begins_to_fall == 90
        _, by_time = fitted(monkeypatch, minutes=0.02, epochs=3000)
        assert by_time.stopped == "minutes" and by_time.epochs[-1].seconds < 1.3

    def test_no_validation_uses_the_time(self, monkeypatch):
        _, history = fitted(monkeypatch, minutes=0.05, validation=0)
        assert history.stopped == "minutes" and history.improving is None
        assert history.best_epoch == len(history.epochs)

    @pytest.mark.parametrize(
        ("wrong", "said"),
        [
            ({"minutes": 0}, "minutes"),
            ({"minutes": 1, "noise": 0.1}, "epochs: expected a number with noise"),
            ({"minutes": 1, "objective": ab.objectives.Likelihood()}, "epochs: .* an objective that goes by epochs"),
            ({"minutes": 1, "schedule": Schedule(1, ((1, 0.0), (2, 1.0)))}, "schedule: expected None with"),
            ({"schedule": {"warmup": 3}}, "schedule: expected"),
        ],
    )
    def test_refuses_what_does_not_go_together(self, monkeypatch, wrong, said):
        with pytest.raises(ValueError, match=said):
            fitted(monkeypatch, **wrong)


def interrupting(after, error=KeyboardInterrupt):
    def callback(epoch):
        if epoch.epoch == after:
            raise error

    return callback


class TestKeep:
    def test_ctrl_c_ends_a_fit_with_the_best(self, monkeypatch):
        wanted, _ = fitted(monkeypatch, epochs=5, callback=lambda epoch: epoch.epoch == 2)
        weights, history = fitted(monkeypatch, epochs=5, callback=interrupting(2), keep=True)
        assert history.stopped == "interrupted" and len(history.epochs) == 2
        assert torch.equal(weights, wanted)

    def test_a_loss_that_is_not_finite_too(self, monkeypatch):
        error = ab.training.NonFiniteError("", 3, None, "")
        _, history = fitted(monkeypatch, epochs=5, callback=interrupting(1, error), keep=True)
        assert history.stopped == "non-finite"

    def test_not_before_there_is_something_to_keep(self, monkeypatch):
        def broken(self):
            raise KeyboardInterrupt

        monkeypatch.setattr("anabranch.training.loop.Loop._validate", broken)
        with pytest.raises(KeyboardInterrupt):
            fitted(monkeypatch, epochs=2, keep=True)


def table(count=120):
    x = torch.randn(count, 2, generator=torch.Generator().manual_seed(0)).double().numpy()
    return pa.table({"a": x[:, 0], "b": x[:, 0] + x[:, 1]})


QUICK = {"blocks": 1, "hidden": (8,), "progress": False}


class TestTables:
    """`fit_table` within a budget."""

    @pytest.fixture(autouse=True)
    def _clock(self, monkeypatch):
        monkeypatch.setattr(sys.modules["anabranch.training.fit"], "perf_counter", Clock(3.0))

    def test_five_minutes_are_the_default_and_the_report_repeats_it(self):
        model, report = fit_table(table(), learning_rate=1e-5, **QUICK)
        assert report.options["minutes"] == 5 and "epochs" not in report.options
        assert report.stopped == "minutes" and 80 < report.steps < 100
        assert report.improving > 0
        words = course_in_words(report.to_dict())
        assert "ended by its budget of 5 minutes while it still improved, by " in words
        assert "nats per row and minute: more minutes, such as 15, give more" in words
        again, other = fit_table(table(), learning_rate=1e-5, schedule=report.to_dict()["schedule"], **QUICK)
        assert [score.mean for score in other.scores] == [score.mean for score in report.scores]
        assert other.stopped == "schedule" and other.schedule == report.schedule
        assert (model.log_prob(table()) == again.log_prob(table())).all()

    def test_epochs_are_as_ever(self):
        _, report = fit_table(table(), epochs=3, **QUICK)
        assert (report.stopped, report.epochs, report.steps, report.schedule) == ("epochs", 3, 9, None)
        assert "minutes" not in report.options
        assert "the last epoch was the best: more epochs may give more" in course_in_words(report.to_dict())

    @pytest.mark.parametrize(
        "error", [KeyboardInterrupt(), SystemExit(143), RuntimeError(), ab.training.NonFiniteError("", 3, None, "")]
    )
    def test_what_ends_it_carries_the_model_so_far(self, error):
        wanted, _ = fit_table(table(), epochs=5, callback=lambda epoch: epoch.epoch == 2, **QUICK)
        with pytest.raises(type(error)) as caught:
            fit_table(table(), epochs=5, callback=interrupting(2, error), **QUICK)
        assert (caught.value.model.log_prob(table()) == wanted.log_prob(table())).all()

    @pytest.mark.parametrize("error", [KeyboardInterrupt(), ab.training.NonFiniteError("", 3, None, "")])
    def test_it_is_returned_if_asked_for(self, error):
        wanted, by_callback = fit_table(table(), epochs=5, callback=lambda epoch: epoch.epoch == 2, **QUICK)
        model, report = fit_table(table(), epochs=5, callback=interrupting(2, error), keep=True, **QUICK)
        assert report.stopped == ("interrupted" if isinstance(error, KeyboardInterrupt) else "non-finite")
        assert report.scores == by_callback.scores and report.steps == 6
        assert (model.log_prob(table()) == wanted.log_prob(table())).all()

    def test_nothing_is_carried_before_the_first_epoch_ends(self, monkeypatch):
        def broken(self):
            raise KeyboardInterrupt

        monkeypatch.setattr("anabranch.training.loop.Loop._validate", broken)
        with pytest.raises(KeyboardInterrupt) as caught:
            fit_table(table(), epochs=5, keep=True, **QUICK)
        assert not hasattr(caught.value, "model")

    def test_a_budget_of_any_order(self):
        mixed = table().append_column("c", pa.array([None, "x", "y"] * 40))
        _, report = fit_table(mixed, minutes=0.5, hidden=8, blocks=1, progress=False)
        assert report.options["model"] == "any-order" and report.stopped == "minutes"


class TestProgressBar:
    def shown(self, course, *steps):
        console = Console(force_terminal=True, width=120)
        with console.capture() as captured, FitProgress(course, True, console) as bar:
            for step, seconds in steps:
                course.stepped(step, seconds)
                bar.step(1.25, step, seconds)
        return captured.get()

    def test_the_time_left_and_whether_it_improves(self):
        budget = Budget(300.0, warmup=1, every=10)
        shown = self.shown(budget, *((step, 0.5 * step) for step in range(1, 201)))
        assert "improves, at most" in shown and "3:20 left" in shown and "step 200" in shown and "loss 1.250" in shown

    def test_steps_of_a_fit_by_epochs(self):
        shown = self.shown(ByEpochs(10, 20, 0.05, None), (20, 1.0))
        assert "20/200" in shown
