"""What a fit to images came to."""

from __future__ import annotations

from dataclasses import dataclass

from anabranch.training.outcome import Outcome


@dataclass(frozen=True, kw_only=True)
class ImageReport(Outcome):
    """The record of a fit to images, beside what every `Outcome` says.

    The scores are of an image: of the model, of independent pixels, and minus the size that zstd gives the held-out images
    as one block, divided among them.

    Attributes:
        pixels: what the images hold, in words.
        dimensions: how many numbers an image has.
        classes: the labels that the density is conditioned on, in words, or None.
        bits_per_dimension: the scores by name, as -log2 p / dimensions.
    """

    pixels: str
    dimensions: int
    classes: list[str] | None
    bits_per_dimension: dict[str, float]
