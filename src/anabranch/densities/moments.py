"""Means and covariances."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor


class Moments(NamedTuple):
    """The mean (*batch, D), and the covariance (*batch, D, D), or None where only the mean is known."""

    mean: Tensor
    covariance: Tensor | None

    def expand(self, batch: torch.Size) -> Moments:
        """The same for every element of a batch."""
        covariance = None if self.covariance is None else self.covariance.expand(*batch, *self.covariance.shape[-2:])
        return Moments(self.mean.expand(*batch, self.mean.shape[-1]), covariance)


def of_product(pieces: Sequence[Moments]) -> Moments:
    """Those of independent pieces, one after the other."""
    pieces = _alike(pieces)
    means = [piece.mean for piece in pieces]
    blocks = [piece.covariance for piece in pieces if piece.covariance is not None]
    if len(blocks) < len(pieces):
        return Moments(torch.cat(means, dim=-1), None)
    features = sum(mean.shape[-1] for mean in means)
    covariance = means[0].new_zeros(*means[0].shape[:-1], features, features)
    start = 0
    for block in blocks:
        end = start + block.shape[-1]
        covariance[..., start:end, start:end] = block
        start = end
    return Moments(torch.cat(means, dim=-1), covariance)


def of_sum(log_weights: Tensor, pieces: Sequence[Moments]) -> Moments:
    r"""Those of a mixture, for log-weights (*batch, K):

    .. math:: \mu = \sum_k w_k \mu_k, \qquad \Sigma = \sum_k w_k (\Sigma_k + (\mu_k - \mu) (\mu_k - \mu)^T) .
    """
    pieces = _alike(pieces)
    means = torch.stack([piece.mean for piece in pieces], dim=-2)
    w = log_weights.exp().to(means)
    mean = torch.einsum("...k,...ki->...i", w, means)
    within = [piece.covariance for piece in pieces if piece.covariance is not None]
    if len(within) < len(pieces):
        return Moments(mean, None)
    d = means - mean.unsqueeze(-2)
    inner = torch.einsum("...k,...kij->...ij", w, torch.stack(within, dim=-3))
    return Moments(mean, inner + torch.einsum("...k,...ki,...kj->...ij", w, d, d))


def of_independent_numbers(mean: Tensor, variance: Tensor) -> Moments:
    """Those of independent numbers with means and variances (*batch, D).

    Covariances are 0 beside an infinite variance too: a product of infinite spreads would say nothing.
    """
    covariance = torch.diag_embed(torch.zeros_like(variance))
    torch.diagonal(covariance, dim1=-2, dim2=-1).copy_(variance)
    return Moments(mean, covariance)


def _alike(pieces: Sequence[Moments]) -> list[Moments]:
    """With the batch shape of all: pieces that depend on no context have none."""
    batch = torch.broadcast_shapes(*(piece.mean.shape[:-1] for piece in pieces))
    return [piece.expand(batch) for piece in pieces]
