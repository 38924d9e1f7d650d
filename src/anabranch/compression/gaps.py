"""Which cells have a value: told by frequencies of the table itself, since a model conditions on what is there."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from anabranch.compression.coder import States
from anabranch.compression.tape import Tape, quantised

# a value, null, NaN, and a value kept beside the tape
_KINDS = 4
Counts = NDArray[np.int64]


class Gaps:
    """Frequencies of the states of each column given that of the last column before it that has several.

    Columns whose cells all have one state cost nothing.

    Args:
        counts: (columns, states before, states), how many rows.

    Raises:
        ValueError: counts of another shape, or below 0.
    """

    def __init__(self, counts: Counts) -> None:
        if counts.ndim != 3 or counts.shape[1:] != (_KINDS, _KINDS) or bool((counts < 0).any()):
            raise ValueError(f"counts: expected (columns, {_KINDS}, {_KINDS}) of at least 0, got {counts.shape}")
        self.counts = counts

    @classmethod
    def of(cls, states: States) -> Gaps:
        """The frequencies of a table's states (rows, columns)."""
        counts = np.zeros((states.shape[1], _KINDS, _KINDS), dtype=np.int64)
        before = np.zeros(len(states), dtype=np.uint8)
        for i, column in enumerate(states.T):
            np.add.at(counts[i], (before, column), 1)
            before = column if _several(counts[i]) else before
        return cls(counts)

    @property
    def bits(self) -> float:
        """What the states cost."""
        rows = self.counts.sum(axis=2, keepdims=True)
        seen = self.counts > 0
        share = np.where(seen, self.counts / np.maximum(rows, 1), 1.0)
        costs = -(self.counts * np.log2(share)).sum(axis=(1, 2))
        return float(sum(cost for cost, counts in zip(costs, self.counts, strict=True) if _several(counts)))

    def code(self, tape: Tape, states: States | None, rows: int) -> States:
        """Write the states of rows (rows, columns), or read as many."""
        result = np.zeros((rows, len(self.counts)), dtype=np.uint8)
        before = np.zeros(rows, dtype=np.uint8)
        for i, counts in enumerate(self.counts):
            if _several(counts):
                wanted = None if states is None else states[:, i].astype(np.int64)
                result[:, i] = tape.code(quantised(counts[before].astype(np.float64)), wanted)
                before = result[:, i]
            else:
                result[:, i] = counts.sum(axis=0).argmax()
        return result

    def to_json(self) -> list[Any]:
        """Plain lists; of a column of one state its number alone."""
        return [c.tolist() if _several(c) else int(c.sum(axis=0).argmax()) for c in self.counts]

    @classmethod
    def from_json(cls, about: list[Any]) -> Gaps:
        """The inverse of `to_json`."""
        counts = np.zeros((len(about), _KINDS, _KINDS), dtype=np.int64)
        for i, one in enumerate(about):
            if isinstance(one, int):
                counts[i, 0, one] = 1
            else:
                counts[i] = one
        return cls(counts)


def _several(counts: Counts) -> bool:
    return int((counts.sum(axis=0) > 0).sum()) > 1
