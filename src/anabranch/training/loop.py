"""The loop inside a fit: steps, validation, the best weights kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import torch

from anabranch.densities import Density
from anabranch.draws import drawing
from anabranch.objectives import Batch, Objective
from anabranch.training.averaging import Average
from anabranch.training.background import broad_density
from anabranch.training.changes import Changes, spread
from anabranch.training.checkpoint import Checkpoint
from anabranch.training.course import Course
from anabranch.training.data import Data
from anabranch.training.dealing import Dealer, Dealt
from anabranch.training.form import check_form
from anabranch.training.graph import Graph, Recorded, shall_record
from anabranch.training.history import Epoch, History
from anabranch.training.keeping import Kept
from anabranch.training.optimiser import Optimiser
from anabranch.training.part import Part
from anabranch.training.precision import multiplying
from anabranch.training.processes import Processes
from anabranch.training.progress import FitProgress
from anabranch.training.row_stream import RowStream
from anabranch.training.rows import Rows
from anabranch.training.settings import Settings
from anabranch.training.step import Step, seed_at
from anabranch.training.validation import Validation
from anabranch.training.weights import Weights

# Steps between two looks at what the device has come to: each waits for it.
_BETWEEN_LOOKS = 25
# what is drawn before a step, for its rows, within it, and after it
_BEFORE, _ROWS, _WITHIN, _AFTER, _AUGMENT = range(5)


class Loop:
    """Trains one density on one split of the rows; `fit` checks and prepares what it gets.

    What is drawn in a step depends on the seed and the step's number alone, so that a step can be taken again, and a fit
    can go on from where it was kept.
    """

    def __init__(
        self,
        density: Density,
        data: Data,
        history: History,
        settings: Settings,
        course: Course,
        generator: torch.Generator,
        device: torch.device,
        graph: Graph = False,
    ) -> None:
        self.settings, self.history, self.course, self.objective = settings, history, course, data.objective
        self.processes = Processes(device, unused=data.objective is not None)
        self.device = self.processes.device
        self.density = density.to(self.device)
        self.training = data.training
        if self.objective is not None and self.objective.reads_rows and isinstance(self.training, Part):
            # an objective looks at them where the density is
            self.training = Part(self.training.all().to(self.device))
        self.dealer = Dealer(self.training, settings.batch_size, generator, self.processes)
        if self.objective is not None:
            epochs = -(-(course.steps or 0) // self.dealer.batches)
            self.objective.prepare(_shown(density, self.training, self.objective), epochs)
        self.changes = Changes(self._noise(), settings.augment)
        self.validation = None if data.held_out is None else self._judge(data.held_out)
        rates = settings.learning_rate, settings.weight_decay
        optimiser = Optimiser(density, *rates, self.device, settings.optimizer)
        self.weights = Weights(density, Average(density, settings.average), optimiser)
        self.step = Step(density, self.objective, optimiser, settings.clip, self.processes)
        records = shall_record(graph, self.step, self.device)
        self.update: Step | Recorded = Recorded(self.step, self.device, graph is True) if records else self.step
        at_once = self.device.type == "cpu" and self.processes.count == 1
        self.between_looks = 1 if at_once else _BETWEEN_LOOKS
        self.kept = Kept(self.weights, history, self.objective)
        self.steps_done = self.rows_seen = 0
        # of the present epoch: rows seen before it, and the rate of its first step
        self.rows_before, self.rate = 0, 0.0
        # seconds, by earlier parts of the fit
        self.used = 0.0

    def run(
        self,
        *,
        callback: Callable[[Epoch], bool | None] | None,
        progress: bool,
        clock: Callable[[], float],
        checkpoint: Checkpoint | None = None,
    ) -> None:
        """Train; whatever ends it, the density has the best weights then, or those that the objective leaves it."""
        was_training = self.density.training
        begun = clock()

        def seconds() -> float:
            passed = self.used + clock() - begun
            if self.processes.count == 1 or self.course.seconds is None:
                return passed
            # all processes must come to the same conclusions
            return float(self.processes.mean(torch.tensor(passed, device=self.device)))

        try:
            with FitProgress(self.course, shown=progress and self.processes.main) as bar, self._on_device():
                self._begin(checkpoint)
                batches = self.dealer.deal()
                stop = False
                while not (self.course.ended or stop):
                    with multiplying(self.density, self.settings.precision):
                        loss = self._steps(batches, seconds, bar, checkpoint)
                    stop = self._end_epoch(loss, seconds, bar, callback)
                    if checkpoint is not None and not self.course.ended:
                        self._write(checkpoint, self.history.epochs[-1].seconds, now=stop)
            self.history.stopped = "callback" if stop else self.course.ended
            if not stop:
                schedule = self.course.schedule
                self.history.schedule = schedule and replace(schedule, compiled=self.history.compiled)
                self.history.improving, self.history.judged = self.course.improving, self.course.judged
        finally:
            self.weights.optimiser.zero()
            self.density.load_state_dict(self.kept.best)
            self.density.train(was_training)
            self.history.graphs = self.update.graphs if isinstance(self.update, Recorded) else 0
            if self.objective is not None and self.objective.finish(self.density):
                self.history.best_epoch = 0

    def state(self, seconds: float) -> dict[str, Any]:
        """All that a fit goes on from, after so many seconds."""
        return {name: getattr(self, name) for name in ("steps_done", "rows_seen", "rows_before", "rate")} | {
            "density": self.density.state_dict(),
            "average": self.weights.average.state(),
            "optimiser": self.weights.optimiser.state(),
            "course": self.course.state(),
            "dealer": self.dealer.state(),
            "kept": self.kept.state(),
            "objective": None if self.objective is None else self.objective.state(),
            "total": self.step.total,
            "epochs": self.history.epochs,
            "best_epoch": self.history.best_epoch,
            "used": seconds,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from there.

        Raises:
            ValueError, KeyError, TypeError, RuntimeError: a state that is none of this fit.
        """
        _check_state(state, self.state(0.0))
        state = dict(state)
        self.density.load_state_dict(state.pop("density"))
        self.weights.average.restore(state.pop("average"))
        self.weights.optimiser.restore(state.pop("optimiser"))
        self.course.restore(state.pop("course"))
        self.dealer.restore(state.pop("dealer"))
        self.kept.restore(state.pop("kept"))
        objective = state.pop("objective")
        if self.objective is not None:
            self.objective.restore(objective, self.density)
        self.step.total.copy_(state.pop("total"))
        self.step.made.fill_(state["steps_done"])
        self.history.epochs[:], self.history.best_epoch = state.pop("epochs"), state.pop("best_epoch")
        vars(self).update(state)

    def _begin(self, checkpoint: Checkpoint | None) -> None:
        """Begin, or go on from a checkpoint."""
        if checkpoint is not None and checkpoint.state is not None:
            best = self.kept.best
            try:
                with checkpoint.taken_up():
                    self.restore(checkpoint.state)
            except ValueError:
                self.kept.best = best
                raise
            checkpoint.state = None
            return
        self._begin_epoch()
        if checkpoint is not None:
            self._write(checkpoint, 0.0, now=True)

    def _begin_epoch(self) -> None:
        self.step.total.zero_()
        self.rows_before = self.rows_seen
        self.rate = self.settings.learning_rate * self.course.factor(self.steps_done)

    def _steps(
        self,
        batches: Iterator[Dealt],
        seconds: Callable[[], float],
        bar: FitProgress,
        checkpoint: Checkpoint | None = None,
    ) -> float:
        """The steps up to the next validation; the mean loss on the way."""
        self.density.train()
        for batch in batches:
            with drawing(seed_at(self.settings.seed, self.steps_done, _BEFORE)):
                self._prepare(batch)
            self.weights.optimiser.set_rate(self.course.factor(self.steps_done))
            rows, progress, seed = self._changed(batch, self.steps_done)
            self.update(rows, batch.index, batch.count, progress, seed)
            self.weights.average.step()
            self.steps_done += 1
            self.rows_seen += batch.count
            passed = seconds()
            self.course.stepped(self.steps_done, passed)
            every = self.course.every
            over = self.course.ended or (batch.last if every is None else self.steps_done % every == 0)
            looks = over or batch.last or self.steps_done % self.between_looks == 0
            if looks:
                self._look(bar, passed)
            if over:
                break
            if looks and checkpoint is not None:
                self._write(checkpoint, passed)
        return float(self.processes.mean(self.step.total / (self.rows_seen - self.rows_before)))

    def _look(self, bar: FitProgress, seconds: float) -> None:
        """Look at what the device has come to, and raise what it has found."""
        sound, last = self.step.look()
        if not sound:
            number = int(self.step.made)
            batch = self.dealer.again(self.dealer.dealt - (self.steps_done - number))
            rows, progress, seed = self._changed(batch, number)
            raise self.step.explain(rows, batch.index, progress, seed, number + 1)
        bar.step(last, self.steps_done, seconds)

    def _changed(self, batch: Dealt, steps: int) -> tuple[Rows, float, int]:
        """The rows of a step as it takes them, after so many; the share of the fit that is done, and the seed within it."""
        progress = steps / self.course.planned if self.course.planned else 0.0
        noise, augment, within = (seed_at(self.settings.seed, steps, what) for what in (_ROWS, _AUGMENT, _WITHIN))
        return self.changes(batch.rows, progress, (noise, augment)), progress, within

    def _prepare(self, batch: Dealt) -> None:
        """What comes before a step."""
        if self.steps_done == 0:
            with torch.no_grad():
                self.density.initialize(batch.rows.x, batch.rows.context)
            self.kept.start()
        if self.course.goes_back and self.kept.go_back():
            self.course.goes_back = False
        while self.course.moves_on and self.objective is not None:
            self.kept.end_phase(self.objective)
            self.course.moves_on -= 1

    def _end_epoch(
        self,
        loss: float,
        seconds: Callable[[], float],
        bar: FitProgress,
        callback: Callable[[Epoch], bool | None] | None,
    ) -> bool:
        """Validate, write the record down, keep what is to be kept; whether the callback wants to stop."""
        average = self.weights.average
        with drawing(seed_at(self.settings.seed, self.steps_done, _AFTER)):
            if self.objective is not None and self.objective.after_epoch(self.density, len(self.training)):
                average.restart()
            with average.applied():
                validation = self._validate()
                number, passes = len(self.history.epochs) + 1, self.rows_seen / len(self.training)
                record = Epoch(number, self.steps_done, loss, validation, self.rate, seconds(), passes)
                settled, best = self.kept.settled, self.kept.record(record)
        if self.course.marks(record, best):
            self.kept.mark(number)
        bar.epoch(validation)
        stop = bool(callback is not None and callback(record))
        self.course.validated(record, self.history.best, settled)
        self._begin_epoch()
        return stop

    def _validate(self) -> float | None:
        """Mean loss on the validation rows."""
        return None if self.validation is None else self.validation(self.steps_done)

    def _write(self, checkpoint: Checkpoint, seconds: float, now: bool = False) -> None:
        """Write the checkpoint if it is time, or now."""
        if self.processes.main and (now or checkpoint.due(seconds)):
            checkpoint.write(self.state(seconds), seconds)

    def _judge(self, held_out: Part) -> Validation:
        broad = None
        if self.settings.background and isinstance(self.training, Part):
            broad = broad_density(self.training.all().x).to(self.device)
        size = max(self.settings.batch_size, 1024)
        return Validation(self.density, held_out, size, self.processes, self.objective, broad)

    def _noise(self) -> torch.Tensor | None:
        """The standard deviation of the noise at first."""
        if not self.settings.noise:
            return None
        return (spread(self.training) * self.settings.noise).to(self.device)

    def _on_device(self) -> Any:
        """Streams and graphs are those of the current device."""
        return torch.cuda.device(self.device) if self.device.type == "cuda" else nullcontext()


