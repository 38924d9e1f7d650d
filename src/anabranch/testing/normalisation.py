"""That a density integrates to one, and that its samples come from it: grids, sums and weighted draws."""

from __future__ import annotations

import copy
import math

import torch
from torch import Tensor

from anabranch.densities import Density
from anabranch.testing.expectations import expect
from anabranch.testing.numbers import unbiased
from anabranch.transforms.domain import is_everything

_TOLD = 0.05  # the standard error of a total that tells one from another


def check_normalised(
    density: Density, context: Tensor | None = None, draws: int = 10_000, tolerance: float = 1e-3
) -> float:
    """Check that the total probability is one.

    A discrete density is enumerated. One over all vectors of one or two numbers is summed on a grid around its samples, and
    on a finer one if need be; others, and those that change too much between the points of that too, are estimated by
    importance sampling, whose standard error is taken into account.

    Args:
        density: the density; it is checked in float64.
        context: (rows, c), if it takes one; the first row is used.
        draws: how many samples place the grid or the proposal; importance sampling takes eight times as many, and where that
            cannot tell the total, up to ten times as many again.
        tolerance: how far from one the total may be.

    Returns:
        the total that was found.

    Raises:
        AssertionError: it is not one, or cannot be told from other totals.

    Example:
        >>> import torch
        >>> from anabranch.densities import Categorical
        >>> from anabranch.testing import check_normalised
        >>> round(check_normalised(Categorical(torch.zeros(3))), 6)
        1.0
    """
    exact, given = _double(density, context)
    with torch.no_grad():
        sample = exact.sample((draws,), given).double()
        columns = _Columns(sample.flatten(1), density.support.is_discrete)
        if not columns.continuous and density.likelihood == "exact" and math.prod(columns.levels) <= 1_000_000:
            total, error = _enumerated(exact, given, columns), 0.0
        else:
            total, error = math.nan, math.inf
            known = is_everything(density.support) and density.likelihood == "exact"
            grids = {1: (9_601, 96_001), 2: (421, 1261)} if known else {}
            for points in grids.get(sample[0].numel(), ()):
                if error > tolerance:
                    total, error = _on_a_grid(exact, given, sample.flatten(1), points)
        if error > tolerance:
            total, error = _by_importance(exact, given, _Proposal(columns), 8 * draws)
    told = error < _TOLD
    expect(told, density, f"expected a total probability of 1, got {total:.5f} +- {error:.5f}; more draws would tell")
    wrong = abs(total - 1) > max(tolerance, 5 * error)
    expect(not wrong, density, f"expected a total probability of 1, got {total:.5f} +- {error:.5f}")
    return total


def check_samples(density: Density, context: Tensor | None = None, draws: int = 10_000) -> None:
    r"""Samples come from the density: their shares in regions are the density's probabilities of those regions.

    The regions are half-spaces, along every column and along some random directions, cut at quantiles of the samples. Their
    probabilities come from `log_prob` alone, by weighted draws from a proposal; the two must agree within their errors. The
    values of a discrete density are compared one by one.
    """
    exact, given = _double(density, context)
    with torch.no_grad():
        sample = exact.sample((draws,), given).double()
        flat = sample.flatten(1)
        columns = _Columns(flat, density.support.is_discrete)
        if not columns.continuous:
            values, counts = torch.unique(flat, dim=0, return_counts=True)
            for samples in (1_000,) if density.likelihood == "exact" else (1_000, 16_000):
                furthest = _furthest(exact, given, values, counts / draws, draws, samples)
                if furthest <= 5:  # else the weights of few draws may have hidden their spread
                    break
            expect(
                furthest <= 5,
                density,
                f"shares of sampled values: expected within 5 standard errors of their probabilities, got {furthest:.1f}",
            )
            return
        proposal = _Proposal(columns)
        other = proposal.draw(8 * draws)
        log_w = unbiased(exact)(other.unflatten(-1, density.event_shape), given) - proposal.log_prob(other)
        weights = torch.softmax(log_w, dim=0)
        for direction in _directions(flat):
            seen, elsewhere = flat @ direction, other @ direction
            for level in (0.1, 0.5, 0.9):
                threshold = seen.quantile(level)
                share = float((seen <= threshold).double().mean())
                below = (elsewhere <= threshold).double()
                wanted = float(weights @ below)
                variance = share * (1 - share) / draws + float(weights.square() @ (below - wanted).square())
                error = math.sqrt(variance)
                expect(
                    abs(wanted - share) <= 5 * error + 1e-9,
                    density,
                    f"samples against log_prob: expected a share of {wanted:.3f} (error {error:.3f}) below "
                    f"{float(threshold):.3f} along {[round(float(u), 2) for u in direction]}, got {share:.3f}",
                )


class _Columns:
    """Which columns of some samples hold discrete values, and how many levels 0, 1, ... those have, one unseen included."""

    def __init__(self, flat: Tensor, some_discrete: bool) -> None:
        self.flat = flat
        whole = [some_discrete and bool((column == column.round()).all()) for column in flat.unbind(dim=-1)]
        self.discrete = [i for i, flag in enumerate(whole) if flag]
        self.continuous = [i for i, flag in enumerate(whole) if not flag]
        self.levels = [int(flat[:, i].max()) + 2 for i in self.discrete]


