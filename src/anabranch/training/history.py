"""What happened in a fit."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class Epoch:
    """One pass over the training rows.

    Attributes:
        epoch: its number, from 1.
        step: optimiser steps so far.
        loss: mean training loss over the epoch, nats per row.
        validation: mean loss on the validation rows after it, nats per row; None without validation rows.
        learning_rate: at its first step.
        seconds: since the fit began.
    """

    epoch: int
    step: int
    loss: float
    validation: float | None
    learning_rate: float
    seconds: float


@dataclass
class History:
    """The record of a fit.

    Attributes:
        epochs: one `Epoch` each.
        best_epoch: the number of the epoch whose weights the density now has; 0 for those it began with, or others that the
            objective went back to (`Annihilation` whose search was cut short).
        stopped: why it ended: "epochs", "patience", or "callback".
        rows, validation_rows: how many rows were trained on, and held out for early stopping.
        seed: of the split and the order of the rows.
        compiled: whether the density was compiled for it.
    """

    rows: int
    validation_rows: int
    seed: int
    epochs: list[Epoch] = field(default_factory=list)
    best_epoch: int = 0
    stopped: str = ""
    compiled: bool = False

    @property
    def best_loss(self) -> float:
        """The loss of the weights kept: on the validation rows, or on the training rows where there are none.

        NaN where those are of no epoch.
        """
        if self.best_epoch == 0:
            return math.nan
        chosen = self.epochs[self.best_epoch - 1]
        return chosen.loss if chosen.validation is None else chosen.validation

    def to_dict(self) -> dict[str, Any]:
        """Plain, JSON-ready data."""
        return asdict(self)
