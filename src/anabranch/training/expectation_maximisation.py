"""Gaussian mixtures by expectation maximisation, of rows that have weights."""

from __future__ import annotations

import math
import warnings

import numpy as np
import torch
from numpy.typing import NDArray

from anabranch.densities import GaussianMixture

_ROUNDS = 200
# nats per row: less than that, and EM has converged
_TOLERANCE = 1e-4
# a column that hardly varies is given this, or its density would grow without bound
_LEAST_VARIANCE = 1e-6

Float64 = NDArray[np.float64]


def fit_by_em(
    x: Float64,
    weights: Float64,
    components: int,
    shrink: float = 1e-3,
    seed: int = 0,
    variances: Float64 | None = None,
    widen: float = 1.0,
) -> GaussianMixture:
    r"""Fit a Gaussian mixture with full covariances by EM, from a k-means start, in float64.

    (`baseline.fit_gaussian_mixture`, beside which others are reported, is scikit-learn's, which takes no weights.)

    Each covariance is drawn to a diagonal one, as if `shrink` times the number of columns rows more had been seen of it,

    .. math:: \Sigma_k = \frac{N_k S_k + s D\, \mathrm{diag}(v)}{N_k + s D} + \epsilon\, I,
              \qquad \epsilon = 10^{-6}.

    Args:
        x: (rows, features), finite, of widths about one.
        weights: (rows), above 0.
        components: K, at most as many as rows.
        shrink: s.
        seed: of the k-means start.
        variances: v, (features); those of all rows divided by K^{2/D} by default.
        widen: what all covariances are multiplied by in the end: 2 for a background behind other densities.

    Example:
        >>> import numpy as np
        >>> from anabranch.training.expectation_maximisation import fit_by_em
        >>> x = np.random.default_rng(0).normal(size=(300, 2)) + np.repeat([[-4.0], [4.0]], [100, 200], axis=0)
        >>> fit_by_em(x, np.ones(300), components=2).weights().sort().values.numpy().round(2)
        array([0.33, 0.67])
    """
    features = x.shape[1]
    share = _start(x, weights, components, seed)
    drawn_to = _variances(x, weights) / components ** (2 / features) if variances is None else variances
    before = -math.inf
    for _ in range(_ROUNDS if components > 1 else 1):
        total = share.sum(axis=0) + 1e-10
        means = (share.T @ x) / total[:, None]
        factors = np.empty((components, features, features))
        for k in range(components):
            d = x - means[k]
            scatter = (d * share[:, k : k + 1]).T @ d
            covariance = (scatter + np.diag(shrink * features * drawn_to)) / (total[k] + shrink * features)
            factors[k] = np.linalg.cholesky(covariance + np.diag(np.full(features, _LEAST_VARIANCE)))
        if components == 1:
            break
        joint = _joint(x, np.log(total / total.sum()), means, factors)
        log_p = np.logaddexp.reduce(joint, axis=1)
        share = np.exp(joint - log_p[:, None]) * weights[:, None]
        now = float(weights @ log_p / weights.sum())
        if now - before < _TOLERANCE:
            break
        before = now
    return GaussianMixture(
        torch.from_numpy(means),
        scale_tril=torch.from_numpy(factors * math.sqrt(widen)),
        weights=torch.from_numpy(total / total.sum()),
    )


def _start(x: Float64, weights: Float64, components: int, seed: int) -> Float64:
    """(rows, components): the weight of each row where its cluster is."""
    if components == 1:
        return weights[:, None].copy()
    from sklearn.cluster import KMeans  # noqa: PLC0415 (slow to import)

    with warnings.catch_warnings():
        # fewer clusters than asked for: a component without rows is a broad one, and EM decides
        warnings.simplefilter("ignore")
        found = KMeans(components, n_init=1, random_state=seed % 2**32).fit(x, sample_weight=weights).labels_
    share = np.zeros((len(x), components))
    share[np.arange(len(x)), found] = weights
    return share


def _variances(x: Float64, weights: Float64) -> Float64:
    w = weights / weights.sum()
    return np.asarray(w @ (x - w @ x) ** 2)


def _joint(x: Float64, log_w: Float64, means: Float64, factors: Float64) -> Float64:
    """log w_k N(x; mu_k, L_k L_k^T): (rows, components)."""
    from scipy.linalg import solve_triangular  # noqa: PLC0415 (slow to import)

    result = np.empty((len(x), len(means)))
    for k, (mean, factor) in enumerate(zip(means, factors, strict=True)):
        z = solve_triangular(factor, (x - mean).T, lower=True)
        result[:, k] = log_w[k] - 0.5 * (z * z).sum(axis=0) - np.log(np.diag(factor)).sum()
    return result - 0.5 * x.shape[1] * math.log(2 * math.pi)
