"""The conformance suite of the UnivariateMap contract."""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from anabranch.testing.expectations import expect, expect_close
from anabranch.transforms import UnivariateMap


def check_univariate_map(
    univariate: UnivariateMap, x: Tensor, parameters: Tensor | None = None, *, tolerance: float = 1e-4
) -> None:
    """Put a univariate map through the contract.

    Its log-derivative against autodiff, both ways, in float64; that it rises; round trips in float32; NaN stays NaN.

    Args:
        univariate: the map.
        x: (numbers,), in float32, where to look; within the map's domain.
        parameters: (numbers, size); random ones by default.
        tolerance: of the round trip, relative to 1 + |x|.

    Raises:
        AssertionError: it does not conform; one line says where.

    Example:
        >>> import torch
        >>> from anabranch.testing import check_univariate_map
        >>> from anabranch.transforms import Affine
        >>> check_univariate_map(Affine(), torch.linspace(-3, 3, 20))
    """
    if parameters is None:
        generator = torch.Generator().manual_seed(0)
        parameters = torch.randn(*x.shape, univariate.size, generator=generator)
    expect(parameters.shape == (*x.shape, univariate.size), univariate, "parameters of another shape than (*x, size)")
    z, log_derivative = univariate(x, parameters)
    expect(
        z.shape == log_derivative.shape == x.shape, univariate, f"expected shape {tuple(x.shape)}, got {tuple(z.shape)}"
    )
    expect(z.dtype == log_derivative.dtype == x.dtype, univariate, f"expected dtype {x.dtype}, got {z.dtype}")
    back, inverse_log_derivative = univariate.inverse(z, parameters)
    expect_close(back, x, univariate, "round trip in float32", tolerance)
    expect(bool(torch.isfinite(log_derivative).all()), univariate, "log-derivative is not finite")
    expect(bool(torch.isfinite(inverse_log_derivative).all()), univariate, "the inverse's log-derivative is not finite")

    exact = copy.deepcopy(univariate).double()
    at, theta = x.double().requires_grad_(), parameters.double()
    z, log_derivative = exact(at, theta)
    (slope,) = torch.autograd.grad(z.sum(), at)
    expect(bool((slope > 0).all()), univariate, "expected a rising function, got a slope of 0 or less")
    expect_close(log_derivative, slope.log(), univariate, "log-derivative against autodiff", 1e-7)
    start = z.detach().requires_grad_()
    back, inverse_log_derivative = exact.inverse(start, theta)
    (slope,) = torch.autograd.grad(back.sum(), start)
    expect_close(back, at, univariate, "round trip in float64", 1e-8)
    expect_close(inverse_log_derivative, slope.log(), univariate, "the inverse's log-derivative against autodiff", 1e-6)

    broken = x.clone()
    broken[0] = torch.nan
    for z in (univariate(broken, parameters)[0], univariate.inverse(broken, parameters)[0]):
        expect(bool(z[0].isnan()), univariate, "a NaN became a number")
