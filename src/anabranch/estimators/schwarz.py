"""How many clusters describe rows, by the criterion of Schwarz."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from anabranch.estimators.stacking import log_prob
from anabranch.training.expectation_maximisation import fit_by_em

Float64 = NDArray[np.float64]

# of a Gaussian mixture, of which the best is taken
_STARTS = 3


def enough(z: Float64, weights: Float64, count: int) -> bool:
    """Whether so many clusters describe rows z (rows, columns) as well as one more, by the Bayesian criterion of Schwarz.

    Of Gaussian mixtures with full covariances, each the best of three starts.
    """
    return _criterion(z, weights, count) <= _criterion(z, weights, count + 1)


def _criterion(z: Float64, weights: Float64, count: int) -> float:
    if count > len(z):
        return float("inf")
    columns = z.shape[1]
    numbers = count * (1 + columns + columns * (columns + 1) // 2) - 1
    best = max(float(weights @ log_prob(fit_by_em(z, weights, count, seed=seed), z)) for seed in range(_STARTS))
    return numbers * float(np.log(weights.sum())) - 2 * best
