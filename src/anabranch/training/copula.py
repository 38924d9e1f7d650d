"""How a Gaussian copula is fitted to rows."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from anabranch.checks import positive_int
from anabranch.draws import drawing
from anabranch.models import GaussianCopula, Marginals
from anabranch.models.gaussian_copula import latent, normal_between

# rows beyond which more of them tell the correlations no better
_FITTED_ROWS = 20_000


def fit_gaussian_copula(
    marginals: Marginals, x: Tensor, sweeps: int = 30, draws: int = 200, seed: int = 0
) -> GaussianCopula:
    """The copula of rows whose marginals are fitted already, in float64, by stochastic expectation maximisation.

    What is not known of y, within intervals and for gaps, is drawn column by column given the others (Gibbs), and the
    correlations are those of what was drawn, averaged over the second half of the sweeps.
    Source: Hoff, 2007, arXiv:math/0610413, with margins that are fitted.

    Args:
        marginals: of the columns.
        x: (rows, columns), NaN for gaps; of more than 20,000 rows so many are drawn.
        sweeps: over all columns.
        draws: of the copula's integral.
        seed: of everything random.

    Example:
        >>> import torch
        >>> from anabranch.families import Levels
        >>> from anabranch.models import Marginals
        >>> from anabranch.training.copula import fit_gaussian_copula
        >>> a = torch.randint(2, (500, 1)).double()
        >>> marginals = Marginals([Levels(2), Levels(2)])
        >>> copula = fit_gaussian_copula(marginals, torch.cat([a, a], dim=1))
        >>> bool(copula.correlation[0, 1] > 0.9)
        True
    """
    sweeps = positive_int("sweeps", sweeps, least=2)
    marginals = marginals.double()
    x = x.double()
    if len(x) > _FITTED_ROWS:
        x = x[torch.from_numpy(np.random.default_rng(seed).choice(len(x), _FITTED_ROWS, replace=False))]
    columns = x.shape[1]
    total = x.new_zeros(columns, columns)
    with torch.no_grad(), drawing(seed):
        low, high = latent(marginals, x)
        point = low == high
        y = torch.where(point, low, normal_between(low, high, torch.rand_like(x))[0])
        y = torch.where(x.isnan(), torch.randn_like(y), y)
        for sweep in range(sweeps):
            correlation = _correlation(y)
            precision = torch.linalg.inv(correlation)
            for i in range(columns):
                own = precision[i, i]
                mean = y[:, i] - (y @ precision[:, i]) / own
                spread = own.rsqrt()
                a, b = (low[:, i] - mean) / spread, (high[:, i] - mean) / spread
                drawn = mean + spread * normal_between(a, b, torch.rand_like(mean))[0]
                y[:, i] = torch.where(point[:, i], low[:, i], drawn)
            if sweep >= sweeps // 2:
                total += _correlation(y)
    return GaussianCopula(marginals, _unit(total), draws, seed)


def _correlation(y: Tensor) -> Tensor:
    covariance = torch.cov(y.T).reshape(y.shape[1], y.shape[1])
    return _unit(covariance + 1e-6 * torch.eye(y.shape[1]).to(y))


def _unit(covariance: Tensor) -> Tensor:
    scale = covariance.diagonal().rsqrt()
    return covariance * scale * scale.unsqueeze(1)
