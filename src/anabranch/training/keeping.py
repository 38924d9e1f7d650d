"""Which weights a fit keeps, and which it goes back to."""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor

from anabranch.objectives import Objective
from anabranch.training.history import Epoch, History
from anabranch.training.weights import Mark, Weights


class Kept:
    """The best weights so far, by the validation rows, and those that a course may go back to.

    Args:
        weights: of the density in training.
        history: of the fit, where records are written down.
        objective: of the fit.

    Attributes:
        best: the weights that the density will have in the end.
    """

    def __init__(self, weights: Weights, history: History, objective: Objective | None) -> None:
        self.weights, self.history, self.objective = weights, history, objective
        self.best: dict[str, Tensor] = weights.copied()
        self._marked: Mark | None = None
        self._marked_epoch = 0
        # begun: a phase of the objective has begun, and has no record yet of steps that were all its own; moved: it has
        # begun since the last record
        self._begun, self._moved = False, False

    @property
    def settled(self) -> bool:
        """Whether the steps since the last record count: they do not while an objective changes what is fitted."""
        return not self._moved and (self.objective is None or self.objective.settled)

    def start(self) -> None:
        """Keep the weights that the first step begins with."""
        self.best = self.weights.copied()
        self.weights.average.restart()

    def record(self, record: Epoch) -> bool:
        """Write the record down, and keep the weights if they are the best so far; whether they are."""
        self.history.epochs.append(record)
        kept = self.history.best
        best = None if kept is None else kept.validation
        # the mean of losses that are finite may overflow, and is no best then
        better = record.validation is None or record.validation < (math.inf if best is None else best)
        # weights of an earlier phase of an objective are no choice, nor are those of one that validation rows do not judge
        judged = self.objective is None or self.objective.settled or self.objective.comparable
        best_now = better or self._begun or not judged
        if best_now:
            self.history.best_epoch = record.epoch
            self.best = self.weights.copied()
        self._begun, self._moved = self._moved, False
        return best_now

    def mark(self, epoch: int) -> None:
        """Remember the weights after this epoch, and all that goes with them."""
        self._marked, self._marked_epoch = self.weights.mark(), epoch

    def go_back(self) -> bool:
        """Go on from the mark; whether there is one."""
        if self._marked is not None:
            self.weights.put_back(self._marked)
        return self._marked is not None

    def end_phase(self, objective: Objective) -> None:
        """Move on to the objective's next phase, from the best weights of the last one where they can be told."""
        best = self.history.best_epoch
        behind = self._marked_epoch == best < len(self.history.epochs)
        if objective.comparable and not self._begun and behind:
            self.go_back()
        objective.next_phase()
        self._marked = None
        self._begun = self._moved = True

    def state(self) -> dict[str, Any]:
        """All that it remembers."""
        return {name: getattr(self, name) for name in ("best", "_marked", "_marked_epoch", "_begun", "_moved")}

    def restore(self, state: dict[str, Any]) -> None:
        """Remember that."""
        vars(self).update(state)
