"""The loop inside a fit: steps, validation, the best weights kept."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace

import torch
from torch import Tensor

from anabranch.densities import Density
from anabranch.objectives import Batch, Objective
from anabranch.training.averaging import Average
from anabranch.training.background import before_background, broad_density
from anabranch.training.course import Course
from anabranch.training.diagnosis import NonFiniteError, explain_gradient, explain_loss
from anabranch.training.history import Epoch, History
from anabranch.training.precision import Precision, multiplying
from anabranch.training.progress import FitProgress
from anabranch.training.rows import Rows, RowStream
from anabranch.transforms import Transform


class Loop:
    """Trains one density on one split of the rows; `fit` checks and prepares what it gets.

    In-memory rows are shuffled by index and gathered a batch at a time: no loader, no work per row in Python. Devices,
    processes and gradients across them are accelerate's.
    """

    def __init__(
        self,
        density: Density,
        training: Rows | RowStream,
        held_out: Rows | None,
        history: History,
        generator: torch.Generator,
        *,
        course: Course,
        epochs: int,
        batch_size: int,
        clip: float,
        device: torch.device,
        objective: Objective | None = None,
        noise: float = 0.0,
        average: float = 0.0,
        background: bool = False,
    ) -> None:
        # slow to import, and only needed here
        from accelerate import Accelerator, DistributedDataParallelKwargs  # noqa: PLC0415

        # We place everything ourselves: the device is the caller's choice, not the machine's best.
        # An objective need not reach all parameters in every step.
        unused = DistributedDataParallelKwargs(find_unused_parameters=objective is not None)
        self.accelerator = Accelerator(device_placement=False, kwargs_handlers=[unused])
        self.shares = self.accelerator.num_processes
        self.device = self.accelerator.device if self.shares > 1 else device
        self.density = density.to(self.device)
        self.training = training.to(self.device) if isinstance(training, Rows) else training
        self.held_out = None if held_out is None else held_out.to(self.device)
        self.background = broad_density(self.training.x) if background and isinstance(self.training, Rows) else None
        self.history = history
        self.generator = generator
        self.batches = -(-len(training) // batch_size)
        self.batch_size = batch_size
        self.clip = clip
        self.objective = objective
        if objective is not None and isinstance(self.training, Rows):
            objective.prepare(self._all_rows(self.training, objective), epochs)
        self.noise = noise
        self.scale = _spread(self.training.x) * noise if noise and isinstance(self.training, Rows) else noise
        self.average = Average(self.density, average)
        self.course = course
        self.good = self._snapshot()
        self.marked: Callable[[], None] | None = None
        self.marked_epoch = 0
        self.steps_done = 0
        self.rows_seen = 0
        # begun: a phase of the objective has begun, and has no record yet of steps that were all its own; moved: it has
        # begun since the last record
        self.begun, self.moved = False, False

    def run(
        self,
        *,
        learning_rate: float,
        weight_decay: float,
        precision: Precision,
        callback: Callable[[Epoch], bool | None] | None,
        progress: bool,
        clock: Callable[[], float],
    ) -> None:
        """Train; whatever ends it, the density has the best weights then, or those that the objective leaves it."""
        groups = _decayed_and_not(self.density, weight_decay)
        # one loop over all weights where there is one; it is the same update
        optimizer = torch.optim.AdamW(groups, lr=learning_rate, fused=self.device.type in ("cpu", "cuda") or None)
        trained = self.density if self.objective is None else _WithObjective(self.density, self.objective)
        wrapped, optimizer = self.accelerator.prepare(trained, optimizer)
        was_training = self.density.training
        begun = clock()
        main = self.accelerator.is_main_process
        batches = self._deal()

        def seconds() -> float:
            passed = clock() - begun
            if self.shares == 1 or self.course.seconds is None:
                return passed
            # all processes must come to the same conclusions
            return float(self._mean_over_processes(torch.tensor(passed, device=self.device)))

        try:
            with FitProgress(self.course, shown=progress and main) as bar:
                while not self.course.ended:
                    rate = learning_rate * self.course.factor(self.steps_done)
                    with multiplying(self.density, precision):
                        loss = self._steps(batches, wrapped, optimizer, learning_rate, seconds, bar)
                    if self.objective is not None and self.objective.after_epoch(self.density, len(self.training)):
                        self.average.restart()
                    with self.average.applied():
                        validation = self._validate()
                        number = len(self.history.epochs) + 1
                        passes = self.rows_seen / len(self.training)
                        record = Epoch(number, self.steps_done, loss, validation, rate, seconds(), passes)
                        settled = not self.moved and (self.objective is None or self.objective.settled)
                        best = self._keep(record)
                    if self.course.marks(record, best):
                        self.marked, self.marked_epoch = self._mark(optimizer), number
                    bar.epoch(validation)
                    stop = callback is not None and callback(record)
                    self.course.validated(record, self.history.best, settled)
                    if stop:
                        self.history.stopped = "callback"
                        return
            self.history.stopped = self.course.ended
            schedule = self.course.schedule
            self.history.schedule = schedule and replace(schedule, compiled=self.history.compiled)
            self.history.improving = self.course.improving
            self.history.judged = self.course.judged
        finally:
            self.density.load_state_dict(self.good)
            self.density.train(was_training)
            if self.objective is not None and self.objective.finish(self.density):
                self.history.best_epoch = 0

    def _steps(
        self,
        batches: Iterator[tuple[Rows, Tensor, int, bool]],
        wrapped: torch.nn.Module,
        optimizer: torch.optim.Optimizer,
        learning_rate: float,
        seconds: Callable[[], float],
        bar: FitProgress,
    ) -> float:
        """The steps up to the next validation; the mean loss on the way."""
        self.density.train()
        total = torch.zeros((), device=self.device)
        begun = self.rows_seen
        for batch, mine, rows, last in batches:
            if self.steps_done == 0:
                with torch.no_grad():
                    self.density.initialize(batch.x, batch.context)
                self.good = self._snapshot()
                self.average.restart()
            if self.course.goes_back and self.marked is not None:
                self.marked()
                self.course.goes_back = False
            while self.course.moves_on and self.objective is not None:
                self._end_phase(self.objective)
                self.course.moves_on -= 1
            progress = self.steps_done / self.course.planned if self.course.planned else 0.0
            for group in optimizer.param_groups:
                group["lr"] = learning_rate * self.course.factor(self.steps_done)
            self.steps_done += 1
            self.rows_seen += rows
            x = self._with_noise(batch.x, progress)
            if self.objective is None:
                losses = wrapped(x, batch.context)
            else:
                losses = wrapped(x, batch.context, batch.labels, mine, progress)
            loss = batch.weighted(losses).mean()
            if not bool(torch.isfinite(loss)):
                raise self._explain(losses, batch)
            optimizer.zero_grad()
            self.accelerator.backward(loss)
            norm = self.accelerator.clip_grad_norm_(self.density.parameters(), self.clip)
            if norm is not None and not bool(torch.isfinite(norm)):
                raise explain_gradient(self.density, self.steps_done)
            optimizer.step()
            self.average.step()
            total += loss.detach() * rows
            passed = seconds()
            self.course.stepped(self.steps_done, passed)
            bar.step(loss.item(), self.steps_done, passed)
            every = self.course.every
            if self.course.ended or (last if every is None else self.steps_done % every == 0):
                break
        return float(self._mean_over_processes(total / (self.rows_seen - begun)))

    def _end_phase(self, objective: Objective) -> None:
        """Move on to the objective's next phase, from the best weights of the last one where they can be told."""
        best = self.history.best_epoch
        behind = self.marked_epoch == best < len(self.history.epochs)
        if objective.comparable and not self.begun and behind and self.marked is not None:
            self.marked()
        objective.next_phase()
        self.marked = None
        self.begun = self.moved = True

    def _mark(self, optimizer: torch.optim.Optimizer) -> Callable[[], None]:
        """Remember weights, their average, and the state of the optimiser; what comes back puts all of it in place again."""
        weights = self._snapshot()
        average = self.average.state()
        state = {
            parameter: {name: value.clone() for name, value in values.items()}
            for parameter, values in optimizer.state.items()
        }

        def put_back() -> None:
            with torch.no_grad():
                self.density.load_state_dict(weights)
                self.average.restore(average)
                for parameter, values in state.items():
                    for name, value in values.items():
                        optimizer.state[parameter][name].copy_(value)

        return put_back

    def _deal(self) -> Iterator[tuple[Rows, Tensor, int, bool]]:
        """One batch after the other, pass after pass, and whether it ends one."""
        while True:
            waiting: tuple[Rows, Tensor, int] | None = None
            for batch in self._pass():
                if waiting is not None:
                    yield *waiting, False
                waiting = batch
            if waiting is None:
                raise ValueError(f"x: expected a stream of {len(self.training):,} rows, got none from it")
            yield *waiting, True

    def _pass(self) -> Iterator[tuple[Rows, Tensor, int]]:
        """The batches of one pass: this process's share, its numbers, and how many rows all shares have."""
        share = slice(self.accelerator.process_index, None, self.shares)
        if isinstance(self.training, Rows):
            order = torch.randperm(len(self.training), generator=self.generator)
            for index in order.tensor_split(self.batches):
                yield self.training.take(index[share]), index[share], len(index)
            return
        for batch in self.training.batches_of(self.batch_size, self.generator):
            numbers = torch.arange(len(batch))[share]
            yield batch.take(numbers).to(self.device), batch.numbers[share], len(batch)

    def _all_rows(self, rows: Rows, objective: Objective) -> Batch:
        """The training rows as an objective is shown them at first: labels that are guesses are left out."""
        numbers = torch.arange(len(rows), device=rows.x.device)
        return Batch(self.density, rows.x, rows.context, rows.labels if objective.holds_labels else None, numbers, 0.0)

    def _with_noise(self, x: Tensor, progress: float) -> Tensor:
        """x with noise that is gone after 70 % of the steps: smooth at first, what the data say at the end."""
        left = 1 - progress / 0.7
        return x + left * self.scale * torch.randn_like(x) if self.noise and left > 0 else x

    def _validate(self) -> float | None:
        """The mean negative lower bound on the validation rows, always with the same draws: -log p where that is known."""
        if self.held_out is None:
            return None
        self.density.eval()
        index = torch.arange(self.accelerator.process_index, len(self.held_out), self.shares)
        total = torch.zeros((), device=self.device)
        weight = len(self.held_out) if self.held_out.weights is None else float(self.held_out.weights.sum())
        with torch.no_grad():
            for batch in self.held_out.take(index).batches(max(self.batch_size, 1024)):
                losses = -self.density.lower_bound(batch.x, batch.context, generator=0)
                if not bool(torch.isfinite(losses).all()):
                    raise self._explain(losses, batch)
                if self.background is not None:
                    losses = before_background(losses, self.background.log_prob(batch.x), len(self.held_out))
                total += batch.weighted(losses).sum()
        return float(self._mean_over_processes(total * self.shares / weight))

    def _explain(self, losses: Tensor, batch: Rows) -> NonFiniteError:
        return explain_loss(self.density, batch, losses, self.steps_done)

    def _keep(self, record: Epoch) -> bool:
        """Write the record down, and keep the weights if they are the best so far; whether they are."""
        self.history.epochs.append(record)
        kept = self.history.best
        best = None if kept is None else kept.validation
        # the mean of losses that are finite may overflow, and is no best then
        better = record.validation is None or record.validation < (math.inf if best is None else best)
        # weights of an earlier phase of an objective are no choice, nor are those of one that validation rows do not judge
        judged = self.objective is None or self.objective.settled or self.objective.comparable
        best_now = better or self.begun or not judged
        if best_now:
            self.history.best_epoch = record.epoch
            self.good = self._snapshot()
        self.begun, self.moved = self.moved, False
        return best_now

    def _mean_over_processes(self, value: Tensor) -> Tensor:
        if self.shares == 1:
            return value
        mean: Tensor = self.accelerator.reduce(value, reduction="mean")
        return mean

    def _snapshot(self) -> dict[str, Tensor]:
        return {name: value.detach().clone() for name, value in self.density.state_dict().items()}


