"""Which rows are fitted, which say when to stop, and which are held out."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def split_rows(rows: int, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Training, validation and test rows: 80, 10 and 10 % of a seeded shuffle."""
    order = np.random.default_rng(seed).permutation(rows)
    tenth = max(1, round(rows / 10))
    return order[2 * tenth :], order[:tenth], order[tenth : 2 * tenth]


def stratified(order: Tensor, labels: Tensor | None) -> Tensor:
    """Rows in an order in which every piece has about its share of each class, and of rows without a label.

    Row r of the n of a class, from 0, comes where (r + 1/2) / n of all rows have come, the nearer the more rows there are.

    Args:
        order: of the rows, (rows), random; rows of a class keep theirs.
        labels: of all rows, -1 for none; None where there are none, and nothing changes.
    """
    if labels is None:
        return order
    _, classes, counts = labels[order].unique(return_inverse=True, return_counts=True)
    by_class = classes.argsort(stable=True)
    first = (counts.cumsum(0) - counts).repeat_interleave(counts)
    rank = torch.arange(len(order), dtype=torch.float64, device=order.device) - first + 0.5
    place = torch.empty_like(rank)
    place[by_class] = rank / counts.repeat_interleave(counts)
    return order[place.argsort(stable=True)]


def hold_out(order: Tensor, places: slice, labels: Tensor | None) -> tuple[Tensor, Tensor]:
    """Rows that are held out, and those that are left, each in the order given. Each class has a row left at least.

    Args:
        order: of all rows, (rows).
        places: of those to hold out, in the order; without the last row of a class that would have none left.
        labels: of all rows, -1 for none; None where there are none.
    """
    out = torch.zeros(len(order), dtype=torch.bool, device=order.device)
    out[places] = True
    if labels is not None:
        classes, own = labels[order].unique(return_inverse=True)
        left = torch.bincount(own[~out], minlength=len(classes))
        for k in ((left == 0) & (classes >= 0)).nonzero().flatten().tolist():
            out[(own == k).nonzero()[-1]] = False
    return order[out], order[~out]
