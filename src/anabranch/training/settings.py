"""The numbers and words that say how a fit goes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch

from anabranch.checks import fraction, instance_of, one_of, positive, positive_int
from anabranch.training.changes import Augment
from anabranch.training.optimiser import Factory
from anabranch.training.precision import PRECISIONS, Precision
from anabranch.training.schedule import Schedule

# passes over the rows, where nothing says how long a fit is
_EPOCHS = 100


@dataclass(frozen=True)
class Settings:
    """What `fit` was told, checked; `fit` says what each is.

    Raises:
        ValueError: a value that is not as described there.
    """

    epochs: int | None
    minutes: float | None
    schedule: Schedule | None
    batch_size: int
    learning_rate: float
    weight_decay: float
    warmup: float
    clip: float
    optimizer: Factory | None
    noise: float
    augment: Augment | None
    average: float
    patience: int | None
    background: bool
    seed: int
    compile: bool | Literal["auto"]
    precision: Precision

    def __post_init__(self) -> None:
        one_of("precision", self.precision, PRECISIONS)
        for name, function in {"optimizer": self.optimizer, "augment": self.augment}.items():
            if function is not None and not callable(function):
                raise ValueError(f"{name}: expected a function or None, got {type(function).__name__}")
        if self.schedule is not None:
            instance_of("schedule", self.schedule, Schedule)
            if self.epochs is not None or self.minutes is not None:
                raise ValueError(
                    "schedule: expected None with epochs or minutes, got one; it says itself when the fit ends"
                )
        by_default = self.epochs is None and self.minutes is None and self.schedule is None
        epochs = _EPOCHS if by_default else self.epochs
        read = {
            "epochs": None if epochs is None else positive_int("epochs", epochs),
            "minutes": None if self.minutes is None else positive("minutes", self.minutes),
            "batch_size": positive_int("batch_size", self.batch_size),
            "learning_rate": positive("learning_rate", self.learning_rate),
            "weight_decay": _positive_or_none("weight_decay", self.weight_decay),
            "warmup": fraction("warmup", self.warmup),
            "clip": positive("clip", self.clip),
            "noise": _positive_or_none("noise", self.noise),
            "average": fraction("average", self.average),
            "patience": None if self.patience is None else positive_int("patience", self.patience),
            "background": bool(self.background),
        }
        for name, value in read.items():
            object.__setattr__(self, name, value)

    def to_dict(self) -> dict[str, Any]:
        """Plain, JSON-ready data, but for `optimizer` and `augment`."""
        return vars(self) | {"schedule": None if self.schedule is None else self.schedule.to_dict()}


def drawn_seed() -> int:
    """A seed from PyTorch's global generator."""
    return int(torch.randint(2**31, ()).item())


def _positive_or_none(name: str, value: float) -> float:
    return 0.0 if value == 0 else positive(name, value)
