"""What compression gives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Compressed:
    """Compressed rows, and what they are made of.

    Attributes:
        data: the file.
        rows: how many.
        described: bytes of the file beside its tape: `container.CONSTANT`, what its columns are, and 8 bytes a block.
        columns: bits of each column by its name, or of each number of an event by its place in the model's order: -log2 of
            the probability that the model gives its values.
        gaps: bits that say which cells have a value; 0 where all have.
        raw: cells that the model cannot hold, and that are kept as they are.
    """

    data: bytes
    rows: int
    described: int
    columns: Mapping[str, float]
    gaps: float
    raw: int

    @property
    def model_bits(self) -> float:
        """-log2 of the probability that the model gives all values."""
        return sum(self.columns.values())
