"""How heavy a tail is: whether a mean can be told from draws."""

from __future__ import annotations

import math

import torch
from torch import Tensor

# above it, neither a mean over draws nor its error can be trusted, whatever their number (Vehtari et al.)
HEAVY = 0.7
# numbers of such a size have no mean of any use, and their squares are near the end of floats
LIMITLESS = 1e100
# fewer values of a tail tell nothing of it
_LEAST = 20
# values of the prior of k, and its mean
_PRIOR, _PRIOR_K = 10, 0.5


def pareto_k(terms: Tensor) -> float:
    r"""The shape k of the generalised Pareto distribution that fits the heavier tail of terms (n):

    .. math:: P(X - u > x \mid X > u) \approx (1 + k x / \sigma)^{-1 / k}.

    Moments of order below 1 / k exist: the variance for k < 1/2, the mean for k < 1. A tail are the min(n / 5, 3 sqrt(n))
    largest or smallest values, beyond u. A fit to few values is pulled towards k = 1/2.
    Source: Vehtari, Simpson, Gelman, Yao and Gabry, 2024, "Pareto smoothed importance sampling", JMLR 25(72),
    arXiv:1507.02646; Zhang and Stephens, 2009, "A new and efficient estimation method for the generalized Pareto
    distribution", Technometrics 51(3).

    Args:
        terms: (n).

    Returns:
        k; minus infinity where a tail has too few different values to say, infinity where a term is 1e100 or more.

    Example:
        >>> import torch
        >>> from anabranch.densities.tails import pareto_k
        >>> u = torch.rand(20_000, generator=torch.Generator().manual_seed(0))
        >>> [round(abs(pareto_k(tail)), 1) for tail in (-u.log(), 1 / u)]
        [0.0, 1.0]
    """
    x = terms.detach().double().cpu().flatten()
    count = math.ceil(min(0.2 * len(x), 3 * math.sqrt(len(x))))
    # also NaN
    if not bool((x.abs() < LIMITLESS).all()):
        return math.inf
    if count < _LEAST:
        return -math.inf
    return max(_of_tail(x, count), _of_tail(-x, count))


def judged_terms(terms: Tensor, effective: Tensor) -> tuple[Tensor, Tensor]:
    r"""Pareto k of terms (n, columns) of means, (columns), and how many draws these means are worth, (columns).

    Where the tail is heavy that is what the largest terms leave of it, :math:`(\sum |t|)^2 / \sum t^2`, whatever the number
    of draws.
    """
    k = torch.tensor([pareto_k(column) for column in terms.T], dtype=torch.float64)
    t = terms.detach().double().cpu().abs()
    scaled = t / t.amax(dim=0).clamp(min=torch.finfo(torch.float64).tiny)  # squares stay within floats
    left = scaled.sum(dim=0).square() / scaled.square().sum(dim=0).clamp(min=torch.finfo(torch.float64).tiny)
    k, left = k.to(effective.device), left.to(effective)
    return k, torch.where(k > HEAVY, torch.minimum(effective, left), effective)


def _of_tail(x: Tensor, count: int) -> float:
    largest = x.topk(count + 1).values.flip(0)
    beyond = largest[1:] - largest[0]
    beyond = beyond[beyond > 0]
    if len(beyond.unique()) < _LEAST:
        return -math.inf
    k = _zhang_stephens(beyond)
    return (k * len(beyond) + _PRIOR * _PRIOR_K) / (len(beyond) + _PRIOR)


def _zhang_stephens(x: Tensor) -> float:
    """k of exceedances x (n), positive and in order: the mean over a profile likelihood of theta = -k / sigma."""
    n = len(x)
    grid = 30 + int(math.sqrt(n))
    quartile = x[int(n / 4 + 0.5) - 1]
    steps = torch.arange(1, grid + 1, dtype=torch.float64)
    theta = 1 / x[-1] + (1 - (grid / (steps - 0.5)).sqrt()) / (3 * quartile)
    k = torch.log1p(-theta.unsqueeze(-1) * x).mean(dim=-1)
    likelihood = n * ((-theta / k).log() - k - 1)
    w = likelihood.softmax(dim=0)
    best = (w * theta).sum()
    return float(torch.log1p(-best * x).mean())
