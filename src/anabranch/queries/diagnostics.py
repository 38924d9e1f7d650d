"""Whether chains have mixed, and how many independent draws they are worth."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def r_hat(x: Tensor) -> Tensor:
    """Rank-normalised split R-hat: about 1 where chains agree, more where they have not mixed.

    Source: Vehtari et al., 2021, "Rank-normalization, folding, and localization", arXiv:1903.08008, equations 1 to 4 and 14.

    Args:
        x: (length, chains), of length 4 at least.

    Example:
        >>> import torch
        >>> from anabranch.queries.diagnostics import r_hat
        >>> x = torch.randn(100, 8, generator=torch.Generator().manual_seed(0))
        >>> float(r_hat(x)) < 1.05, float(r_hat(x + 2 * torch.arange(8))) > 1.5
        (True, True)
    """
    halves = _split(_rank_normalised(x.double()))
    n = len(halves)
    within = halves.var(dim=0).mean()
    between = n * halves.mean(dim=0).var()
    if float(within) == 0:
        return torch.ones_like(within) if float(between) == 0 else torch.full_like(within, math.inf)
    return (((n - 1) / n * within + between / n) / within).sqrt()


def effective_samples(x: Tensor) -> Tensor:
    """How many independent draws the mean over chains (length, chains) is worth, by Geyer's initial monotone sequence.

    Source: Vehtari et al., 2021, equations 10 to 13.

    Example:
        >>> import torch
        >>> from anabranch.queries.diagnostics import effective_samples
        >>> x = torch.randn(200, 10, generator=torch.Generator().manual_seed(0))
        >>> 1500 < float(effective_samples(x)) < 2500
        True
    """
    halves = _split(x.double())
    n, chains = halves.shape
    total = x.new_tensor(float(n * chains), dtype=torch.float64)
    centred = halves - halves.mean(dim=0)
    spectrum = torch.fft.rfft(centred, n=2 * n, dim=0)
    covariance = (torch.fft.irfft(spectrum.abs().square(), n=2 * n, dim=0)[:n] / n).mean(dim=-1)
    within = covariance[0] * n / (n - 1)
    variance = covariance[0] + halves.mean(dim=0).var()
    if float(variance) == 0:
        return total
    rho = 1 - (within - covariance) / variance
    rho[0] = 1
    pairs = rho[: n // 2 * 2].reshape(-1, 2).sum(dim=-1)
    negative = (pairs <= 0).nonzero()
    pairs = pairs[: int(negative[0])] if len(negative) else pairs
    time = 2 * pairs.cummin(dim=0).values.sum() - 1 if len(pairs) else pairs.new_ones(())
    return total / time.clamp(min=1 / math.log10(max(10.0, float(total))))


def _split(x: Tensor) -> Tensor:
    """The first and the second half of every chain as chains of their own."""
    half = len(x) // 2
    return torch.cat([x[:half], x[len(x) - half :]], dim=1)


def _rank_normalised(x: Tensor) -> Tensor:
    _, which, counts = x.flatten().unique(return_inverse=True, return_counts=True)
    # equal values have the mean of their ranks
    rank = counts.cumsum(dim=0) - 0.5 * (counts - 1)
    u = (rank[which] - 0.375) / (x.numel() + 0.25)
    return torch.special.ndtri(u).reshape(x.shape)
