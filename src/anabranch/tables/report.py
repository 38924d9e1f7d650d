"""What a fit to a table came to."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from anabranch.training.outcome import Score, json_ready


@dataclass(frozen=True)
class Report:
    """The record of a fit to a table.

    Attributes:
        model: what was fitted, in words.
        parameters: how many numbers it learned.
        columns, given: names of the modelled and of the given columns.
        rows: how many rows the table had, and "training", "validation" and "test" rows among them.
        seed: of the split, the initial weights and the order of rows.
        unit: of the scores, in words: which columns have a density, and which a probability.
        scores: held-out log-likelihoods: of the model, and of two simple densities.
        epochs, best_epoch: passes over the training rows, and those after which the weights were kept, parts of a pass too.
        steps, best_step: the same in steps of the optimiser.
        stopped: why it ended, as in `training.History`.
        improving: nats per row and minute by which the validation loss still fell when the budget of time ended the fit;
            None where it no longer fell, and for fits by epochs.
        judged: False where the budget ended the fit so soon that nobody can tell whether it still improved.
        schedule: the steps of a fit within a budget, as plain data: `fit_table(schedule=report.schedule)` takes them again.
        seconds: spent on the fit and on the baselines.
        options: the arguments of the fit.
        set_apart: numbers of the rows that were neither fitted nor counted, for a wild value that they hold.
    """

    model: str
    parameters: int
    columns: list[str]
    given: list[str]
    rows: dict[str, int]
    seed: int
    unit: str
    scores: list[Score]
    epochs: float
    best_epoch: float
    steps: int
    best_step: int
    stopped: str
    improving: float | None
    judged: bool
    schedule: dict[str, Any] | None
    seconds: dict[str, float]
    options: dict[str, Any]
    set_apart: list[int] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Plain, JSON-ready data: what is infinite or undefined becomes None."""
        plain: dict[str, Any] = json_ready(asdict(self))
        return plain
