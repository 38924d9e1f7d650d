"""The conformance suite of the UnivariateMap contract."""

from __future__ import annotations

import copy
import tempfile
from pathlib import Path

import torch
from torch import Tensor

from anabranch.storage import load, save
from anabranch.testing.expectations import checking, expect, expect_close, expect_fullgraph
from anabranch.transforms import UnivariateMap


def check_univariate_map(
    univariate: UnivariateMap,
    x: Tensor,
    parameters: Tensor | None = None,
    *,
    savable: bool = True,
    compiles: bool = True,
    tolerance: float = 1e-4,
) -> None:
    """Put a univariate map through the contract.

    Shapes, also of no numbers and of one row of parameters for all; log-derivatives against autodiff, both ways, in float64;
    that it rises; round trips in float32; that parameters of zero give finite slopes; NaN stays NaN;
    `torch.compile(fullgraph=True)` of both directions; files that give equal numbers.

    Args:
        univariate: the map.
        x: (numbers,), in float32, where to look; within the map's domain.
        parameters: (numbers, size); random ones by default.
        savable: False for one that holds parts which no file can describe.
        compiles: False for one whose parts are not ours and do not compile.
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
    wanted = (*x.shape, univariate.size)
    expect(
        parameters.shape == wanted, univariate, f"parameters: expected shape {wanted}, got {tuple(parameters.shape)}"
    )
    with checking(univariate, "shapes"):
        check_map_shapes(univariate, x, parameters)
    with checking(univariate, "round trip"):
        z, _ = univariate(x, parameters)
        expect_close(univariate.inverse(z, parameters)[0], x, univariate, "round trip in float32", tolerance)
    with checking(univariate, "log-derivative"):
        check_map_derivatives(univariate, x, parameters)
    with checking(univariate, "parameters of zero"):
        _, log_derivative = univariate(x, torch.zeros_like(parameters))
        finite = bool(torch.isfinite(log_derivative).all())
        expect(finite, univariate, "parameters of zero: expected finite log-derivatives, got others")
    with checking(univariate, "NaN"):
        broken = x.clone()
        broken[0] = torch.nan
        for name, direction in (("forward", univariate), ("inverse", univariate.inverse)):
            got = direction(broken, parameters)[0][0]
            expect(bool(got.isnan()), univariate, f"{name} of NaN: expected NaN, got {float(got.detach())}")
    if savable:
        with checking(univariate, "save and load"), tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "map.safetensors"
            save(univariate, path)
            again = load(path)(x, parameters)
        for got, wanted_numbers in zip(again, univariate(x, parameters), strict=True):
            expect_close(got, wanted_numbers, univariate, "what a file gives back", 0.0)
    if compiles:
        expect_fullgraph(univariate, (x, parameters), univariate)
        expect_fullgraph(univariate.inverse, (z.detach(), parameters), univariate)


def check_map_shapes(univariate: UnivariateMap, x: Tensor, parameters: Tensor) -> None:
    """Shapes, dtypes and finite numbers of both directions; parameters that are shared by many numbers broadcast."""
    z, _ = univariate(x, parameters)
    pairs = x.expand(3, *x.shape), z.detach().expand(3, *z.shape)
    cases: dict[str, tuple[Tensor, Tensor, Tensor]] = {
        "numbers": (x, z.detach(), parameters),
        "no numbers": (x[:0], z[:0].detach(), parameters[:0]),
        "one number": (x[0], z[0].detach(), parameters[0]),
        "rows that share their parameters": (*pairs, parameters),
    }
    for case, (data, noise, theta) in cases.items():
        for name, value, direction in (("forward", data, univariate), ("inverse", noise, univariate.inverse)):
            for output in direction(value, theta):
                got = (tuple(output.shape), output.dtype)
                wanted = (tuple(value.shape), value.dtype)
                expect(got == wanted, univariate, f"{name} of {case}: expected twice {wanted}, got {got}")
                finite = bool(torch.isfinite(output).all())
                expect(finite, univariate, f"{name} of {case}: expected finite numbers, got others")


def check_map_derivatives(univariate: UnivariateMap, x: Tensor, parameters: Tensor) -> None:
    """log dz/dx and log dx/dz against autodiff, and the round trip to 1e-8, in float64; the slope is positive."""
    exact = copy.deepcopy(univariate).double()
    at, theta = x.double().requires_grad_(), parameters.double()
    z, log_derivative = exact(at, theta)
    (slope,) = torch.autograd.grad(z.sum(), at)
    lowest = float(slope.min())
    expect(lowest > 0, univariate, f"expected a rising function, got a slope of {lowest:g}")
    expect_close(log_derivative, slope.log(), univariate, "log-derivative against autodiff", 1e-7)
    start = z.detach().requires_grad_()
    back, inverse_log_derivative = exact.inverse(start, theta)
    (slope,) = torch.autograd.grad(back.sum(), start)
    expect_close(back, at, univariate, "round trip in float64", 1e-8)
    expect_close(inverse_log_derivative, slope.log(), univariate, "the inverse's log-derivative against autodiff", 1e-6)
