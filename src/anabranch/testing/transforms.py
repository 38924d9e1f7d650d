"""The conformance suite of the Transform contract."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor
from torch.autograd.gradcheck import GradcheckError

from anabranch.checks import instance_of, reference_tensor, written
from anabranch.draws import drawing
from anabranch.storage import load, save
from anabranch.testing.bijection import around_circle, check_bijection, drawn_events
from anabranch.testing.expectations import (
    checking,
    expect,
    expect_close,
    expect_fullgraph,
    expecting_value_error,
    first_line,
)
from anabranch.transforms import Inverse, Transform
from anabranch.transforms.domain import is_everything
from anabranch.transforms.transform import INVERSIONS


def check_transform(
    transform: Transform,
    x: Tensor | None = None,
    context: Tensor | None = None,
    *,
    savable: bool = True,
    compiles: bool = True,
    empty: bool = True,
    tolerance: float = 1e-4,
) -> None:
    """Put a transform through the contract: whether it is valid, and the point x where it is not.

    Shapes for any batch, as `forward_shape` and `inverse_shape` say them; a Jacobian that is nowhere singular and has a
    determinant of one sign, and a round trip in float64, at some hundred points around x; log-determinants against
    autodiff's Jacobian, both ways, and derivatives against finite differences, of an iterative inverse too, in float64;
    round trips both ways in float32; a log_det of -inf outside the domain; dtypes kept; NaN kept to its row; ValueError for
    what does not fit; `torch.compile(fullgraph=True)` of both directions; copies and files that give equal numbers; an
    `inversion` that says "none" where there is none, and only there.

    Of a transform whose log_det is an estimate (`Transform.estimated`), the mean of many draws against autodiff's Jacobian,
    and all else with the same draws at every call. A transform that solves an equation by steps is held to the error that
    its solver says (`Transform.error`), in float64 too. These two kinds are not compiled, since the number of their steps
    depends on values.

    Args:
        transform: the transform, in float32. Give it weights away from their start (`randomize`).
        x: (rows, *event), a few rows (3 to 10) of data in float32. If you give none they are drawn, and the contexts too, of
            a transform that knows its event shape and whose domain is everything or an interval.
        context: (rows, *context), if it takes one.
        savable: False for one that holds parts which no file can describe.
        compiles: False for one whose parts are not ours and do not compile.
        empty: False for one whose parts are not ours and fail on a batch without rows.
        tolerance: of the round trips, relative to 1 + |x|; the error of a solver where that is larger.

    Raises:
        AssertionError: it does not conform; one line says where.
        ValueError: no transform; or x is None, and cannot be drawn.

    Example:
        >>> import torch
        >>> from anabranch.testing import check_transform, randomize
        >>> from anabranch.transforms import LULinear
        >>> check_transform(randomize(LULinear(3)), torch.randn(4, 3))
        >>> check_transform(randomize(LULinear(3)))
    """
    instance_of("transform", transform, Transform)
    if x is None:
        x, context = drawn_events(transform)
    if transform.estimated:
        with checking(transform, "log_det"):
            check_estimate(transform, x, context)
        transform = Repeated(transform)
    with checking(transform, "shapes"):
        check_shapes(transform, x, context, empty)
    with checking(transform, "one-to-one"), _naming_the_solver(transform):
        check_bijection(transform, x, context)
    with checking(transform, "log_det"), _naming_the_solver(transform):
        check_log_det(transform, x, context)
    with checking(transform, "round trip"), _naming_the_solver(transform):
        check_round_trip(transform, x, context, tolerance)
    with checking(transform, "domain"):
        check_domain(transform, x, context)
    with checking(transform, "derivatives"), _naming_the_solver(transform):
        check_derivatives(transform, x, context)
    with checking(transform, "NaN"), _naming_the_solver(transform):
        check_nan(transform, x, context)
    check_refusals(transform, x, context)
    with checking(transform, "a deep copy"):
        _check_same_numbers(transform, copy.deepcopy(transform), x, context, "a deep copy")
    if savable:
        with checking(transform, "save and load"), tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "transform.safetensors"
            save(transform, path)
            _check_same_numbers(transform, load(path), x, context, "what a file gives back")
    if compiles and not transform.estimated and not transform.error:
        check_compiles(transform, x, context)


@contextmanager
def _naming_the_solver(transform: Transform) -> Iterator[None]:
    """Say where numbers differ that those of the transform are solved, and what brings them closer."""
    try:
        yield
    except AssertionError as error:
        if not transform.error:
            raise
        raise AssertionError(
            f"{error}; the equation is solved by steps: give Adaptive a smaller tolerance, or Fixed more steps"
        ) from error


def check_compiles(transform: Transform, x: Tensor, context: Tensor | None = None) -> None:
    """`torch.compile(fullgraph=True)` takes both directions, or the one there is."""
    expect_fullgraph(transform, (x, context), transform)
    if _invertible(transform):
        expect_fullgraph(transform.inverse, (transform(x, context)[0].detach(), context), transform)


def check_shapes(transform: Transform, x: Tensor, context: Tensor | None = None, empty: bool = True) -> None:
    """Shapes and dtypes of both directions, for a batch, one event, no event, a deeper batch, a broadcast context.

    A transform that takes no context ignores one.
    """
    rows, event = len(x), x.shape[1:]
    noise = transform.forward_shape(event)
    back = transform.inverse_shape(noise)
    expect(back == event, transform, f"inverse_shape of {tuple(noise)}: expected {tuple(event)}, got {tuple(back)}")
    got_dims, wanted_dims = (transform.event_dim, transform.noise_dim), (len(event), len(noise))
    expect(got_dims == wanted_dims, transform, f"event_dim, noise_dim: expected {wanted_dims}, got {got_dims}")
    shape = None if context is None else context.shape[1:]
    taken = transform.context_shape
    expect(
        shape == taken, transform, f"context_shape: expected {shape}, that of the context to check with, got {taken}"
    )
    cases: dict[str, tuple[Tensor, Tensor | None]] = {
        "a batch": (x, context),
        "one event": (x[0], None if context is None else context[0]),
        "a batch of batches": (x.expand(2, *x.shape), None if context is None else context.expand(2, *context.shape)),
    }
    if empty:
        cases["an empty batch"] = (x[:0], None if context is None else context[:0])
    if context is not None:
        cases["one context for all"] = (x, context[0])
        cases["one event, many contexts"] = (x[0], context)
        cases["one event, a context that repeats"] = (x[0], context[0].expand_as(context))
        cases["a batch, contexts that repeat"] = (x, context.expand(2, *context.shape))
    for case, (data, given) in cases.items():
        batch = data.shape[: data.dim() - len(event)]
        if given is not None and shape is not None:
            batch = torch.broadcast_shapes(batch, given.shape[: given.dim() - len(shape)])
        with checking(transform, f"forward of {case}"):
            z, _ = transform(data, given)
        directions: list[tuple[str, Callable[..., tuple[Tensor, Tensor]], Tensor, torch.Size]] = [
            ("forward", transform, data, noise)
        ]
        if _invertible(transform):
            directions.append(("inverse", transform.inverse, z.detach(), event))
        for name, direction, value, wanted in directions:
            with checking(transform, f"{name} of {case}"):
                result, log_det = direction(value, given)
            expect(result.shape == batch + wanted, transform, f"{name} of {case}: got shape {tuple(result.shape)}")
            expect(log_det.shape == batch, transform, f"{name} of {case}: got log_det of shape {tuple(log_det.shape)}")
            got = (result.dtype, log_det.dtype)
            expect(got == (x.dtype, x.dtype), transform, f"{name}: expected twice {x.dtype}, got {got}")
    if transform.context_shape is None:
        for got, wanted in zip(transform(x, x.new_ones(rows, 2)), transform(x), strict=True):
            expect_close(got, wanted, transform, "with a context, though it takes none", 0.0)


def check_log_det(transform: Transform, x: Tensor, context: Tensor | None = None) -> None:
    """log_det against autodiff's Jacobian, event by event, both ways, in float64; of an estimate, one way by the other."""
    transform, x, context = _double(transform, x, context)
    limit = max(1e-6, transform.error)
    z, log_dets = transform(x, context)
    for i in range(0 if transform.estimated else len(x)):
        given = None if context is None else context[i]
        wanted = _autodiff_log_det(transform, x[i], given)
        expect_close(log_dets[i], wanted, transform, f"log_det of row {i} against autodiff", limit, x[i : i + 1])
    if not _invertible(transform):
        return
    _, inverse_log_dets = transform.inverse(z.detach(), context)
    expect_close(inverse_log_dets, -log_dets, transform, "inverse's log_det against forward's", limit, x)
    if transform.estimated:
        return
    given = None if context is None else context[0]
    wanted = _autodiff_log_det(transform.inverse, z[0].detach(), given)
    iterates = " (an iterative inverse is differentiable too)" if transform.inversion == "iterative" else ""
    expect_close(inverse_log_dets[0], wanted, transform, f"inverse's log_det against autodiff{iterates}", limit, x[:1])


