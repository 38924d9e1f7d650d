"""What a fit came to, for people: held-out scores beside simple densities, and how the fit went."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anabranch.training.history import History


@dataclass(frozen=True)
class Score:
    """Held-out log-likelihood of one density, in nats per row and in the data's own units.

    Attributes:
        name: of the density.
        mean, standard_error: of log p over the held-out rows.
        gain, gain_standard_error: how much higher the fitted model's log p is than this one's, over the same rows, paired;
            0 for the model itself.
    """

    name: str
    mean: float
    standard_error: float
    gain: float
    gain_standard_error: float

    @classmethod
    def of(cls, name: str, log_prob: NDArray[np.float64], model_log_prob: NDArray[np.float64]) -> Score:
        """From log p of each held-out row, this density's and the model's."""
        with np.errstate(invalid="ignore"):
            gain = np.where(log_prob == model_log_prob, 0.0, model_log_prob - log_prob)
        return cls(name, *_mean_and_error(log_prob), *_mean_and_error(gain))


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The record of a fit, to whatever it was: what the reports of tables and of images share.

    Attributes:
        model: what was fitted, in words.
        parameters: how many numbers it learned.
        rows: how many rows (images) there were, and "training", "validation" and "test" rows among them.
        seed: of the split, the initial weights and the order of rows.
        unit: of the scores, in words.
        scores: held-out log-likelihoods: of the model, and of simple densities.
        epochs, best_epoch: passes over the training rows, and those after which the weights were kept, parts of a pass too.
        steps, best_step: the same in steps of the optimiser.
        stopped: why it ended, as in `training.History`.
        improving: nats per row and minute by which the validation loss still fell when the budget of time ended the fit;
            None where it no longer fell, and for fits by epochs.
        judged: False where the budget ended the fit so soon that nobody can tell whether it still improved.
        schedule: the steps of a fit within a budget, as plain data, which `fit(schedule=...)` takes again.
        seconds: spent on the fit and on the baselines.
        options: the arguments of the fit.
    """

    model: str
    parameters: int
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

    def to_dict(self) -> dict[str, Any]:
        """Plain, JSON-ready data: what is infinite or undefined becomes None."""
        plain: dict[str, Any] = json_ready(asdict(self))
        return plain


def outcome(history: History) -> dict[str, Any]:
    """What a report says of the fit's course."""
    last, best = (history.epochs[-1] if history.epochs else None), history.best
    return {
        "epochs": 0 if last is None else _whole(last.passes),
        "best_epoch": 0 if best is None else _whole(best.passes),
        "steps": 0 if last is None else last.step,
        "best_step": 0 if best is None else best.step,
        "stopped": history.stopped,
        "improving": history.improving,
        "judged": history.judged,
        "schedule": None if history.schedule is None else history.schedule.to_dict(),
    }


def course_in_words(report: Mapping[str, Any], row: str = "row") -> str:
    """How a fit went and why it ended, from a report as plain data: a line for people.

    Args:
        report: with what `outcome` gives, and the options of the fit.
        row: the word for one row of the data.

    Example:
        >>> from anabranch.training.outcome import course_in_words
        >>> report = {"epochs": 31.5, "best_epoch": 30.0, "steps": 6300, "best_step": 6000, "stopped": "plateau"}
        >>> course_in_words({**report, "improving": None, "options": {"minutes": 5.0}})
        '6,300 steps (31.5 epochs), best after 6,000; ended because it no longer improved'
    """
    steps, best = report["steps"], report["best_step"]
    stopped, improving, minutes = report["stopped"], report["improving"], report["options"].get("minutes")
    words = f"{steps:,} steps ({report['epochs']:.4g} epoch{'s' * (report['epochs'] != 1)}), best after {best:,}; "
    budget = "" if minutes is None else f"its budget of {minutes:g} minute{'s' * (minutes != 1)}"
    if improving is not None:
        end = budget if stopped == "minutes" else "its number of epochs"
        return words + (
            f"ended by {end} while it still improved, by {improving:.2g} nats per {row} and minute: "
            + ("more epochs give more" if stopped == "epochs" else f"more minutes, such as {3 * minutes:g}, give more")
        )
    if not report.get("judged", True) and stopped == "minutes":
        return words + f"ended by {budget}, too soon to tell whether it still improved: more minutes give more"
    if stopped == "epochs" and best == steps:
        return words + "the last epoch was the best: more epochs may give more"
    return words + _ENDS.get(stopped, "").format(budget=budget)


_ENDS = {
    "epochs": "ended by its number of epochs",
    "patience": "ended because it no longer improved",
    "plateau": "ended because it no longer improved",
    "minutes": "ended by {budget}, when it hardly improved any more",
    "callback": "ended by its callback",
    "schedule": "by the schedule of another fit",
    "interrupted": "interrupted",
    "non-finite": "ended because the loss became infinite or NaN: lower the learning rate",
}


def _whole(passes: float) -> float:
    return int(passes) if passes == int(passes) else passes


def _mean_and_error(values: NDArray[np.float64]) -> tuple[float, float]:
    with np.errstate(invalid="ignore"):
        error = float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else math.nan
        return float(values.mean()), error


def json_ready(value: Any) -> Any:
    """Plain data in which what is infinite or undefined is None."""
    if isinstance(value, dict):
        return {key: json_ready(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [json_ready(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
