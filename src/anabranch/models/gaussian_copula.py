"""A Gaussian copula over columns of any kinds: margins of their own, and linear dependence between their ranks."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor
from torch.distributions import constraints
from torch.special import log_ndtr, ndtr, ndtri

from anabranch.checks import instance_of, positive_int, seed_number
from anabranch.densities import Density
from anabranch.draws import drawing
from anabranch.models.marginals import Marginals

# numbers in one go of the integral
_AT_ONCE = 2**20
# below any normal number that has ever been drawn
_FARTHEST = 9.0


class GaussianCopula(Density):
    r"""y ~ N(0, R) with unit variances, and x_i the quantile of column i's marginal at Phi(y_i).

    Where x_i has a density, y_i = Phi^{-1}(F_i(x_i)) is a point; where it has a probability (a category, a whole number, an
    atom), all that is known of y_i is an interval, from Phi^{-1} of P(X_i < x_i) to that of P(X_i <= x_i); of a gap nothing
    is. So with the points C and the intervals D of a row

    .. math:: p(x) = \prod_{i \in C} \frac{f_i(x_i)}{\varphi(y_i)} \int \varphi_R(y_C, y_D)\, dy_D \quad
              \text{over the intervals,}

    and the integral, over all gaps too, is estimated without bias by `draws` sequential draws from the intervals (Geweke,
    Hajivassiliou and Keane), always the same ones. The logarithm of an estimate lies below that of what it estimates, by
    half its relative variance: `relative_error` says how little that is.

    Args:
        marginals: of the columns.
        correlation: R, (columns, columns).
        draws: of the integral.
        seed: of these.

    Raises:
        ValueError: a matrix that is no correlation matrix of the columns.

    Example:
        >>> import torch
        >>> from anabranch.families import Levels, Logistics
        >>> from anabranch.models import GaussianCopula, Marginals
        >>> marginals = Marginals([Logistics(), Levels(2)]).double()
        >>> copula = GaussianCopula(marginals, torch.tensor([[1.0, 0.5], [0.5, 1.0]]).double())
        >>> x = copula.sample((3,))
        >>> copula.log_prob(x).shape
        torch.Size([3])
    """

    reparameterized = False
    gaps = True

    def __init__(self, marginals: Marginals, correlation: Tensor, draws: int = 200, seed: int = 0) -> None:
        instance_of("marginals", marginals, Marginals)
        if marginals.context_shape is not None:
            raise ValueError("marginals: expected columns that know of no context, got those of a network")
        super().__init__(marginals.event_shape)
        columns = marginals.event_shape[0]
        right = correlation.shape == (columns, columns) and torch.allclose(correlation, correlation.T, atol=1e-5)
        if not (right and torch.allclose(correlation.diagonal(), correlation.new_ones(columns), atol=1e-5)):
            raise ValueError(f"correlation: expected a correlation matrix of {columns} columns, got others")
        self.marginals = marginals
        self.draws, self.seed = positive_int("draws", draws), seed_number(seed)
        # points before intervals: what is known for certain narrows what has to be drawn
        discrete = [marginals.family(i).discrete for i in range(columns)]
        some = [not d and hasattr(marginals.family(i), "values") for i, d in enumerate(discrete)]
        self._order = sorted(range(columns), key=lambda i: (discrete[i], some[i], i))
        self.register_buffer("correlation", correlation.detach().clone())

    @property
    def support(self) -> constraints.Constraint:
        """Every column what its family can be, or a gap."""
        return self.marginals.support

    def relative_error(self, x: Tensor) -> Tensor:
        """The standard error of the estimate of p(x) as a share of it, (*batch)."""
        log_w = torch.cat([self._log_weights(rows)[0] for rows in self._pieces(x.reshape(-1, x.shape[-1]))], dim=1)
        w = (log_w - log_w.amax(dim=0)).exp()
        return (w.std(dim=0) / w.mean(dim=0) / math.sqrt(self.draws)).reshape(x.shape[:-1])

    def _log_prob(self, x: Tensor, context: Tensor | None) -> Tensor:
        parts = []
        for rows in self._pieces(x.reshape(-1, x.shape[-1])):
            log_w, density = self._log_weights(rows)
            parts.append(torch.logsumexp(log_w, dim=0) - math.log(self.draws) + density)
        return torch.cat(parts).reshape(x.shape[:-1]) if parts else x.new_zeros(x.shape[:-1])

    def _sample(self, shape: torch.Size, context: Tensor | None) -> Tensor:
        factor = torch.linalg.cholesky(self.get_buffer("correlation"))
        y = torch.randn(*shape, len(factor), dtype=factor.dtype, device=factor.device) @ factor.T
        eps = torch.finfo(y.dtype).eps
        return self.marginals.quantile(ndtr(y).clamp(eps, 1 - eps))

    def _pieces(self, x: Tensor) -> tuple[Tensor, ...]:
        return x.split(max(1, _AT_ONCE // (self.draws * x.shape[-1]))) if len(x) else ()

    def _log_weights(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Logarithms of the draws' weights (draws, n) and of what the points' margins give (n), for rows (n, columns)."""
        low, high = latent(self.marginals, x)
        point, gap = low == high, x.isnan()
        log_f = torch.where(point & ~gap, self.marginals.terms(x), 0.0).sum(dim=-1)
        order = self._order
        correlation = self.get_buffer("correlation")[order][:, order]
        factor = torch.linalg.cholesky(correlation)
        noise: list[Tensor] = []
        log_w = x.new_zeros(self.draws, len(x))
        with drawing(self.seed):
            uniforms = torch.rand(len(order), self.draws, 1, dtype=torch.float64).to(x)
        for t, i in enumerate(order):
            known = point[:, i] | gap[:, i]
            mean = torch.stack(noise, dim=-1) @ factor[t, :t] if noise else x.new_zeros(self.draws, len(x))
            spread = factor[t, t]
            a, b = (low[:, i] - mean) / spread, (high[:, i] - mean) / spread
            # one shift of the same draws for each row, so that rows' errors are not all alike
            u = (uniforms[t] + _shift(len(x), t).to(x)) % 1.0
            # what is known, and a gap, are no intervals: another one in their place keeps gradients finite
            drawn, log_p = normal_between(torch.where(known, -1.0, a), torch.where(known, 1.0, b), u)
            place = torch.where(point[:, i], low[:, i], 0.0)
            at_point = -0.5 * ((place - mean) / spread).square() - spread.log() + 0.5 * place.square()
            log_w = log_w + torch.where(gap[:, i], 0.0, torch.where(point[:, i], at_point, log_p))
            free = ndtri(u.clamp(1e-12, 1 - 1e-12))
            noise.append(torch.where(gap[:, i], free, torch.where(point[:, i], (place - mean) / spread, drawn)))
        return log_w, log_f


