"""What a fit to a table came to."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray


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
        epochs, best_epoch, stopped: passes over the training rows, the one whose weights were kept, and why it ended.
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
    epochs: int
    best_epoch: int
    stopped: str
    seconds: dict[str, float]
    options: dict[str, Any]
    set_apart: list[int] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Plain, JSON-ready data: what is infinite or undefined becomes None."""
        plain: dict[str, Any] = _json_ready(asdict(self))
        return plain


def _mean_and_error(values: NDArray[np.float64]) -> tuple[float, float]:
    with np.errstate(invalid="ignore"):
        error = float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else math.nan
        return float(values.mean()), error


def _json_ready(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _json_ready(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_json_ready(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
