"""The rows of a fit, read and checked."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from anabranch.arrays import refuse_inexact
from anabranch.checks import finite_rows, matching, read_tensor, reference_tensor
from anabranch.densities import Density, Mixture
from anabranch.densities.events import matching_event, read_event, whole_rows
from anabranch.training.mapped import mapped_tensor


@dataclass
class Rows:
    """Rows of data with their contexts, their numbers in what the user gave, their labels, -1 where there is none, and
    their weights, of mean one.

    Args:
        x: (rows, *event).
        context: (rows, *context), or None.
        numbers: (rows).
        labels: (rows), or None.
        weights: (rows), or None.
        reads: the dtypes in which x and context are read when they are taken; None for the one that they have.
    """

    x: Tensor
    context: Tensor | None
    numbers: Tensor
    labels: Tensor | None = None
    weights: Tensor | None = None
    reads: tuple[torch.dtype | None, torch.dtype | None] = (None, None)

    def __len__(self) -> int:
        return len(self.x)

    @property
    def gaps(self) -> bool:
        """Whether there is a NaN in x."""
        return self.x.is_floating_point() and bool(torch.isnan(self.x).any())

    def take(self, index: Tensor) -> Rows:
        """Some of the rows, read."""
        context, labels, weights = (
            None if value is None else value[index] for value in (self.context, self.labels, self.weights)
        )
        return Rows(self.x[index], context, self.numbers[index], labels, weights, self.reads).read()

    def read(self) -> Rows:
        """The rows in the dtypes in which they are read."""
        of_x, of_context = self.reads
        if of_x is None and of_context is None:
            return self
        context = None if self.context is None or of_context is None else self.context.to(of_context)
        x = self.x if of_x is None else self.x.to(of_x)
        return replace(self, x=x, context=self.context if context is None else context, reads=(None, None))

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
        return Rows(moved(self.x), context, moved(self.numbers), labels, weights, self.reads)

    def weighted(self, losses: Tensor) -> Tensor:
        """Losses (rows), each times the weight of its row."""
        return losses if self.weights is None else losses * self.weights

    def with_weights(self, weights: Any, name: str = "weights") -> Rows:
        """The rows with weights, of which those above 0 have mean one.

        Raises:
            ValueError: weights of another number than the rows, below 0, not finite, or all 0.
        """
        like = self.x if self.x.is_floating_point() and self.reads[0] is None else torch.zeros((), dtype=self.reads[0])
        values = read_tensor(name, weights, like).detach().to(like).to(self.x.device)
        if values.shape != (len(self),):
            raise ValueError(f"{name}: expected one for each of the {len(self)} rows, got shape {tuple(values.shape)}")
        wrong = (~(torch.isfinite(values) & (values >= 0))).nonzero().flatten()
        if len(wrong):
            row = int(wrong[0])
            raise ValueError(f"{name}: expected finite numbers of at least 0, got {float(values[row])} in row {row}")
        some = values > 0
        if not bool(some.any()):
            raise ValueError(f"{name}: expected some above zero, got none")
        # divided by the largest first, or their sum might overflow
        values = values / values.max()
        return replace(self, weights=values / values[some].mean())


def read_rows(density: Density, x: Any, context: Any, name: str = "x") -> Rows:
    """Read and check rows for a density. Tensors, and arrays that are mapped from files, stay where they are.

    Raises:
        ValueError: shapes or dtypes that do not fit, x and context of different length, a value that is not finite.
    """
    like = reference_tensor(density)
    values, of_x = _read_x(name, x, density, like)
    if values.dim() != len(density.event_shape) + 1:
        wanted = ", ".join(["rows", *map(str, density.event_shape)])
        raise ValueError(f"{name}: expected shape ({wanted}), got {tuple(values.shape)}")
    matching_event(name, values, density, None if of_x else _on_device_of(values, like))
    finite_rows(name, values, gaps=density.gaps, read=of_x)
    whole_rows(name, values, density, like)
    given, of_context = None, None
    if density.context_shape is not None:
        if context is None:
            raise ValueError(f"context: expected shape (rows, {', '.join(map(str, density.context_shape))}), got None")
        given, of_context = _read_in_file("context", context, like)
        if given is None:
            given = read_tensor("context", context, like).detach()
        matching("context", given, density.context_shape, None if of_context else _on_device_of(given, like))
        if given.shape[:1] != values.shape[:1] or given.dim() != len(density.context_shape) + 1:
            raise ValueError(
                f"context: expected one for each of the {len(values)} rows, got shape {tuple(given.shape)}"
            )
        finite_rows("context", given, read=of_context)
    elif context is not None:
        raise ValueError(f"context: expected None, since this {type(density).__name__} takes none, got one")
    return Rows(values, given, torch.arange(len(values), device=values.device), reads=(of_x, of_context))


def read_labels(density: Density, labels: Any, rows: int, name: str = "labels") -> Tensor:
    """Read and check the labels of rows: the component of each, or -1.

    Raises:
        ValueError: the density is no mixture, labels of another number, or ones that are no components.
    """
    if not isinstance(density, Mixture):
        raise ValueError(
            f"{name}: expected None, since a {type(density).__name__} has no components, got some; vaes.m2 and "
            "models.LatentMixture are latent-variable models that have, FlowMixture is a mixture of flows"
        )
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


def _on_device_of(values: Tensor, like: Tensor | None) -> Tensor | None:
    # rows may wait on another device than the density's: a fit moves batches
    return None if like is None else like.detach().to(values.device)


def _read_x(name: str, x: Any, density: Density, like: Tensor | None) -> tuple[Tensor, torch.dtype | None]:
    """Rows as a tensor, and the dtype in which they are read when they are taken, if that is another one."""
    values, dtype = _read_in_file(name, x, like)
    if values is None:
        return read_event(name, x, density, like).detach(), None
    # whole numbers stay what they are for a density of whole numbers
    return values, None if density.event_dtype == "whole" and not values.is_floating_point() else dtype


def _read_in_file(name: str, values: Any, like: Tensor | None) -> tuple[Tensor | None, torch.dtype | None]:
    tensor = mapped_tensor(values)
    if tensor is None or like is None:
        return tensor, None
    if not tensor.is_floating_point():
        refuse_inexact(name, values)
    return tensor, like.dtype
