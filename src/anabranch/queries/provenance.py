"""What draws of an estimated density rest on, and what that adds to the error of their mean."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from anabranch.densities import Density


@dataclass(frozen=True)
class Provenance:
    r"""Which draws a density is made of (`DecodedDraws`, \sum_k w_k p(x | z_k)), and which of these rows come from.

    The mean of f over n rows has two errors: that of the n rows, and that of the z_k, \sum_k w_k^2 (f_k - \bar f)^2, where
    f_k is the mean of f given z_k. Without bias the second is, from deviations d_i = f(x_i) - \bar f,

    .. math:: \frac{1}{n^2} \sum_k \Big[\Big(\sum_{i \in k} d_i\Big)^2 - \sum_{i \in k} d_i^2\Big] ,

    the difference of the variance of a mean of clusters and that of one of independent rows (Liang and Zeger, 1986).

    Attributes:
        origins: (n), the number k of each row; None where they are not known, in a mixture of such densities for instance.
            The variance of f is then that of as many independent draws as the density is worth.
        worth: `Density.effective_draws`.
        count: how many rows there were to choose from.
    """

    origins: Tensor | None
    worth: float
    count: int

    def within(self, inside: Tensor) -> Provenance:
        """Of the rows alone where `inside` (n) is True."""
        return replace(self, origins=None if self.origins is None else self.origins[inside])

    def worth_of(self, rows: int) -> float:
        """How many independent draws the density is worth where so many of its rows are."""
        return self.worth * rows / self.count

    def variance_of_sum(self, deviations: Tensor) -> Tensor:
        """What is added to the variance of a sum by deviations (n, ...) from the mean: (...), at least 0."""
        squares = deviations.square().sum(dim=0)
        if self.origins is None:
            return squares * (self.count / self.worth)
        origins = self.origins.to(deviations.device)
        sums = deviations.new_zeros(int(origins.max()) + 1, *deviations.shape[1:]).index_add(0, origins, deviations)
        return (sums.square().sum(dim=0) - squares).clamp(min=0.0)


def draws_of(density: Density, sizes: list[int]) -> tuple[Tensor, Tensor | None]:
    """Draws of a density without a context, so many at a time, and the numbers of the draws that they come from."""
    pieces = [density.sample_and_origins((size,)) for size in sizes]
    origins = [origin for _, origin in pieces if origin is not None]
    return torch.cat([x for x, _ in pieces]), torch.cat(origins) if origins else None


def provenance_of(density: Density, origins: Tensor | None, count: int) -> Provenance | None:
    """Of so many draws of a density; None of one that is no estimate of another."""
    worth = density.effective_draws
    return None if math.isinf(worth) else Provenance(origins, worth, count)
