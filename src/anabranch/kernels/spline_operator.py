"""The spline as one differentiable operation that keeps its inputs and nothing else for the gradient."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from types import FunctionType
from typing import Any

import torch
from torch import Tensor

from anabranch.compiled import own_copy
from anabranch.draws import calling_compiled
from anabranch.kernels.modes import takes_opaque_operations
from anabranch.kernels.spline_bins import GatheredSearch, Spacing, UnrolledSearch
from anabranch.kernels.spline_curve import Curve, differentiate, evaluate
from anabranch.torch_internals import forward_mode

_GATHERED, _UNROLLED = GatheredSearch(), UnrolledSearch()
# How many values the plain operations take at once: their tables, a few dozen numbers a value, are then reused while they
# are in the processor's caches, and are not handed back to the system and cleared anew between any two operations.
_PIECE = 65_536


def spline(value: Tensor, parameters: Tensor, curve: Curve, inverse: bool, fused: bool) -> tuple[Tensor, Tensor]:
    """`evaluate`, differentiable any number of times.

    Args:
        value: x or z, any shape.
        parameters: (*shape that broadcasts with the value's, 3 K - 1).
        curve: the spline.
        inverse: whether the value is a z.
        fused: whether to run compiled loops, one for a whole direction, in place of PyTorch's operations one by one.
    """
    if value.dim() == 0:  # both searches want a dimension of rows
        z, log_derivative = spline(value.unsqueeze(0), parameters, curve, inverse, fused)
        return (z.squeeze(0), log_derivative.squeeze(0)) if parameters.dim() == 1 else (z, log_derivative)
    if parameters.dim() == 1:
        parameters = parameters.unsqueeze(0)
    # A single row is not worth a compilation of its own, which PyTorch makes for a size of 1.
    fused = fused and max(value.shape[-1], parameters.shape[-2]) > 1
    if fused and torch.compiler.is_compiling():
        if not takes_opaque_operations():
            return evaluate(value, parameters, curve, inverse, _UNROLLED)
        return _fused_spline(value, parameters, *curve.spacing, curve.max_log_ratio, curve.unit_ends, inverse)
    if not torch.compiler.is_compiling() and forward_mode():
        # by PyTorch's rules for each operation: through tangents of a function's own no second tangent passes
        return evaluate(value, parameters, curve, inverse, _GATHERED)
    if not torch.is_grad_enabled():  # the way of sampling, whose steps are small: it saves the cost of a node
        return _evaluate(value, parameters, curve, inverse, fused)
    z, log_derivative = _Spline.apply(value, parameters, curve, inverse, fused)  # type: ignore[no-untyped-call]
    return z, log_derivative


def _evaluate(value: Tensor, parameters: Tensor, curve: Curve, inverse: bool, fused: bool) -> tuple[Tensor, Tensor]:
    if fused:
        return _evaluate_fused(value, parameters, curve, inverse)

    def run(value: Tensor, parameters: Tensor) -> tuple[Tensor, ...]:
        return evaluate(value, parameters, curve, inverse, _GATHERED)

    z, log_derivative = _in_pieces(run, value, parameters)
    return z, log_derivative


def _differentiate(
    x: Tensor, parameters: Tensor, u: Tensor, v: Tensor, curve: Curve, inverse: bool
) -> tuple[Tensor, Tensor]:
    def run(x: Tensor, parameters: Tensor, u: Tensor, v: Tensor) -> tuple[Tensor, ...]:
        to_value, to_parameters = differentiate(x, parameters, u, v, curve, inverse, _GATHERED)
        return to_value, to_parameters.mT  # as it lies in memory

    to_value, to_parameters = _in_pieces(run, x, parameters, u, v)
    return to_value, to_parameters.mT


def _in_pieces(
    run: Callable[..., tuple[Tensor, ...]], value: Tensor, parameters: Tensor, *more: Tensor
) -> tuple[Tensor, ...]:
    """Run it on pieces of the values, cut along the first dimension that can be, and put the results together.

    Rows are the last dimension of every result, and of the value; the last but one of the parameters.
    """
    shape = _common_shape(value, parameters)
    if shape.numel() <= _PIECE or value.device.type != "cpu" or torch.compiler.is_compiling():
        return run(value, parameters, *more)
    tensors = (value.expand(shape), parameters.expand(*shape, -1), *(part.expand(shape) for part in more))
    dim = next(i for i, size in enumerate(shape) if size > 1)
    count = min(shape[dim], -(-shape.numel() // _PIECE))
    pieces = zip(*(tensor.chunk(count, dim) for tensor in tensors), strict=True)
    results = zip(*(_in_pieces(run, *piece) for piece in pieces), strict=True)
    return tuple(torch.cat(parts, -1 if dim == len(shape) - 1 else dim) for parts in results)


class _Spline(torch.autograd.Function):
    """Keeps x and the parameters; the backward pass finds the bin again, which costs less than to write it down."""

    generate_vmap_rule = True

    @staticmethod
    def forward(value: Tensor, parameters: Tensor, curve: Curve, inverse: bool, fused: bool) -> tuple[Tensor, Tensor]:
        return _evaluate(value, parameters, curve, inverse, fused)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
        value, parameters, ctx.curve, ctx.inverse, ctx.fused = inputs
        ctx.save_for_backward(output[0] if ctx.inverse else value, parameters)
        ctx.shape = value.shape

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, parameters = ctx.saved_tensors
        u, v = gradients
        # A second derivative is taken through the plain operations.
        fused = ctx.fused and not torch.is_grad_enabled()
        if fused:
            to_value, to_parameters = _differentiate_fused(x, parameters, u, v, ctx.curve, ctx.inverse)
        else:
            to_value, to_parameters = _differentiate(x, parameters, u, v, ctx.curve, ctx.inverse)
        return to_value.sum_to_size(ctx.shape), to_parameters.sum_to_size(parameters.shape), None, None, None


# The compiled loops. Whatever the caller has, they see two dimensions, so that each is compiled once for a spline, a dtype
# and a size, and once more for all sizes when the size changes; later processes find it in PyTorch's cache on disk.


def _forward(x: Tensor, parameters: Tensor, curve: Curve) -> tuple[Tensor, Tensor]:
    return evaluate(x, parameters, curve, False, _UNROLLED)


def _inverse(z: Tensor, parameters: Tensor, curve: Curve) -> tuple[Tensor, Tensor]:
    return evaluate(z, parameters, curve, True, _UNROLLED)


def _forward_gradient(x: Tensor, parameters: Tensor, u: Tensor, v: Tensor, curve: Curve) -> tuple[Tensor, Tensor]:
    return differentiate(x, parameters, u, v, curve, False, _UNROLLED)


def _inverse_gradient(x: Tensor, parameters: Tensor, u: Tensor, v: Tensor, curve: Curve) -> tuple[Tensor, Tensor]:
    return differentiate(x, parameters, u, v, curve, True, _UNROLLED)


@cache
def _compiled(function: FunctionType, curve: Curve) -> Callable[..., tuple[Tensor, Tensor]]:
    return torch.compile(own_copy(function))


def _evaluate_fused(value: Tensor, parameters: Tensor, curve: Curve, inverse: bool) -> tuple[Tensor, Tensor]:
    shape = _common_shape(value, parameters)
    run = _compiled(_inverse if inverse else _forward, curve)
    with torch.no_grad(), calling_compiled(draws=False):
        z, log_derivative = run(_as_matrix(value, shape), _as_tables(parameters, shape), curve)
    return (z, log_derivative) if len(shape) == 2 else (z.view(shape), log_derivative.view(shape))


def _differentiate_fused(
    x: Tensor, parameters: Tensor, u: Tensor, v: Tensor, curve: Curve, inverse: bool
) -> tuple[Tensor, Tensor]:
    shape = _common_shape(x, parameters)
    x, u, v = (_as_matrix(value, shape) for value in (x, u, v))
    run = _compiled(_inverse_gradient if inverse else _forward_gradient, curve)
    with torch.no_grad(), calling_compiled(draws=False):
        to_input, to_parameters = run(x, _as_tables(parameters, shape), u, v, curve)
    return to_input.view(shape), to_parameters.view(*shape, parameters.shape[-1])


def _common_shape(value: Tensor, parameters: Tensor) -> torch.Size:
    # the usual case first: to broadcast shapes takes longer than a small spline
    shape = parameters.shape[:-1]
    return shape if value.shape == shape else torch.broadcast_shapes(value.shape, shape)


def _as_matrix(value: Tensor, shape: torch.Size) -> Tensor:
    value = value.detach()
    if value.shape != shape:
        value = value.expand(shape)
    # In one layout: so is what comes out, as the declared shapes of the operations below promise.
    return (value if len(shape) == 2 else value.reshape(-1, shape[-1])).contiguous()


def _as_tables(parameters: Tensor, shape: torch.Size) -> Tensor:
    parameters = parameters.detach()
    if parameters.shape[:-1] != shape:
        parameters = parameters.expand(*shape, -1)
    return parameters if len(shape) == 2 else parameters.reshape(-1, shape[-1], parameters.shape[-1])


# For a compiler that takes the whole model the loops are opaque operations: it would mix the two directions' graphs and
# write down dozens of intermediate values rather than compute them again.


@torch.library.custom_op("anabranch::spline", mutates_args=())
def _fused_spline(
    value: Tensor,
    parameters: Tensor,
    bins: int,
    bound: float,
    least: float,
    max_log_ratio: float,
    unit_ends: bool,
    inverse: bool,
) -> tuple[Tensor, Tensor]:
    return _evaluate_fused(value, parameters, _curve(bins, bound, least, max_log_ratio, unit_ends), inverse)


@torch.library.custom_op("anabranch::spline_backward", mutates_args=())
def _fused_gradient(
    x: Tensor,
    parameters: Tensor,
    to_value: Tensor,
    to_log: Tensor,
    bins: int,
    bound: float,
    least: float,
    max_log_ratio: float,
    unit_ends: bool,
    inverse: bool,
) -> tuple[Tensor, Tensor]:
    curve = _curve(bins, bound, least, max_log_ratio, unit_ends)
    return _differentiate_fused(x, parameters, to_value, to_log, curve, inverse)


def _curve(bins: int, bound: float, least: float, max_log_ratio: float, unit_ends: bool) -> Curve:
    return Curve(Spacing(bins, bound, least), max_log_ratio, unit_ends)


@_fused_spline.register_fake
def _(value: Tensor, parameters: Tensor, *_: Any) -> tuple[Tensor, Tensor]:
    shape = torch.broadcast_shapes(value.shape, parameters.shape[:-1])
    return value.new_empty(shape), value.new_empty(shape)


@_fused_gradient.register_fake
def _(x: Tensor, parameters: Tensor, *_: Any) -> tuple[Tensor, Tensor]:
    shape = torch.broadcast_shapes(x.shape, parameters.shape[:-1])
    return x.new_empty(shape), x.new_empty((*shape[:-1], parameters.shape[-1], shape[-1])).mT


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    value, parameters, *ctx.constants = inputs
    ctx.save_for_backward(output[0] if ctx.constants[-1] else value, parameters)
    ctx.shape = value.shape


def _backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
    x, parameters = ctx.saved_tensors
    to_value, to_parameters = _fused_gradient(x, parameters, *gradients, *ctx.constants)
    nothing = (None,) * len(ctx.constants)
    return (to_value.sum_to_size(ctx.shape), to_parameters.sum_to_size(parameters.shape), *nothing)


_fused_spline.register_autograd(_backward, setup_context=_keep)
