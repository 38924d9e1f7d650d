"""Probability integral transforms: where values stand in what a model expects of them."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import stats
from torch import Tensor

from anabranch.models import AnyOrder
from anabranch.tables.columns.column import Float64


def given_the_rest(density: AnyOrder, x: Tensor, context: Tensor | None, seed: int) -> Float64:
    r"""u_i = F(x_i | all others that the row has) of every cell, uniform on [0, 1] if the model is right.

    Where x_i has a probability of its own u is random between P(X < x_i) and P(X <= x_i), which makes it uniform too.
    Source: Smith, 1985 (Rosenblatt's transform as a check); Brockwell, 2007, for discrete values.

    Args:
        density: the model.
        x: (rows, columns), encoded, NaN for gaps.
        context: (rows, c), or None.
        seed: of what is random.

    Returns:
        (rows, columns), NaN for gaps.

    Example:
        >>> import torch
        >>> import anabranch as ab
        >>> from anabranch.report.pit import given_the_rest
        >>> model = ab.models.AnyOrder(2, hidden=8)
        >>> u = given_the_rest(model, model.sample((50,)), None, seed=0)
        >>> u.shape, bool((u >= 0).all() and (u <= 1).all())
        ((50, 2), True)
    """
    random = np.random.default_rng([seed, 10]).random(tuple(x.shape))
    result = np.empty(tuple(x.shape))
    with torch.no_grad():
        for i in range(x.shape[1]):
            theta = density.parameters_given(x, i, context)
            left, right = (part.double().cpu().numpy() for part in density.family(i).below(x[:, i], theta))
            result[:, i] = left + random[:, i] * (right - left)
    result[x.isnan().cpu().numpy()] = np.nan
    return np.clip(result, 0.0, 1.0)


def among_draws(values: Float64, draws: Float64, seed: int) -> Float64:
    """Where each value stands among K draws of its own: with r of them below it, u is random between r and r + 1 of K + 1.

    Uniform on [0, 1], exactly and for every K, if value and draws are of one distribution; ties fall at random.

    Args:
        values: (n, ...).
        draws: (n, K, ...).
        seed: of what is random.

    Example:
        >>> import numpy
        >>> from anabranch.report.pit import among_draws
        >>> among_draws(numpy.array([2.5]), numpy.array([[1.0, 2.0, 3.0]]), seed=0).round(2)
        array([0.63])
    """
    random = np.random.default_rng([seed, 11]).random(values.shape)
    here = np.expand_dims(values, 1)
    below, equal = (draws < here).sum(axis=1), (draws == here).sum(axis=1)
    u = (below + random * (equal + 1)) / (draws.shape[1] + 1)
    return np.where(np.isnan(values), np.nan, u)


def band(n: int, bins: int, level: float = 0.95) -> tuple[float, float]:
    """Between which shares each of the bins of n uniform numbers lies with this probability."""
    low, high = stats.binom.ppf([(1 - level) / 2, (1 + level) / 2], max(1, n), 1 / bins)
    return float(low) / max(1, n), float(high) / max(1, n)


def distance(u: Float64) -> float:
    """The largest difference between the distribution function of u (n) and that of uniform numbers, the diagonal."""
    return float(stats.kstest(u, "uniform").statistic) if len(u) else np.nan


def nothing_special(n: int, level: float = 0.95) -> float:
    """The distance that n uniform numbers stay below with this probability."""
    return float(stats.kstwo.ppf(level, n)) if n else np.nan


def within(u: Float64, level: float) -> tuple[float, float]:
    """How many of u (n) lie in the central interval of this probability, and the standard error of that share."""
    if not len(u):
        return np.nan, np.nan
    inside: NDArray[np.bool_] = np.abs(u - 0.5) <= level / 2
    share = float(inside.mean())
    return share, float(np.sqrt(level * (1 - level) / len(u)))
