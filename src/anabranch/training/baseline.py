"""Gaussian mixtures by expectation maximisation: the simple density beside which every other is reported."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from anabranch.checks import positive_int
from anabranch.densities import GaussianMixture

# EM on more rows than this costs much and changes little; one component (a Gaussian) is fitted to all of them
EM_ROWS = 20_000


def fit_gaussian_mixture(x: Tensor | NDArray[Any], components: int, seed: int = 0) -> GaussianMixture:
    """Fit a Gaussian mixture with full covariances by EM, scikit-learn's, in float64.

    Args:
        x: (rows, features), best standardised: 1e-6 is added to the covariances' diagonals. Of more than 20,000 rows, so
            many are drawn at random; a single component is fitted to all of them, in closed form.
        components: how many.
        seed: of the start and of the draw of rows.

    Returns:
        a mixture of float64 parameters; with one component it is the maximum-likelihood Gaussian.

    Raises:
        ValueError: fewer rows than components, or rows that are not finite.

    Example:
        >>> import torch
        >>> from anabranch.training.baseline import fit_gaussian_mixture
        >>> x = torch.cat([torch.randn(200, 2) - 4, torch.randn(100, 2) + 4])
        >>> fit_gaussian_mixture(x, components=2).weights().sort().values.numpy().round(2)
        array([0.33, 0.67])
    """
    from sklearn import mixture  # noqa: PLC0415 (slow to import, and only needed here)

    rows = np.asarray(x, dtype=np.float64)
    components = positive_int("components", components)
    if rows.ndim != 2 or not np.isfinite(rows).all():
        raise ValueError(f"x: expected finite numbers of shape (rows, features), got shape {rows.shape}")
    if len(rows) < components:
        raise ValueError(f"x: expected at least {components} rows, one for each component, got {len(rows)}")
    if components > 1 and len(rows) > EM_ROWS:
        rows = rows[np.random.default_rng(seed).choice(len(rows), EM_ROWS, replace=False)]
    em = mixture.GaussianMixture(components, random_state=seed, max_iter=200)
    with warnings.catch_warnings():
        # not converged after so many rounds: still a fair baseline, and nothing its reader can act upon
        warnings.simplefilter("ignore")
        em.fit(rows)
    return GaussianMixture(
        torch.from_numpy(em.means_),
        scale_tril=torch.linalg.cholesky(torch.from_numpy(em.covariances_)),
        weights=torch.from_numpy(em.weights_),
    )


def choose_gaussian_mixture(
    x: NDArray[np.float64],
    validation: NDArray[np.float64],
    sizes: Sequence[int] = (1, 2, 5, 10, 20, 40),
    given: int = 0,
    seed: int = 0,
) -> GaussianMixture:
    """Fit mixtures of several sizes and return the one that is best on the validation rows.

    Args:
        x: (rows, given + features), to fit.
        validation: (rows, given + features), to choose by.
        sizes: how many components to try; those with fewer rows each than parameters of a mean are left out.
        given: so many first columns are conditioned on: the choice is by `conditional_log_prob`.
        seed: of the fits.

    Raises:
        ValueError: too few rows for any of the sizes.
    """
    best: tuple[float, GaussianMixture] | None = None
    for size in sizes:
        if size > 1 and len(x) < size * (x.shape[1] + 1):
            continue
        candidate = fit_gaussian_mixture(x, size, seed)
        score = float(conditional_log_prob(candidate, validation, given).mean())
        if best is None or score > best[0]:
            best = score, candidate
    if best is None:
        raise ValueError(f"sizes: expected one that {len(x)} rows are enough for, got {list(sizes)}")
    return best[1]


def conditional_log_prob(mixture: GaussianMixture, x: NDArray[np.float64], given: int = 0) -> NDArray[np.float64]:
    """log p(x[:, given:] | x[:, :given]) of a joint mixture, (rows,), nats: the joint minus its exact marginal.

    Example:
        >>> import numpy as np
        >>> from anabranch.training.baseline import conditional_log_prob, fit_gaussian_mixture
        >>> x = np.random.default_rng(0).normal(size=(100, 3))
        >>> conditional_log_prob(fit_gaussian_mixture(x, 2), x, given=1).shape
        (100,)
    """
    rows = torch.from_numpy(np.ascontiguousarray(x, dtype=np.float64))
    marginal = mixture.marginal(range(given)) if given else None
    parts = []
    with torch.no_grad():
        for batch in rows.split(8192):
            log_p = mixture.log_prob(batch)
            parts.append(log_p if marginal is None else log_p - marginal.log_prob(batch[:, :given]))
    return torch.cat(parts).numpy()
