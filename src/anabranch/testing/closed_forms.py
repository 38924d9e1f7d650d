"""What a density says in closed form, against its log_prob and its samples."""

from __future__ import annotations

import torch
from torch import Tensor

from anabranch.densities import Density, at_context
from anabranch.testing.expectations import expect

_ROWS = 4
# standard errors, of estimates and of means over draws
_ERRORS = 6.0
_TOLERANCE = 2e-3
_SHARES = (0.1, 0.5, 0.8)


def check_closed_forms(density: Density, context: Tensor | None = None, draws: int = 10_000) -> None:
    """Marginal times conditional is the joint; moments and the distribution function are those of the samples.

    What the density answers with None is left out.

    Args:
        density: the density.
        context: (*batch, *context), if it takes one; the first is taken.
        draws: how many samples.

    Raises:
        AssertionError: something does not agree; one line says what.
    """
    if len(density.event_shape) != 1:
        return
    one = None
    if context is not None and density.context_shape is not None:
        one = context.reshape(-1, *density.context_shape)[0]
    fixed = at_context(density, one)
    x = fixed.sample((draws,))
    if density.event_shape[0] > 1:
        _check_conditional(density, fixed, x[:_ROWS], one)
    _check_moments(density, one, x)
    for i in range(density.event_shape[0]):
        marginal = fixed if density.event_shape[0] == 1 else fixed.marginal([i])
        if marginal is not None:
            _check_distribution_function(density, marginal, x[:, i])


def _check_conditional(density: Density, fixed: Density, x: Tensor, context: Tensor | None) -> None:
    features = x.shape[-1]
    observed, rest = [features - 1], list(range(features - 1))
    seen = density.marginal(observed, context)
    if seen is None:
        return
    joint, error_joint = fixed.estimate(x)
    log_seen, error_seen = seen.estimate(x[:, observed])
    open_one = density.conditional(observed) if context is None else None
    for k, row in enumerate(x):
        left = density.conditional(observed, row[observed], context)
        if left is None:
            return
        log_left, error = left.estimate(row[rest])
        allowed = _TOLERANCE * (1 + joint[k].abs()) + _ERRORS * (error + error_seen[k] + error_joint[k])
        off = (log_left + log_seen[k] - joint[k]).abs()
        expect(
            bool(off <= allowed),
            density,
            f"marginal times conditional: expected the joint, got {float(off):g} nats off",
        )
        if open_one is not None:
            again, error = open_one.estimate(row[rest], row[observed])
            off = (again - log_left).abs()
            close = bool(off <= _TOLERANCE * (1 + log_left.abs()) + 2 * _ERRORS * error)
            expect(
                close, density, f"conditional of values as a context: expected the same, got {float(off):g} nats off"
            )


def _check_moments(density: Density, context: Tensor | None, x: Tensor) -> None:
    found = density.moments(context)
    if found is None or not bool(found.mean.isfinite().all()):
        return
    error = _ERRORS * x.std(dim=0) / len(x) ** 0.5 + 1e-3
    off = ((found.mean - x.mean(dim=0)).abs() / error).max()
    expect(bool(off <= 1), density, f"moments: expected the samples' mean, got {found.mean.tolist()}")
    if found.covariance is not None and bool(found.covariance.isfinite().all()):
        d = x - x.mean(dim=0)
        products = d.unsqueeze(-1) * d.unsqueeze(-2)
        error = _ERRORS * products.std(dim=0) / len(x) ** 0.5 + 1e-3
        off = ((found.covariance - products.mean(dim=0)).abs() / error).max()
        expect(bool(off <= 1), density, f"moments: expected the samples' covariance, got {found.covariance.tolist()}")


def _check_distribution_function(density: Density, marginal: Density, x: Tensor) -> None:
    known = marginal.distribution_function()
    if known is None:
        return
    u = torch.tensor(_SHARES, dtype=torch.float64)
    q = known.quantile(u)
    under, upto = known.below(q)
    expect(
        bool((under <= u + 1e-4).all() & (upto >= u - 1e-4).all()),
        density,
        f"quantile: expected P(X < q) <= u <= P(X <= q), got {under.tolist()}, {u.tolist()} and {upto.tolist()}",
    )
    # what lies between two values tells them apart, whatever the rounding of one that has a probability
    edges = 0.5 * (q + known.quantile(u + 0.05)) + 1e-6
    shares = (x.double().cpu().unsqueeze(-1) <= edges).double().mean(dim=0)
    p = known.below(edges)[1]
    # weights of float32 may sum to a little more than one
    error = _ERRORS * (p * (1 - p) / len(x)).clamp(min=0).sqrt() + 1e-3
    expect(
        bool(((shares - p).abs() <= error).all()),
        density,
        f"distribution_function: expected the samples' shares, got {p.tolist()} for {shares.tolist()}",
    )
