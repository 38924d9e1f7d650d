"""The conformance suite of the Transform contract."""

from __future__ import annotations

import copy
import tempfile
from pathlib import Path

import torch
from torch import Tensor
from torch.autograd.gradcheck import GradcheckError

from anabranch.storage import load, save
from anabranch.testing.expectations import expect, expect_close, expect_fullgraph, expecting_value_error
from anabranch.transforms import Transform


def check_transform(
    transform: Transform,
    x: Tensor,
    context: Tensor | None = None,
    *,
    savable: bool = True,
    compiles: bool = True,
    tolerance: float = 1e-4,
) -> None:
    """Put a transform through the contract.

    Shapes for any batch; log-determinants against autodiff's Jacobian, both ways, and derivatives against finite
    differences, in float64; round trips both ways in float32; dtypes kept; NaN kept to its row; ValueError for what does not
    fit; `torch.compile(fullgraph=True)`; copies and files that give equal numbers.

    Args:
        transform: the transform, in float32. Give it weights away from their start (`randomize`).
        x: (rows, *event), a few rows (3 to 10) of data in float32.
        context: (rows, c), if it takes one.
        savable: False for one that holds parts which no file can describe.
        compiles: False for one whose parts are not ours and do not compile.
        tolerance: of the round trips, relative to 1 + |x|.

    Raises:
        AssertionError: it does not conform; one line says where.

    Example:
        >>> import torch
        >>> from anabranch.testing import check_transform, randomize
        >>> from anabranch.transforms import LULinear
        >>> check_transform(randomize(LULinear(3)), torch.randn(4, 3))
    """
    check_shapes(transform, x, context)
    check_log_det(transform, x, context)
    check_round_trip(transform, x, context, tolerance)
    check_derivatives(transform, x, context)
    check_nan(transform, x, context)
    check_refusals(transform, x, context)
    _check_same_numbers(transform, copy.deepcopy(transform), x, context, "a deep copy")
    if savable:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "transform.safetensors"
            save(transform, path)
            _check_same_numbers(transform, load(path), x, context, "what a file gives back")
    if compiles:
        expect_fullgraph(transform, (x, context), transform)


def check_shapes(transform: Transform, x: Tensor, context: Tensor | None = None) -> None:
    """Shapes and dtypes of both directions, for a batch, one event, no event, a deeper batch, a broadcast context."""
    rows, event = len(x), x.shape[1:]
    expect(len(event) == transform.event_dim, transform, f"expected event_dim {len(event)}, got {transform.event_dim}")
    cases: dict[str, tuple[Tensor, Tensor | None]] = {
        "a batch": (x, context),
        "one event": (x[0], None if context is None else context[0]),
        "an empty batch": (x[:0], None if context is None else context[:0]),
        "a batch of batches": (x.expand(2, *x.shape), None if context is None else context.expand(2, *context.shape)),
    }
    if context is not None:
        cases["one context for all"] = (x, context[0])
        cases["one event, many contexts"] = (x[0], context)
    for case, (data, given) in cases.items():
        batch = torch.Size([rows]) if case == "one event, many contexts" else data.shape[: data.dim() - len(event)]
        directions = [("forward", transform)] + ([("inverse", transform.inverse)] if _invertible(transform) else [])
        for name, direction in directions:
            z, log_det = direction(data, given)
            expect(z.shape == batch + event, transform, f"{name} of {case}: got shape {tuple(z.shape)}")
            expect(log_det.shape == batch, transform, f"{name} of {case}: got log_det of shape {tuple(log_det.shape)}")
            expect(z.dtype == log_det.dtype == x.dtype, transform, f"{name}: expected {x.dtype}, got {z.dtype}")


def check_log_det(transform: Transform, x: Tensor, context: Tensor | None = None) -> None:
    """log_det against autodiff's Jacobian, event by event, both ways, in float64."""
    transform, x, context = _double(transform, x, context)
    z, log_dets = transform(x, context)
    for i in range(len(x)):
        given = None if context is None else context[i]
        wanted = _autodiff_log_det(lambda v, c=given: transform(v, c)[0], x[i])
        expect_close(log_dets[i], wanted, transform, f"log_det of row {i} against autodiff", 1e-6)
    if not _invertible(transform):
        return
    _, inverse_log_dets = transform.inverse(z.detach(), context)
    expect_close(inverse_log_dets, -log_dets, transform, "inverse's log_det against forward's", 1e-6)
    given = None if context is None else context[0]
    wanted = _autodiff_log_det(lambda v: transform.inverse(v, given)[0], z[0].detach())
    expect_close(inverse_log_dets[0], wanted, transform, "inverse's log_det against autodiff", 1e-6)