class _WithObjective(torch.nn.Module):
    """The density as a module whose output is the objective: what several processes share the gradients of."""

    def __init__(self, density: Density, objective: Objective) -> None:
        super().__init__()
        self.density = density
        self.objective = objective

    def forward(
        self, x: Tensor, context: Tensor | None, labels: Tensor | None, numbers: Tensor, progress: float
    ) -> Tensor:
        return self.objective(Batch(self.density, x, context, labels, numbers, progress))


def _spread(x: Tensor) -> Tensor:
    """The standard deviation of what is observed in each column of x (rows, *event), gaps left out."""
    if not bool(torch.isnan(x).any()):
        return x.std(dim=0, correction=0)
    return (x - x.nanmean(dim=0)).square().nanmean(dim=0).sqrt().nan_to_num(0.0)


def _decayed_and_not(density: Density, weight_decay: float) -> list[dict[str, object]]:
    """Decay the weight matrices of networks; leave alone biases and whatever transforms and densities hold themselves.

    Means, scales, knots and linear maps have no zero that is simpler than another value.
    """
    weights = {
        id(parameter)
        for module in density.modules()
        if not isinstance(module, (Transform, Density))
        for name, parameter in module.named_parameters(recurse=False)
        if name == "weight" and parameter.dim() > 1
    }
    parameters = [p for p in density.parameters() if p.requires_grad]
    return [
        {"params": [p for p in parameters if id(p) in weights], "weight_decay": weight_decay},
        {"params": [p for p in parameters if id(p) not in weights], "weight_decay": 0.0},
    ]