def check_estimate(transform: Transform, x: Tensor, context: Tensor | None = None, draws: int = 4_000) -> None:
    """log_det is a draw of its own for each event, whose mean over many is that of autodiff's Jacobian; and so is its
    derivative by x.
    """
    transform, x, context = _double(transform, x, context)
    repeated = x.expand(draws, *x.shape).clone().requires_grad_()
    with drawing(0):
        drawn = transform(repeated, context)[1]
        directions = torch.randn_like(x)
    slopes = torch.autograd.grad(drawn.sum(), repeated)[0]
    drawn = drawn.detach()
    error = drawn.std(dim=0) / draws**0.5
    # of one number Hutchinson's trace is the trace
    varied = x[0].numel() == 1 or bool((error > 0).all())
    expect(varied, transform, "log_det: expected other draws for other events, got the same")
    error = error + max(1e-6, transform.error)
    for i in range(len(x)):
        wanted = _autodiff_log_det(transform, x[i], None if context is None else context[i])
        off = float((drawn[:, i].mean() - wanted).abs() / error[i])
        expect(
            off <= 5,
            transform,
            f"log_det of row {i}: expected autodiff's within 5 standard errors, got {off:.1f} of them",
        )
        given, step = None if context is None else context[i], 1e-5 * directions[i]
        ahead, behind = (_autodiff_log_det(transform, x[i] + sign * step, given) for sign in (1, -1))
        along = (slopes[:, i] * directions[i]).flatten(1).sum(dim=-1)
        off = float((along.mean() - (ahead - behind) / 2e-5).abs() / (along.std() / draws**0.5 + 1e-4))
        expect(
            off <= 6,
            transform,
            f"derivative of log_det of row {i}: expected that of autodiff's log_det within 6 standard errors, got {off:.1f}",
        )


