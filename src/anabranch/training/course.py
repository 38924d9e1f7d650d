"""The course of a fit: how fast it learns, when it looks at the validation rows, when it ends."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from anabranch.training.history import Epoch
from anabranch.training.plateau import Plateau
from anabranch.training.schedule import Schedule, cosine


class Phases:
    """The steps after which an objective moves on to its next phases.

    Args:
        shares: of the fit, rising: a phase ends at the latest where so much of it is done.

    Example:
        >>> from anabranch.training.course import Phases
        >>> phases = Phases([0.5])
        >>> [phases.passed(step, done=step / 4) for step in range(4)], phases.steps
        ([0, 0, 1, 0], [2])
    """

    def __init__(self, shares: Sequence[float] = ()) -> None:
        self.shares = tuple(shares)
        self.steps: list[int] = []

    @property
    def next_share(self) -> float | None:
        """At which the current phase ends; None of the last one."""
        return self.shares[len(self.steps)] if len(self.steps) < len(self.shares) else None

    def passed(self, step: int, done: float) -> int:
        """How many phases end after this step, when a share of the fit is done."""
        count = 0
        while self.next_share is not None and done >= self.next_share:
            self.steps.append(step)
            count += 1
        return count


class Course(ABC):
    """What the loop asks about every step.

    Attributes:
        every: steps between two validations; None for one after each pass over the rows.
        steps: how many there will be at most, where that is known.
        planned: how many were asked for beforehand; None within a budget of time alone, and where its steps are taken again.
            Objectives are told which share of these is done.
        seconds: how long it may take, where that is limited.
        ended: why it is over, in a word; "" while it goes on.
        goes_back: whether the next step begins with the weights that `marks` had asked to keep. The loop sees to it, and
            sets this to False.
        moves_on: by how many phases the objective shall move on before the next step. The loop sees to it, and sets this
            to 0.
        remembered: the names of all that changes in a fit.
    """

    every: int | None = None
    steps: int | None = None
    planned: int | None = None
    seconds: float | None = None
    ended: str = ""
    goes_back: bool = False
    moves_on: int = 0
    remembered: tuple[str, ...] = ("ended", "goes_back", "moves_on")

    @abstractmethod
    def factor(self, step: int) -> float:
        """The learning rate of a step, from 0, as a share of the highest."""

    @abstractmethod
    def stepped(self, step: int, seconds: float) -> None:
        """So many steps are done, after so many seconds."""

    @abstractmethod
    def validated(self, record: Epoch, best: Epoch | None, settled: bool = True) -> None:
        """This is the last record, and that the one whose weights would be kept now.

        Args:
            record: of the steps since the last one.
            best: of the weights that would be kept.
            settled: whether records count. They do not as long as an objective changes what is fitted.
        """

    def marks(self, record: Epoch, best: bool) -> bool:
        """Whether to remember the weights and the optimiser's state after this record, `best` so far or not."""
        return False

    @property
    def schedule(self) -> Schedule | None:
        """The steps taken, to take them again; None where epochs say it all, or it is not over."""
        return None

    @property
    def improving(self) -> float | None:
        """Nats per row and minute that it gained to the end; None if it ended for want of gains, or that is not known."""
        return None

    @property
    def judged(self) -> bool:
        """Whether there were records enough to tell whether it improves."""
        return True

    @property
    def doing(self) -> str:
        """What it is doing, in words for the progress bar."""
        return ""

    def state(self) -> dict[str, Any]:
        """Where it has come to, as plain data."""
        values = {name: getattr(self, name) for name in self.remembered}
        return {name: dict(vars(value)) if _is_part(value) else value for name, value in values.items()}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from there."""
        for name, value in state.items():
            if _is_part(part := getattr(self, name)):
                vars(part).update(value)
            else:
                setattr(self, name, value)


def _is_part(value: Any) -> bool:
    return isinstance(value, (Phases, Plateau))


class ByEpochs(Course):
    """So many passes over the rows, with a half cosine over all of them; fewer if the validation loss gets no better."""

    remembered = (*Course.remembered, "_phases")

    def __init__(
        self, epochs: int, batches: int, warmup: float, patience: int | None, phases: Sequence[float] = ()
    ) -> None:
        self.epochs = epochs
        self.steps: int = epochs * batches
        self.planned = self.steps
        self.warmup = max(1, round(warmup * self.steps))
        self.patience = patience
        self._phases = Phases(phases)
        self.stepped(0, 0.0)

    def factor(self, step: int) -> float:
        return cosine(step, self.steps, self.warmup)

    def stepped(self, step: int, seconds: float) -> None:
        # so that the last step, at least, is one of the last phase
        self.moves_on = self._phases.passed(step, (step + 1) / self.steps)

    def validated(self, record: Epoch, best: Epoch | None, settled: bool = True) -> None:
        waited = record.epoch - (0 if best is None else best.epoch)
        if settled and record.validation is not None and self.patience is not None and waited >= self.patience:
            self.ended = "patience"
        elif record.epoch >= self.epochs:
            self.ended = "epochs"


class Repeated(Course):
    """The steps of a schedule; an objective with more phases than the first fit moves on at their shares of the steps."""

    def __init__(self, schedule: Schedule, phases: Sequence[float] = ()) -> None:
        if len(schedule.phases) != len(phases):
            schedule = replace(schedule, phases=tuple(int(share * schedule.steps) for share in phases))
        self._schedule = schedule
        self.every = schedule.every
        self.steps: int = schedule.most or schedule.steps
        self.planned = schedule.most
        self.moves_on = schedule.phases.count(0)
        self._last_phase = max(schedule.phases, default=0)

    def factor(self, step: int) -> float:
        return self._schedule.factor(step)

    def stepped(self, step: int, seconds: float) -> None:
        self.moves_on = self._schedule.phases.count(step)
        if step == self._schedule.begins_to_fall:
            self.goes_back = self._schedule.back_to is not None
        if step >= self._schedule.steps:
            self.ended = "schedule"

    def validated(self, record: Epoch, best: Epoch | None, settled: bool = True) -> None:
        pass

    def marks(self, record: Epoch, best: bool) -> bool:
        # where a phase ends, the loop may go back to its best weights of before the fall
        before = min(self._last_phase, self._schedule.begins_to_fall - 1)
        return record.step == self._schedule.back_to or (best and record.step <= before)

    @property
    def schedule(self) -> Schedule:
        return self._schedule
