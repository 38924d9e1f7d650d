"""The rows of a fit: read, checked, split, and dealt out in batches."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from anabranch.checks import finite_rows, matching, read_tensor, reference_tensor
from anabranch.densities import Density, Mixture
from anabranch.densities.events import matching_event, read_event, whole_rows


@dataclass
class Rows:
    """Rows of data with their contexts, their numbers in what the user gave, their labels, -1 where there is none, and
    their weights, of mean one.
    """

    x: Tensor
    context: Tensor | None
    numbers: Tensor
    labels: Tensor | None = None
    weights: Tensor | None = None

    def __len__(self) -> int:
        return len(self.x)

    @property
    def gaps(self) -> bool:
        """Whether there is a NaN in x."""
        return self.x.is_floating_point() and bool(torch.isnan(self.x).any())

    def take(self, index: Tensor) -> Rows:
        """Some of the rows."""
        context = None if self.context is None else self.context[index]
        labels = None if self.labels is None else self.labels[index]
        weights = None if self.weights is None else self.weights[index]
        return Rows(self.x[index], context, self.numbers[index], labels, weights)

    def to(self, device: torch.device, wait: bool = True) -> Rows:
        """The rows on a device.

        Args:
            device: where to.
            wait: whether to wait for the copy; otherwise rows of the host are copied from memory of which the device can
                read by itself.
        """

        def moved(value: Tensor) -> Tensor:
            if wait or device.type != "cuda" or value.device.type != "cpu":
                return value.to(device)
            return value.pin_memory().to(device, non_blocking=True)

        others = [None if value is None else moved(value) for value in (self.context, self.labels, self.weights)]
        context, labels, weights = others
        return Rows(moved(self.x), context, moved(self.numbers), labels, weights)

    def weighted(self, losses: Tensor) -> Tensor:
        """Losses (rows), each times the weight of its row."""
        return losses if self.weights is None else losses * self.weights

    def with_weights(self, weights: Any, name: str = "weights") -> Rows:
        """Those of the rows that have a weight above 0, with weights of mean one.

        Raises:
            ValueError: weights of another number than the rows, below 0, not finite, or all 0.
        """
        like = self.x if self.x.is_floating_point() else torch.zeros(())
        values = read_tensor(name, weights, like).detach().to(like)
        if values.shape != (len(self),):
            raise ValueError(f"{name}: expected one for each of the {len(self)} rows, got shape {tuple(values.shape)}")
        wrong = (~(torch.isfinite(values) & (values >= 0))).nonzero().flatten()
        if len(wrong):
            row = int(wrong[0])
            raise ValueError(f"{name}: expected finite numbers of at least 0, got {float(values[row])} in row {row}")
        some = (values > 0).nonzero().flatten()
        if len(some) == 0:
            raise ValueError(f"{name}: expected some above zero, got none")
        kept = self.take(some)
        # divided by the largest first, or their sum might overflow
        values = values[some] / values[some].max()
        kept.weights = values / values.mean()
        return kept

    def batches(self, size: int) -> Iterator[Rows]:
        """All rows, in order, in batches of at most `size`."""
        for begin in range(0, len(self), size):
            yield self.take(torch.arange(begin, min(begin + size, len(self)), device=self.x.device))


def read_rows(density: Density, x: Any, context: Any, name: str = "x") -> Rows:
    """Read and check rows for a density.

    Raises:
        ValueError: shapes or dtypes that do not fit, x and context of different length, a value that is not finite.
    """
    like = reference_tensor(density)
    values = read_event(name, x, density, like).detach()
    if values.dim() != len(density.event_shape) + 1:
        wanted = ", ".join(["rows", *map(str, density.event_shape)])
        raise ValueError(f"{name}: expected shape ({wanted}), got {tuple(values.shape)}")
    matching_event(name, values, density, _on_device_of(values, like))
    finite_rows(name, values, gaps=density.gaps)
    whole_rows(name, values, density)
    given = None
    if density.context_shape is not None:
        if context is None:
            raise ValueError(f"context: expected shape (rows, {', '.join(map(str, density.context_shape))}), got None")
        given = read_tensor("context", context, like).detach()
        matching("context", given, density.context_shape, _on_device_of(given, like))
        if given.shape[:1] != values.shape[:1] or given.dim() != len(density.context_shape) + 1:
            raise ValueError(
                f"context: expected one for each of the {len(values)} rows, got shape {tuple(given.shape)}"
            )
        finite_rows("context", given)
    elif context is not None:
        raise ValueError(f"context: expected None, since this {type(density).__name__} takes none, got one")
    return Rows(values, given, torch.arange(len(values), device=values.device))


def read_labels(density: Density, labels: Any, rows: int, name: str = "labels") -> Tensor:
    """Read and check the labels of rows: the component of each, or -1.

    Raises:
        ValueError: the density is no mixture, labels of another number, or ones that are no components.
    """
    if not isinstance(density, Mixture):
        raise ValueError(f"{name}: expected None, since a {type(density).__name__} has no components, got some")
    values = read_tensor(name, labels, None).detach().cpu()
    if values.shape != (rows,):
        raise ValueError(f"{name}: expected one for each of the {rows} rows, got shape {tuple(values.shape)}")
    gaps = values.isnan().nonzero().flatten() if values.is_floating_point() else values[:0]
    if len(gaps):
        raise ValueError(
            f"{name}: expected whole numbers from -1 (none) to {density.components - 1}, got a gap in row {int(gaps[0])}"
        )
    whole = values.is_floating_point() and bool((values == values.round()).all())
    if values.dtype == torch.bool or values.is_complex() or (values.is_floating_point() and not whole):
        raise ValueError(f"{name}: expected whole numbers from -1 (none) to {density.components - 1}, got others")
    values = values.long()
    wrong = ((values < -1) | (values >= density.components)).nonzero().flatten()
    if len(wrong):
        row = int(wrong[0])
        raise ValueError(
            f"{name}: expected numbers from -1 (none) to {density.components - 1}, the mixture's components, "
            f"got {int(values[row])} in row {row}"
        )
    return values


def read_validation(density: Density, validation: Any) -> Rows:
    """Read and check the user's own validation rows.

    Raises:
        ValueError: as for `read_rows`; no rows; a tuple that is not of rows and contexts.
    """
    values, context = validation, None
    if isinstance(validation, tuple):
        if len(validation) != 2:
            raise ValueError(f"validation: expected a tuple of rows and contexts, got one of {len(validation)}")
        values, context = validation
    rows = read_rows(density, values, context, name="validation")
    if len(rows) == 0:
        raise ValueError("validation: expected at least one row, got none; give 0 to go without")
    return rows


def split_rows(rows: Rows, validation: float, generator: torch.Generator) -> tuple[Rows, Rows | None]:
    """Training rows and validation rows, at random.

    Raises:
        ValueError: too few rows for the fraction.
    """
    if validation == 0:
        return rows, None
    held_out = round(validation * len(rows))
    if held_out < 1 or held_out >= len(rows):
        raise ValueError(
            f"validation: expected some of the rows on both sides, but {validation:g} of {len(rows)} rows is {held_out}; "
            "give more rows, or validation=0"
        )
    order = torch.randperm(len(rows), generator=generator)
    return rows.take(order[held_out:]), rows.take(order[:held_out])


def _on_device_of(values: Tensor, like: Tensor | None) -> Tensor | None:
    # rows may wait on another device than the density's: a fit moves batches
    return None if like is None else like.detach().to(values.device)