class Repeated(Transform):
    """A transform that draws the same random numbers at every call, so that calls can be compared.

    Args:
        transform: one whose log_det is an estimate.
    """

    _leaves_domain = True

    def __init__(self, transform: Transform) -> None:
        super().__init__(transform.event_shape, transform.context_shape, transform.noise_shape)
        self.transform = transform
        self.event_dim = transform.event_dim
        self.inversion, self.scoring = transform.inversion, transform.scoring

    def _forward(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        with drawing(0):
            result: tuple[Tensor, Tensor] = self.transform(x, context)
        return result

    def _inverse(self, z: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        with drawing(0):
            return self.transform.inverse(z, context)


def check_round_trip(transform: Transform, x: Tensor, context: Tensor | None = None, tolerance: float = 1e-4) -> None:
    """inverse(forward(x)) = x in float32 and, to 1e-8 unless it is iterative, in float64; forward(inverse(z)) = z too."""
    for name, cost in (("inversion", transform.inversion), ("scoring", transform.scoring)):
        expect(cost in INVERSIONS, transform, f"{name}: expected one of {INVERSIONS}, got {cost!r}")
    if not _invertible(transform):
        try:
            transform.inverse(x, context)
        except NotImplementedError:
            return
        raise AssertionError(
            f"{type(transform).__name__}: inversion is 'none': expected inverse() to raise NotImplementedError, got values"
        )
    tolerance = max(tolerance, transform.error)
    exact = tolerance if "iterative" in (transform.inversion, transform.scoring) else 1e-8
    for (t, data, given), limit in (((transform, x, context), tolerance), (_double(transform, x, context), exact)):
        z, _ = t(data, given)
        back, _ = t.inverse(z, given)
        expect_close(around_circle(t, back, data), data, t, f"round trip in {data.dtype}", limit, data)
        again = around_circle(t, t(back, given)[0], z)
        expect_close(again, z, t, f"round trip from the noise in {data.dtype}", limit, z, "z")


def check_domain(transform: Transform, x: Tensor, context: Tensor | None = None) -> None:
    """Inside the domain log_det is finite; outside log_det is -inf and z finite, in those rows and no others."""
    _, wanted = transform(x, context)
    finite = torch.isfinite(wanted)
    where = "" if bool(finite.all()) else f"{wanted.tolist()} at x = {written(x[int((~finite).int().argmax())])}"
    expect(bool(finite.all()), transform, f"log_det: expected finite numbers, got {where}")
    if is_everything(transform.domain):
        return
    expect(bool(transform.domain.check(x).all()), transform, "domain: expected all of x within it, got some outside")
    rest = [i for i in range(len(x)) if i != 1]
    for shift in (-100.0, 100.0):
        moved = x.flatten(1).clone()
        moved[1, -1] += shift
        moved = moved.reshape(x.shape)
        outside = ~transform.domain.check(moved)
        z, log_det = transform(moved, context)
        least = bool(log_det[outside].isneginf().all()) and bool(torch.isfinite(z).all())
        expect(least, transform, f"outside the domain: expected finite z and a log_det of -inf, got {z}, {log_det}")
        expect_close(log_det[rest], wanted[rest], transform, "log_det of rows beside one outside the domain", 1e-6)


def check_derivatives(transform: Transform, x: Tensor, context: Tensor | None = None) -> None:
    """Derivatives of z and log_det by x, context and parameters against finite differences, in float64; of an iterative
    inverse too. Of an estimate z alone: the derivative of a draw is another draw, for `check_estimate`.
    """
    transform, x, context = _double(transform, x[:2], None if context is None else context[:2])
    with _expecting_derivatives(transform, "derivatives"):
        _check_gradients(transform, x, context)
    if transform.inversion == "iterative":
        with _expecting_derivatives(transform, "derivatives of the inverse"):
            _check_gradients(Inverse(transform), transform(x, context)[0], context)


@contextmanager
def _expecting_derivatives(transform: Transform, what: str) -> Iterator[None]:
    try:
        yield
    except GradcheckError as error:
        raise AssertionError(f"{type(transform).__name__}: {what}: {first_line(error).rstrip(',')}") from error


def _check_gradients(transform: Transform, x: Tensor, context: Tensor | None) -> None:
    named = {name: p for name, p in transform.named_parameters() if p.numel()}
    given = [] if context is None else [context]

    def function(data: Tensor, *values: Tensor) -> tuple[Tensor, ...]:
        replaced = dict(zip(named, values[len(given) :], strict=True))
        at = (data, values[0] if given else None)
        result: tuple[Tensor, Tensor] = torch.func.functional_call(transform, replaced, at)
        taken = result[:1] if transform.estimated else result
        return tuple(value for value in taken if value.requires_grad)

    inputs = [value.detach().clone().requires_grad_() for value in (x, *given, *named.values())]
    # the fast mode compares the Jacobians along a random direction
    torch.autograd.gradcheck(function, inputs, eps=1e-6, atol=max(1e-4, transform.error), rtol=1e-3, fast_mode=True)


def check_nan(transform: Transform, x: Tensor, context: Tensor | None = None) -> None:
    """A NaN anywhere in a row shows in that row's z, and in no other row."""
    wanted, wanted_log_det = transform(x, context)
    # a solver's steps are as long as all rows allow: without a row they are others, and round otherwise
    tolerance = max(1e-5 if transform.scoring == "iterative" else 1e-6, transform.error)
    rest = [i for i in range(len(x)) if i != 1]
    for place in range(x[0].numel()):
        broken = x.flatten(1).clone()
        broken[1, place] = torch.nan
        z, log_det = transform(broken.reshape(x.shape), context)
        expect(bool(z[1].isnan().any()), transform, f"a NaN at place {place} of x: expected a NaN in z, got numbers")
        expect_close(z[rest], wanted[rest], transform, "rows beside one with NaN", tolerance)
        expect_close(log_det[rest], wanted_log_det[rest], transform, "log_det of rows beside one with NaN", tolerance)


def check_refusals(transform: Transform, x: Tensor, context: Tensor | None = None) -> None:
    """ValueError, with what was expected and what it got, for wrong shapes and dtypes, both ways."""
    directions: list[tuple[Callable[..., object], Tensor]] = [(transform, x)]
    if _invertible(transform):
        directions.append((transform.inverse, transform(x, context)[0].detach()))
    for direction, value in directions:
        if transform.event_shape is not None:
            with expecting_value_error(transform, "x of another shape"):
                direction(torch.cat([value, value[..., :1]], dim=-1), context)
        with expecting_value_error(transform, "x of too few dimensions"):
            direction(value.flatten()[0], context)
        if reference_tensor(transform) is not None:
            with expecting_value_error(transform, "x of another dtype"):
                direction(value.double(), context)
        with expecting_value_error(transform, "whole numbers for x"):
            direction(value.long(), context)
        if context is None:
            continue
        with expecting_value_error(transform, "no context"):
            direction(value)
        with expecting_value_error(transform, "a context of another shape"):
            direction(value, torch.cat([context, context[..., :1]], dim=-1))
        with expecting_value_error(transform, "contexts of another number than x"):
            direction(value, torch.cat([context, context[:1]]))
        with expecting_value_error(transform, "a list as the context"):
            direction(value, context.tolist())
        with expecting_value_error(transform, "a context of another dtype"):
            direction(value, context.double())


def _check_same_numbers(one: Transform, other: Transform, x: Tensor, context: Tensor | None, what: str) -> None:
    for got, wanted in zip(other(x, context), one(x, context), strict=True):
        expect(bool(torch.equal(got, wanted)), one, f"{what}: expected equal numbers, got others")


def _invertible(transform: Transform) -> bool:
    return transform.inversion != "none"


def _double(transform: Transform, x: Tensor, context: Tensor | None) -> tuple[Transform, Tensor, Tensor | None]:
    return copy.deepcopy(transform).double(), x.double(), None if context is None else context.double()


def _autodiff_log_det(direction: Callable[..., tuple[Tensor, Tensor]], at: Tensor, context: Tensor | None) -> Tensor:
    jacobian = torch.autograd.functional.jacobian(lambda v: direction(v, context)[0], at)
    return torch.linalg.slogdet(jacobian.reshape(at.numel(), at.numel())).logabsdet
