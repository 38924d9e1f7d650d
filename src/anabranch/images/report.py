"""What a fit to images came to."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from anabranch.training.outcome import Score, json_ready


@dataclass(frozen=True)
class ImageReport:
    """The record of a fit to images.

    Attributes:
        model: what was fitted, in words.
        parameters: how many numbers it learned.
        pixels: what the images hold, in words.
        dimensions: how many numbers an image has.
        classes: the labels that the density is conditioned on, in words, or None.
        rows: how many images there were, and "training", "validation" and "test" images among them.
        seed: of the split, the initial weights and the order of images.
        unit: of the scores, in words.
        scores: held-out log-likelihoods of an image: of the model, of independent pixels, and minus the size that zstd
            gives the held-out images as one block, divided among them.
        bits_per_dimension: the same, by name: -log2 p / dimensions.
        epochs, best_epoch, steps, best_step, stopped, improving, judged, schedule: as in `tables.Report`.
        seconds: spent on the fit and on the baselines.
        options: the arguments of the fit.
    """

    model: str
    parameters: int
    pixels: str
    dimensions: int
    classes: list[str] | None
    rows: dict[str, int]
    seed: int
    unit: str
    scores: list[Score]
    bits_per_dimension: dict[str, float]
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