def check_round_trip(transform: Transform, x: Tensor, context: Tensor | None = None, tolerance: float = 1e-4) -> None:
    """inverse(forward(x)) = x in float32 and, to 1e-8, in float64; forward(inverse(z)) = z too."""
    if not _invertible(transform):
        with_inverse = copy.deepcopy(transform)
        try:
            with_inverse.inverse(x, context)
        except NotImplementedError:
            return
        raise AssertionError(f"{type(transform).__name__}: says that it has no inverse, but inverse() gave one")
    for (t, data, given), limit in (((transform, x, context), tolerance), (_double(transform, x, context), 1e-8)):
        z, _ = t(data, given)
        expect_close(t.inverse(z, given)[0], data, t, f"round trip in {data.dtype}", limit)
        back, _ = t.inverse(z.detach(), given)
        expect_close(t(back, given)[0], z, t, f"round trip from the noise in {data.dtype}", limit)


def check_derivatives(transform: Transform, x: Tensor, context: Tensor | None = None) -> None:
    """Derivatives of z and log_det with respect to x and the parameters against finite differences, in float64."""
    transform, x, context = _double(transform, x[:2], None if context is None else context[:2])
    parameters = [p for p in transform.parameters() if p.numel() <= 64]
    names = [name for name, p in transform.named_parameters() if p.numel() <= 64]

    def function(data: Tensor, *values: Tensor) -> tuple[Tensor, ...]:
        replaced = dict(zip(names, values, strict=True))
        result: tuple[Tensor, Tensor] = torch.func.functional_call(transform, replaced, (data, context))
        return tuple(value for value in result if value.requires_grad)

    inputs = [value.detach().clone().requires_grad_() for value in (x, *parameters)]
    try:
        torch.autograd.gradcheck(function, inputs, eps=1e-6, atol=1e-4, rtol=1e-3)
    except GradcheckError as error:
        raise AssertionError(f"{type(transform).__name__}: derivatives: {error}") from error


def check_nan(transform: Transform, x: Tensor, context: Tensor | None = None) -> None:
    """A NaN in one row shows in that row's z, and in no other row."""
    broken = x.clone()
    broken[1].flatten()[0] = torch.nan
    broken[1] = broken[1].reshape(x.shape[1:])
    z, log_det = transform(broken, context)
    expect(bool(z[1].isnan().any()), transform, "a NaN in x became a number in z")
    clean = [i for i in range(len(x)) if i != 1]
    wanted, wanted_log_det = transform(x, context)
    expect_close(z[clean], wanted[clean], transform, "rows beside one with NaN", 1e-6)
    expect_close(log_det[clean], wanted_log_det[clean], transform, "log_det of rows beside one with NaN", 1e-6)


def check_refusals(transform: Transform, x: Tensor, context: Tensor | None = None) -> None:
    """ValueError, with what was expected, for wrong shapes and dtypes."""
    if transform.event_shape is not None:
        with expecting_value_error(transform, "x of another shape"):
            transform(torch.cat([x, x[..., :1]], dim=-1), context)
    if any(True for _ in transform.parameters()):
        with expecting_value_error(transform, "x of another dtype"):
            transform(x.double(), context)
    with expecting_value_error(transform, "whole numbers for x"):
        transform(x.long(), context)
    if transform.context_shape is not None and context is not None:
        with expecting_value_error(transform, "no context"):
            transform(x)
        with expecting_value_error(transform, "a context of another shape"):
            transform(x, torch.cat([context, context[..., :1]], dim=-1))


def _check_same_numbers(one: Transform, other: Transform, x: Tensor, context: Tensor | None, what: str) -> None:
    for got, wanted in zip(other(x, context), one(x, context), strict=True):
        expect(bool(torch.equal(got, wanted)), one, f"{what}: expected equal numbers, got others")


def _invertible(transform: Transform) -> bool:
    return transform.inversion != "none"


def _double(transform: Transform, x: Tensor, context: Tensor | None) -> tuple[Transform, Tensor, Tensor | None]:
    return copy.deepcopy(transform).double(), x.double(), None if context is None else context.double()


def _autodiff_log_det(function: object, at: Tensor) -> Tensor:
    jacobian = torch.autograd.functional.jacobian(function, at)
    return torch.linalg.slogdet(jacobian.reshape(at.numel(), at.numel())).logabsdet
