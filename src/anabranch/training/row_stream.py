"""Rows that do not lie in memory."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator

import torch
from torch import Tensor

from anabranch.densities import Density
from anabranch.training.rows import Rows, read_labels, read_rows

# how far from one the mean of the weights may be: no further than rounding takes it
_OFF = 1e-2


class RowStream(ABC):
    """Rows that do not lie in memory: `fit` takes one in place of rows, and goes through it once an epoch.

    .. code-block:: text

        len(stream)                          how many rows there are
        batches_of(size, generator)          -> all of them once, in random order, `size` at a time, as `Rows`
        labelled                             whether every batch has labels; False by default

    Batches have the rows' contexts, labels and weights, if there are any, and their numbers. Weights are above 0 and of mean
    one over all rows.

    Example:
        >>> import torch
        >>> import anabranch as ab
        >>> from anabranch.training import Rows, RowStream
        >>> class Drawn(RowStream):
        ...     def __len__(self):
        ...         return 1000
        ...     def batches_of(self, size, generator):
        ...         for numbers in torch.arange(1000).split(size):
        ...             yield Rows(torch.randn(len(numbers), 2, generator=generator), None, numbers)
        >>> normal = ab.densities.Normal(torch.ones(2), learnable=True)
        >>> history = ab.fit(normal, Drawn(), validation=0, noise=0.5, epochs=3, seed=0)
    """

    labelled: bool = False

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def batches_of(self, size: int, generator: torch.Generator) -> Iterator[Rows]: ...

    def identity(self) -> str:
        """What tells its rows from those of another stream, for a checkpoint. By default their number alone."""
        return f"{len(self)} rows"


class CheckedStream(RowStream):
    """A stream whose batches are checked for a density as rows in memory are, one at a time, before they move to a device.

    Args:
        stream: of rows.
        density: to be fitted to them.
    """

    def __init__(self, stream: RowStream, density: Density) -> None:
        self.stream, self.density, self.labelled = stream, density, bool(stream.labelled)

    def __len__(self) -> int:
        return len(self.stream)

    def identity(self) -> str:
        """That of the stream."""
        return self.stream.identity()

    def batches_of(self, size: int, generator: torch.Generator) -> Iterator[Rows]:
        """The batches of the stream.

        Raises:
            ValueError: rows that do not fit the density or are not finite, labels that are no components, are missing or
                were not announced, weights that are not above 0, or at the end of a pass whose mean is not one.
        """
        weight, count = 0.0, 0
        for batch in self.stream.batches_of(size, generator):
            if not isinstance(batch, Rows):
                raise ValueError(f"x: expected a stream of batches that are Rows, got a {type(batch).__name__}")
            try:
                rows = self._checked(batch)
            except ValueError as error:
                begin = f", whose first is row {int(batch.numbers[0])}" if len(batch.numbers) else ""
                raise ValueError(f"{error}; in a batch of the stream{begin}") from error
            weight += len(rows) if rows.weights is None else float(rows.weights.sum())
            count += len(rows)
            yield rows
        mean = weight / max(1, count)
        if count and abs(mean - 1) > _OFF:
            raise ValueError(
                f"weights: expected a mean of one over all rows of the stream, got {mean:.6g}; divide by it"
            )

    def _checked(self, batch: Rows) -> Rows:
        rows = read_rows(self.density, batch.x, batch.context)
        if batch.numbers.shape != (len(rows),):
            shape = tuple(batch.numbers.shape)
            raise ValueError(f"numbers: expected one for each of the {len(rows)} rows, got shape {shape}")
        if (batch.labels is not None) != self.labelled:
            wanted, got = ("labels", "none") if self.labelled else ("none, since `labelled` is False", "labels")
            raise ValueError(f"labels: expected {wanted}, got {got}")
        rows.numbers = batch.numbers
        if batch.labels is not None:
            rows.labels = read_labels(self.density, batch.labels, len(rows))
        if batch.weights is not None:
            rows.weights = _checked_weights(batch.weights, rows)
        return rows


def _checked_weights(weights: Tensor, rows: Rows) -> Tensor:
    if weights.shape != (len(rows),):
        raise ValueError(f"weights: expected one for each of the {len(rows)} rows, got shape {tuple(weights.shape)}")
    wrong = (~(torch.isfinite(weights) & (weights > 0))).nonzero().flatten()
    if len(wrong):
        value, row = float(weights[wrong[0]]), int(rows.numbers[wrong[0]])
        raise ValueError(
            f"weights: expected finite numbers above 0, got {value} in row {row}; leave rows of weight 0 out"
        )
    return weights.to(rows.x if rows.x.is_floating_point() else torch.zeros(()))
