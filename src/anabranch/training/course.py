"""The course of a fit: how fast it learns, when it looks at the validation rows, when it ends."""

from __future__ import annotations

from abc import ABC, abstractmethod

from anabranch.training.history import Epoch
from anabranch.training.schedule import Schedule, cosine


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
    """

    every: int | None = None
    steps: int | None = None
    planned: int | None = None
    seconds: float | None = None
    ended: str = ""
    goes_back: bool = False

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
    def state(self) -> str:
        """What it is doing, in a word for the progress bar."""
        return ""


class ByEpochs(Course):
    """So many passes over the rows, with a half cosine over all of them; fewer if the validation loss gets no better."""

    def __init__(self, epochs: int, batches: int, warmup: float, patience: int | None) -> None:
        self.epochs = epochs
        self.steps: int = epochs * batches
        self.planned = self.steps
        self.warmup = max(1, round(warmup * self.steps))
        self.patience = patience

    def factor(self, step: int) -> float:
        return cosine(step, self.steps, self.warmup)

    def stepped(self, step: int, seconds: float) -> None:
        pass

    def validated(self, record: Epoch, best: Epoch | None, settled: bool = True) -> None:
        waited = record.epoch - (0 if best is None else best.epoch)
        if record.validation is not None and self.patience is not None and waited >= self.patience:
            self.ended = "patience"
        elif record.epoch >= self.epochs:
            self.ended = "epochs"


class Repeated(Course):
    """The steps of a schedule."""

    def __init__(self, schedule: Schedule) -> None:
        self._schedule = schedule
        self.every = schedule.every
        self.steps: int = schedule.most or schedule.steps
        self.planned = schedule.most

    def factor(self, step: int) -> float:
        return self._schedule.factor(step)

    def stepped(self, step: int, seconds: float) -> None:
        if step == self._schedule.begins_to_fall:
            self.goes_back = self._schedule.back_to is not None
        if step >= self._schedule.steps:
            self.ended = "schedule"

    def validated(self, record: Epoch, best: Epoch | None, settled: bool = True) -> None:
        pass

    def marks(self, record: Epoch, best: bool) -> bool:
        return record.step == self._schedule.back_to

    @property
    def schedule(self) -> Schedule:
        return self._schedule
