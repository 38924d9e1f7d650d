"""How long and how fast a fit goes where nobody says."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from anabranch.training.muon import Muon
from anabranch.training.optimiser import Factory
from anabranch.training.schedule import Schedule

# to spend on the fit of a table or of images, where nothing is said
MINUTES = 5.0


@dataclass(frozen=True)
class Pace:
    """Epochs, batch size and speed of a fit to so many rows: about as many steps whatever their number, or a budget of time.

    Args:
        steps: about so many, where no time is given,
        fewest: but at least so many epochs,
        most: and at most so many.
        batch: rows in one step, at most; small tables take an eighth of their rows, but 32.
        rate: the highest learning rate.
        decay: of weights.
        average: of weights, as in `fit`.
        steady: the same, of a fit within a budget of time, whose rate is constant most of it.
        patience: epochs without a better validation loss before it ends: a quarter of all, but at least so many.
        optimizer: as in `fit`, which the rate and the decay are for; None for AdamW.

    Example:
        >>> from anabranch.training.pace import Pace
        >>> Pace(steps=2_500).epochs_and_batch(80_000)
        (16, 512)
        >>> Pace(steps=2_500).options(rows=400, epochs=8)["patience"]
        4
    """

    steps: int
    fewest: int = 4
    most: int = 60
    batch: int = 512
    rate: float = 5e-3
    decay: float = 1e-5
    average: float = 0.0
    steady: float = 0.99
    patience: int = 4
    optimizer: Factory | None = None

    def epochs_and_batch(self, rows: int) -> tuple[int, int]:
        """Epochs, and rows in one step at most, for so many training rows."""
        batch = self._batch(rows)
        return self._epochs(rows, batch), batch

    def options(
        self,
        rows: int,
        epochs: int | None = None,
        batch_size: int | None = None,
        learning_rate: float | None = None,
        minutes: float | None = None,
        schedule: Schedule | None = None,
    ) -> dict[str, Any]:
        """What `fit` is told: what is given here, and the rest by default.

        Args:
            rows: to fit.
            epochs: if they are not to follow from the rows.
            batch_size: the most for a table large enough.
            learning_rate: the highest.
            minutes: to spend, at most, on as many epochs as that allows if none are given.
            schedule: the steps of an earlier fit within a budget.
        """
        batch = self._batch(rows, batch_size)
        how: dict[str, Any] = {
            "batch_size": batch,
            "learning_rate": self.rate if learning_rate is None else learning_rate,
            "weight_decay": self.decay,
            "optimizer": self.optimizer,
        }
        if minutes is not None or schedule is not None:
            return how | {"epochs": epochs, "minutes": minutes, "schedule": schedule, "average": self.steady}
        epochs = self._epochs(rows, batch) if epochs is None else epochs
        return how | {"epochs": epochs, "average": self.average, "patience": max(self.patience, epochs // 4)}

    def _batch(self, rows: int, most: int | None = None) -> int:
        return min(self.batch if most is None else most, max(32, rows // 8))

    def _epochs(self, rows: int, batch: int) -> int:
        return min(max(round(self.steps / math.ceil(rows / batch)), self.fewest), self.most)


# of flows
FLOWS = Pace(steps=2_500, most=50)
# of any order, which is wide: small steps, and a strong decay (measured in docs/tables.md)
ANY_ORDER = Pace(steps=2_500, most=100, batch=256, rate=2e-3, decay=0.1, average=0.99)
# of autoencoders, which learn more by Muon in as many steps (docs/tables.md, "Hidden cells")
AUTOENCODERS = Pace(steps=2_500, most=100, batch=256, rate=2e-2, decay=0.1, average=0.99, optimizer=Muon)