class _Proposal:
    """Heavier tails than what is checked: Student t distributions along the principal axes of some samples.

    They have 3 degrees of freedom for a few numbers, and more for many: the variance of the weights, which is a product over
    the axes, would else tell nothing.
    Discrete columns are drawn uniformly over their levels.
    """

    def __init__(self, columns: _Columns) -> None:
        self.columns = columns
        flat = columns.flat[:, columns.continuous]
        self.mean = flat.mean(dim=0)
        covariance = torch.cov(flat.T).reshape(flat.shape[1], flat.shape[1])
        jitter = 1e-9 * torch.eye(flat.shape[1], dtype=flat.dtype)
        self.factor = torch.linalg.cholesky(covariance + jitter)
        self.student = torch.distributions.StudentT(torch.tensor(max(3.0, flat.shape[1] / 2), dtype=flat.dtype))

    def draw(self, count: int) -> Tensor:
        x = self.columns.flat.new_zeros(count, self.columns.flat.shape[1])
        noise = self.student.sample(torch.Size([count, len(self.mean)]))
        x[:, self.columns.continuous] = self.mean + noise @ self.factor.T
        for column, levels in zip(self.columns.discrete, self.columns.levels, strict=True):
            x[:, column] = torch.randint(levels, (count,)).to(x)
        return x

    def log_prob(self, x: Tensor) -> Tensor:
        centred = x[:, self.columns.continuous] - self.mean
        y = torch.linalg.solve_triangular(self.factor, centred.T, upper=False).T
        log_p: Tensor = self.student.log_prob(y).sum(dim=-1)
        return log_p - torch.diagonal(self.factor).log().sum() - sum(math.log(n) for n in self.columns.levels)


def _furthest(
    density: Density, context: Tensor | None, values: Tensor, shares: Tensor, draws: int, samples: int
) -> float:
    """How many standard errors shares of values (n, D) are from their probabilities, at most; log p by so many samples."""
    log_p, of_log_p = density.estimate(values.unflatten(-1, density.event_shape), context, samples=samples)
    probability = log_p.exp()
    errors = (probability * (1 - probability) / draws + (probability * of_log_p).square()).sqrt() + 2e-4
    return float(((shares - probability).abs() / errors).max())


def _double(density: Density, context: Tensor | None) -> tuple[Density, Tensor | None]:
    """A copy in float64, and one context for it."""
    return copy.deepcopy(density).double(), None if context is None else context[0].double()


def _directions(flat: Tensor) -> Tensor:
    """Each column, and a few random directions in which all columns count alike: (directions, columns)."""
    features = flat.shape[1]
    columns = torch.eye(features, dtype=flat.dtype)
    if features == 1:
        return columns
    mixed = torch.randn(4, features, dtype=flat.dtype) / flat.std(dim=0)
    return torch.cat([columns, mixed])


def _enumerated(density: Density, context: Tensor | None, columns: _Columns) -> float:
    levels = [torch.arange(float(n), dtype=columns.flat.dtype) for n in columns.levels]
    points = torch.cartesian_prod(*levels).reshape(-1, *density.event_shape)
    return float(unbiased(density)(points, context).exp().sum())


def _on_a_grid(density: Density, context: Tensor | None, flat: Tensor, count: int) -> tuple[float, float]:
    """A trapezoid sum around the samples, finest in their midst, and how far it moves with two or three times the spacing.

    Grid points are equally spaced in u, where x = median + deviation sinh(u) / 3, so that far tails are reached.
    """
    axes, spacings = [], []
    for column in flat.unbind(dim=-1):
        u = torch.linspace(-6.5, 6.5, count, dtype=flat.dtype)
        deviation = column.std() + 1e-6
        axes.append(column.median() + deviation * u.sinh() / 3)
        spacings.append(deviation * u.cosh() / 3 * (u[1] - u[0]))
    points = torch.cartesian_prod(*axes).reshape(-1, *density.event_shape)
    areas = torch.cartesian_prod(*spacings).reshape(len(points), -1).prod(dim=-1)
    heights = torch.cat([unbiased(density)(at, context).exp() for at in points.split(50_000)])
    masses = (heights * areas).reshape([count] * flat.shape[1])
    total = float(masses.sum())
    coarser = [masses[(slice(None, None, k),) * masses.dim()].sum() * k ** masses.dim() for k in (2, 3)]
    return total, max(abs(float(other) - total) for other in coarser)


def _by_importance(density: Density, context: Tensor | None, proposal: _Proposal, count: int) -> tuple[float, float]:
    """The mean of p / q over draws from q, and its standard error; more draws while that is too large."""
    weights = proposal.mean.new_zeros(0)
    for _ in range(10):
        x = proposal.draw(count)
        log_p = [unbiased(density)(rows.unflatten(-1, density.event_shape), context) for rows in x.split(50_000)]
        weights = torch.cat([weights, (torch.cat(log_p) - proposal.log_prob(x)).exp()])
        error = float(weights.std() / math.sqrt(len(weights)))
        if error < 0.8 * _TOLD:
            break
    return float(weights.mean()), error
