"""A part of the rows of a fit: those to train on, or to judge by."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from anabranch.checks import rows_at_once
from anabranch.densities import Density
from anabranch.training.rows import Rows, read_rows
from anabranch.training.splitting import hold_out, stratified


@dataclass
class Part:
    """Rows by their places among others, which stay where they are: batches are gathered as they are taken.

    Args:
        rows: of which it is a part.
        places: of its rows, in its order, on their device; None for all of them.
    """

    rows: Rows
    places: Tensor | None = None

    def __len__(self) -> int:
        return len(self.rows) if self.places is None else len(self.places)

    @property
    def device(self) -> torch.device:
        """Where the rows are."""
        return self.rows.x.device

    @property
    def weights(self) -> Tensor | None:
        """Those of its rows, if there are any."""
        weights = self.rows.weights
        return weights if weights is None or self.places is None else weights[self.places]

    @property
    def labels(self) -> Tensor | None:
        """Those of its rows, if there are any."""
        labels = self.rows.labels
        return labels if labels is None or self.places is None else labels[self.places]

    @property
    def gaps(self) -> bool:
        """Whether there is a NaN in x."""
        return self.rows.x.is_floating_point() and any(batch.gaps for batch in self.batches())

    def take(self, index: Tensor) -> Rows:
        """Some of its rows."""
        return self.rows.take(index if self.places is None else self.places[index])

    def first(self, count: int) -> Rows:
        """So many of its rows at most."""
        return self.take(torch.arange(min(count, len(self)), device=self.device))

    def batches(self) -> Iterator[Rows]:
        """All of its rows, in order, a few million numbers at a time."""
        for index in torch.arange(len(self), device=self.device).split(rows_at_once(self.rows.x)):
            yield self.take(index)

    def all(self) -> Rows:
        """All of its rows together, in memory."""
        return self.rows.read() if self.places is None else self.rows.take(self.places)

    def split(self, validation: float, generator: torch.Generator) -> tuple[Part, Part | None]:
        """Training rows and validation rows, at random; with labels the same fraction of every class, which has one row to
        train on at least.

        Raises:
            ValueError: too few rows for the fraction.
        """
        if validation == 0:
            return self, None
        held_out = round(validation * len(self))
        if held_out < 1 or held_out >= len(self):
            raise ValueError(
                f"validation: expected some of the rows on both sides, but {validation:g} of {len(self)} rows is "
                f"{held_out}; give more rows, or validation=0"
            )
        order = torch.randperm(len(self), generator=generator).to(self.device)
        labels = self.labels
        out, rest = hold_out(stratified(order, labels), slice(held_out), labels)
        if len(out) == 0:
            raise ValueError(
                "validation: expected rows to hold out, but each class needs one to train on, which leaves none of "
                f"{held_out}; give more rows, or validation=0"
            )
        if self.places is not None:
            out, rest = self.places[out], self.places[rest]
        return Part(self.rows, rest), Part(self.rows, out)


def weighted_part(rows: Rows) -> Part:
    """The rows whose weight is above 0."""
    if rows.weights is None or bool((rows.weights > 0).all()):
        return Part(rows)
    return Part(rows, (rows.weights > 0).nonzero().flatten())


def read_validation(density: Density, validation: Any, weights: Any) -> Part:
    """Read and check the user's own validation rows, and their weights.

    Raises:
        ValueError: as for `read_rows` and `Rows.with_weights`; no rows; a tuple that is not of rows and contexts.
    """
    values, context = validation, None
    if isinstance(validation, tuple):
        if len(validation) != 2:
            raise ValueError(f"validation: expected a tuple of rows and contexts, got one of {len(validation)}")
        values, context = validation
    rows = read_rows(density, values, context, name="validation")
    if len(rows) == 0:
        raise ValueError("validation: expected at least one row, got none; give 0 to go without")
    return weighted_part(rows if weights is None else rows.with_weights(weights, name="validation_weights"))
