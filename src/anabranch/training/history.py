"""What happened in a fit."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from anabranch.training.schedule import Schedule


@dataclass(frozen=True)
class Epoch:
    """One pass over the training rows; in a fit within a budget of time, the steps between two validations.

    Attributes:
        epoch: its number, from 1.
        step: optimiser steps so far.
        loss: mean training loss over the epoch, nats per row.
        validation: mean loss on the validation rows after it, nats per row; None without validation rows.
        learning_rate: at its first step.
        seconds: since the fit began.
        passes: over the training rows so far.
    """

    epoch: int
    step: int
    loss: float
    validation: float | None
    learning_rate: float
    seconds: float
    passes: float

    def __post_init__(self) -> None:
        # a file may say anything
        for name, value in vars(self).items():
            if not (isinstance(value, (int, float)) or (name == "validation" and value is None)):
                raise ValueError(f"{name}: expected a number, got {value!r}")


@dataclass
class History:
    """The record of a fit.

    Attributes:
        epochs: one `Epoch` each.
        best_epoch: the number of the epoch whose weights the density now has; 0 for those it began with, or others that the
            objective went back to (`Annihilation` whose search was cut short).
        stopped: why it ended: "epochs"; "patience", the validation loss got no better; "callback"; within a budget
            "plateau", it got no better, or "minutes", the time was used; "schedule", of one that was given; with `keep`
            "interrupted", by Ctrl-C, or "non-finite", by a loss that was NaN or infinite; "" if an exception ended it.
        rows, validation_rows: how many rows were trained on, and held out for early stopping.
        seed: of the split and the order of the rows.
        compiled: whether the density was compiled for it.
        graphs: how many CUDA graphs its steps were recorded as; 0 if they ran one operation at a time.
        schedule: the steps of a fit within a budget, for `fit(schedule=...)` to take them again; None for one by epochs, and
            where something cut it short.
        improving: how much the validation loss still fell where the budget ended the fit, in nats per row and minute, over
            the last quarter of the steps at a constant rate; None where it no longer fell, and for fits by epochs.
        judged: False where the budget ended it so soon that nobody can tell whether it still improved.
    """

    rows: int
    validation_rows: int
    seed: int
    epochs: list[Epoch] = field(default_factory=list)
    best_epoch: int = 0
    stopped: str = ""
    compiled: bool = False
    graphs: int = 0
    schedule: Schedule | None = None
    improving: float | None = None
    judged: bool = True

    @property
    def best(self) -> Epoch | None:
        """The epoch whose weights the density has; None where those are of none."""
        return self.epochs[self.best_epoch - 1] if self.best_epoch else None

    @property
    def best_loss(self) -> float:
        """The loss of the weights kept: on the validation rows, or on the training rows where there are none.

        NaN where those are of no epoch.
        """
        chosen = self.best
        if chosen is None:
            return math.nan
        return chosen.loss if chosen.validation is None else chosen.validation

    def to_dict(self) -> dict[str, Any]:
        """Plain, JSON-ready data."""
        return asdict(self) | {"schedule": None if self.schedule is None else self.schedule.to_dict()}

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> History:
        """From what `to_dict` gave.

        Raises:
            ValueError: a best epoch that is none of the epochs, or an epoch of other things than numbers.
        """
        schedule = plain["schedule"]
        if not 0 <= plain["best_epoch"] <= len(plain["epochs"]):
            raise ValueError(f"best_epoch: expected one of {len(plain['epochs'])}, got {plain['best_epoch']!r}")
        return cls(
            **{
                **plain,
                "epochs": [Epoch(**epoch) for epoch in plain["epochs"]],
                "schedule": None if schedule is None else Schedule.from_dict(schedule),
            }
        )