def latent(marginals: Marginals, x: Tensor) -> tuple[Tensor, Tensor]:
    """Between what the y of x (n, columns) lie: equal where they are known, from -inf to inf for a gap."""
    left, right = marginals.below(x)
    low = torch.where(x.isnan(), -torch.inf, _normal_quantile(left))
    high = torch.where(x.isnan(), torch.inf, _normal_quantile(right))
    # a point far out in a tail, where its distribution function has no more digits
    point = left == right
    low = torch.where(point, low.clamp(-_FARTHEST, _FARTHEST), low)
    return low, torch.where(point, low, high)


def _normal_quantile(p: Tensor) -> Tensor:
    """Phi^{-1}(p), infinite with a gradient of 0 at the ends."""
    inside = (p > 0) & (p < 1)
    y = ndtri(torch.where(inside, p, 0.5))
    return torch.where(inside, y, torch.where(p <= 0, -torch.inf, torch.where(p >= 1, torch.inf, torch.nan)))


def normal_between(a: Tensor, b: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
    """Standard normal numbers between a and b at the shares u of what lies there, and the logarithm of that probability."""
    # in the left tail, where the distribution function has all its digits
    flip = a + b > 0
    low, high = torch.where(flip, -b, a), torch.where(flip, -a, b)
    at_low, at_high = log_ndtr(low), log_ndtr(high)
    share = (at_low - at_high).clamp(max=0.0).exp()
    log_p = at_high + torch.log1p(-share.clamp(max=1 - 1e-15))
    p = at_high.exp() * (share + (1 - share) * torch.where(flip, 1 - u, u))
    drawn = ndtri(p).clamp(min=-1e3)
    drawn = torch.minimum(torch.maximum(drawn, low), high).clamp(-40.0, 40.0)
    return torch.where(flip, -drawn, drawn), log_p


def _shift(rows: int, column: int) -> Tensor:
    return torch.from_numpy(np.random.default_rng(column).random(rows))
