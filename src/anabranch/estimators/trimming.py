"""The half of the rows that are most like each other."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]

_STEPS = 8
# of the correlations, and of a variance of one: a half in which a column does not change has a density too
_SHRINK, _LEAST = 1e-3, 1e-6


def most_usual(z: Float64, weights: Float64, share: float = 0.5) -> NDArray[np.bool_]:
    """Which rows (rows) trimmed maximum likelihood fits a normal to: this share of the weight, or just above.

    A normal is fitted to all rows, then eight times to those where the last one was highest (concentration steps, none of
    which lowers their likelihood). Outliers, and clusters of them, that pull mean and covariance of all rows have then
    mostly dropped out. Source: Rousseeuw and Van Driessen, 1999, "A fast algorithm for the minimum covariance determinant
    estimator".

    Args:
        z: (rows, columns), each with deviation 1 or about.
        weights: (rows), above 0.
        share: how much is kept.

    Example:
        >>> import numpy as np
        >>> from anabranch.estimators.trimming import most_usual
        >>> z = np.random.default_rng(0).normal(size=(100, 2))
        >>> z[:10] += 4.0
        >>> kept = most_usual(z, np.ones(100))
        >>> int(kept.sum()), bool(kept[:10].any())
        (50, False)
    """
    kept = np.ones(len(z), dtype=bool)
    for _ in range(_STEPS + 1):
        distance = _distance(z, z[kept], weights[kept])
        order = np.argsort(distance, kind="stable")
        total = np.cumsum(weights[order])
        last = np.searchsorted(total, share * total[-1] * (1 - 1e-12))
        kept = distance <= distance[order[last]]
    return kept


def _distance(z: Float64, rows: Float64, weights: Float64) -> Float64:
    """Squared Mahalanobis distances (rows) from the mean of some rows."""
    w = weights / weights.sum()
    mean = w @ rows
    centred = rows - mean
    covariance = (1 - _SHRINK) * (centred.T * w) @ centred
    covariance += np.diag(_SHRINK * (w @ centred**2) + _LEAST)
    white = np.linalg.solve(np.linalg.cholesky(covariance), (z - mean).T)
    return np.asarray((white**2).sum(axis=0))
