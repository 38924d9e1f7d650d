"""Posteriors that agree on rows that mean the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from anabranch.checks import positive, positive_int
from anabranch.objectives.objective import Batch, Objective, as_mixture


class Consistency(Objective):
    r"""q(k | x) agrees with q(k | x'), where x' is x with noise, or changed in a way that should not matter, or a neighbour:

    .. math:: \tfrac12 KL(q(\cdot \mid x) \,\|\, q(\cdot \mid x')) + \tfrac12 KL(q(\cdot \mid x') \,\|\, q(\cdot \mid x))

    where the first argument of each is held fixed. Borders between components then go where data are thin.
    Source: Sajjadi et al., 2016, arXiv:1606.04586; Hu et al., 2017 (IMSAT), arXiv:1702.08720.

    Args:
        change: a number, the standard deviation of normal noise in units of each column's own, of a stream of rows in each
            batch; or a function from x (rows,
            *event) to x'; or "neighbours", a random one of the nearest training rows, by the
            distance between rows as they are: scale columns that are to count alike.
        neighbours: of how many.

    Example:
        >>> from anabranch.objectives import Consistency, Likelihood
        >>> objective = Likelihood() + 5 * Consistency(0.1)
    """

    uses_labels = False

    def __init__(self, change: float | str | Callable[[Tensor], Tensor] = 0.1, neighbours: int = 10) -> None:
        if isinstance(change, str) and change != "neighbours":
            raise ValueError(f"change: expected a number, a function or 'neighbours', got {change!r}")
        self.change = change if callable(change) or isinstance(change, str) else positive("change", change)
        self.neighbours = positive_int("neighbours", neighbours)
        self._table: Tensor | None = None
        self._rows: Tensor | None = None
        self._contexts: Tensor | None = None
        self._scale: Tensor | None = None

    def prepare(self, rows: Batch, epochs: int) -> None:
        as_mixture(rows.density)
        x = rows.x
        if isinstance(self.change, float):
            if rows.density.event_dtype == "whole":
                raise ValueError(
                    f"change: expected 'neighbours' or a function for a density of whole numbers, which noise makes others "
                    f"of, got {self.change}"
                )
            self._scale = x.std(dim=0, correction=0) if len(x) else None
        if self.change == "neighbours":
            from sklearn.neighbors import NearestNeighbors  # noqa: PLC0415 (slow to import)

            flat = x.flatten(1).cpu().numpy()
            count = min(self.neighbours, len(x) - 1)
            if count == 0:
                raise ValueError("x: expected at least two rows for neighbours, got one")
            found = NearestNeighbors(n_neighbors=count).fit(flat).kneighbors(return_distance=False)
            self._table, self._rows, self._contexts = torch.as_tensor(found), x, rows.context

    @property
    def takes_streams(self) -> bool:
        """Whether x' is no other row."""
        return self.change != "neighbours"

    @property
    def static(self) -> bool:
        """Whether x' is x with noise: neighbours are looked up where their table is, and a function may do anything."""
        return isinstance(self.change, float)

    def state(self) -> dict[str, Any]:
        return {}  # all that it knows comes from the rows

    def __call__(self, batch: Batch) -> Tensor:
        log_q = batch.log_q
        other = batch.mixture.log_posterior(*self._changed(batch))
        return 0.5 * (_divergence(log_q.detach(), other) + _divergence(other.detach(), log_q))

    def _changed(self, batch: Batch) -> tuple[Tensor, Tensor | None]:
        if callable(self.change):
            return self.change(batch.x), batch.context
        if self._table is not None and self._rows is not None:
            neighbours = self._table[batch.numbers.to(self._table.device)]
            chosen = torch.randint(neighbours.shape[1], (len(neighbours), 1))
            other = neighbours.gather(1, chosen).squeeze(1).to(self._rows.device)
            context = None if self._contexts is None else self._contexts[other].to(batch.x.device)
            return self._rows[other].to(batch.x), context
        scale = batch.x.std(dim=0, correction=0) if self._scale is None else self._scale.to(batch.x)
        return batch.x + float(self.change) * scale * torch.randn_like(batch.x), batch.context


def _divergence(log_p: Tensor, log_q: Tensor) -> Tensor:
    """KL(p || q), (rows); a k that p excludes adds nothing."""
    excluded = log_p.isneginf()
    difference = torch.where(excluded, 0.0, log_p) - torch.where(excluded, 0.0, log_q)
    return torch.where(excluded, 0.0, log_p.exp() * difference).sum(dim=-1)