def _check_state(state: Any, present: dict[str, Any]) -> None:
    """Raise ValueError for a state that is none of this fit; optimisers and objectives know theirs themselves."""
    loose = dict.fromkeys(("optimiser", "objective"))
    check_form(state, present | loose, "state")
    epochs = state["epochs"]
    if not all(isinstance(epoch, Epoch) for epoch in epochs):
        raise ValueError("state['epochs'] has other things than epochs")
    counts = [state[name] for name in ("steps_done", "rows_seen", "rows_before", "best_epoch")] + [
        state["dealer"]["dealt"]
    ]
    if not all(isinstance(count, int) and count >= 0 for count in counts):
        raise ValueError(f"state counts steps, rows, epochs and batches as {counts}")
    if state["best_epoch"] > len(epochs):
        raise ValueError(f"state has {len(epochs)} epochs, and number {state['best_epoch']} is the best of them")
    if state["course"]["ended"]:
        raise ValueError(f"state has ended by {state['course']['ended']!r}, which is never written")


def _shown(density: Density, training: Part | RowStream, objective: Objective) -> Batch:
    """The training rows as an objective is shown them at first: labels that are guesses are left out."""
    if isinstance(training, Part) and objective.reads_rows:
        rows = training.all()
        numbers = torch.arange(len(rows), device=rows.x.device)
        return Batch(density, rows.x, rows.context, rows.labels if objective.holds_labels else None, numbers, 0.0)
    none = torch.empty(0, *density.event_shape)
    return Batch(density, none, None, None, torch.arange(0), 0.0)
