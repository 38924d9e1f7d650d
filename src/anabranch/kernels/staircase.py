"""Products with matrices whose zeros lie above a staircase."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor

from anabranch.kernels.layout import by_columns, cast
from anabranch.kernels.modes import autocasts, may_write, takes_opaque_operations
from anabranch.torch_internals import is_legacy_batched

# What pays, by number of rows: panels of few rows cost more in calls, and in less efficient products, than they save.
_PANELS = ((0, 1), (180, 2), (640, 4))
# A panel reads whole multiples of so many columns: products of odd sizes are slower.
_COLUMNS = 16


class Panel(NamedTuple):
    """Rows begin to end, which read no columns from `columns` on."""

    begin: int
    end: int
    columns: int


def panels(reach: Sequence[int], columns: int) -> tuple[Panel, ...]:
    """Cut a staircase into panels of about equal height.

    Args:
        reach: how many columns each row reads; it never falls from one row to the next.
        columns: how many there are.
    """
    rows = len(reach)
    count = max(count for least, count in _PANELS if rows >= least)
    edges = [rows * i // count for i in range(count + 1)]
    whole = [max(1, -(-reach[b - 1] // _COLUMNS)) * _COLUMNS for b in edges[1:]]
    return tuple(Panel(a, b, min(c, columns)) for (a, b), c in zip(pairwise(edges), whole, strict=True))


def staircase_product(
    weight: Tensor, bias: Tensor, h: Tensor, steps: tuple[Panel, ...], dtype: torch.dtype | None = None
) -> Tensor:
    """weight h + bias, (rows, n), skipping the columns that no row of a panel reads.

    Args:
        weight: (rows, columns), zero above the staircase.
        bias: (rows,).
        h: (columns, n).
        steps: the panels. The gradient of the weight is right below the staircase alone: whoever set the zeros masks it.
        dtype: in which to multiply; that of the arguments if None.
    """
    weight, bias, h = cast(dtype, weight, bias, h)
    if len(steps) == 1 or (torch.compiler.is_compiling() and not takes_opaque_operations()):
        return by_columns(weight, bias, h)
    if autocasts(h.device) and h.dtype != torch.float64:
        # which does not reach into the operations below, and leaves float64 alone
        weight, bias, h = cast(torch.get_autocast_dtype(h.device.type), weight, bias, h)
    if takes_opaque_operations():
        product: Tensor = _opaque_product(weight, bias, h, [size for step in steps for size in step])
        return product
    result: Tensor = _StaircaseProduct.apply(weight, bias, h, steps)  # type: ignore[no-untyped-call]
    return result


# Each panel's product is written where it belongs, forward and backward: no copies, no sums of padded gradients.


def _product(weight: Tensor, bias: Tensor, h: Tensor, steps: Sequence[Panel]) -> Tensor:
    bias = bias.unsqueeze(-1)
    y = h.new_empty(weight.shape[0], h.shape[1])
    for a, b, c in steps:
        torch.addmm(bias[a:b], weight[a:b, :c], h[:c], out=y[a:b])
    return y


def _to_weight(to_y: Tensor, h: Tensor, steps: Sequence[Panel]) -> Tensor:
    """The gradient of the weight, zero where no panel reads."""
    to_weight = h.new_zeros(to_y.shape[0], h.shape[0])
    for a, b, c in steps:
        torch.mm(to_y[a:b], h[:c].mT, out=to_weight[a:b, :c])
    return to_weight


def _to_h(to_y: Tensor, weight: Tensor, steps: Sequence[Panel]) -> Tensor:
    """The gradient of h; it lies in memory as the networks lay h, units of a row together."""
    to_h = weight.new_zeros(to_y.shape[1], weight.shape[1])
    for a, b, c in steps:
        part = to_h[:, :c]
        torch.addmm(part, to_y[a:b].mT, weight[a:b, :c], out=part)
    return to_h.mT


class _StaircaseProduct(torch.autograd.Function):
    """For running operations one by one.

    By panels go the product and, where nothing looks on at them (`may_write`), the gradients of it that are asked for. The
    rest is the dense formula, zeros multiplied out: gradients that are differentiated again, in either mode, or batched;
    tangents; and under `vmap` the product itself if weight or bias is batched. So derivatives of any order and mode hold,
    and `vmap` of them, given that the tangent of the weight has the zeros of the weight.
    """

    @staticmethod
    def forward(weight: Tensor, bias: Tensor, h: Tensor, steps: tuple[Panel, ...]) -> Tensor:
        return _product(weight, bias, h, steps)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        weight, _, h, ctx.steps = inputs
        ctx.set_materialize_grads(False)  # an absent tangent is None, not zeros to multiply
        ctx.save_for_backward(weight, h)
        ctx.save_for_forward(weight, h)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        weight, h = ctx.saved_tensors
        (to_y,) = gradients
        if to_y is None:
            return None, None, None, None
        for_weight, for_bias, for_h, _ = ctx.needs_input_grad
        to_bias = to_y.sum(dim=1) if for_bias else None
        if may_write() and not is_legacy_batched(to_y):
            to_weight = _to_weight(to_y, h, ctx.steps) if for_weight else None
            return to_weight, to_bias, _to_h(to_y, weight, ctx.steps) if for_h else None, None
        return to_y @ h.mT if for_weight else None, to_bias, weight.mT @ to_y if for_h else None, None

    @staticmethod
    def jvp(ctx: Any, *tangents: Tensor | None) -> Tensor | None:
        weight, h = ctx.saved_tensors
        of_weight, of_bias, of_h, _ = tangents
        parts = [
            None if of_weight is None else of_weight @ h,
            None if of_h is None else weight @ of_h,
            None if of_bias is None else of_bias.unsqueeze(-1).expand(-1, h.shape[1]),
        ]
        present = [part for part in parts if part is not None]
        return sum(present[1:], present[0]) if present else None

    @staticmethod
    def vmap(
        info: Any, in_dims: tuple[int | None, ...], weight: Tensor, bias: Tensor, h: Tensor, steps: tuple[Panel, ...]
    ) -> tuple[Tensor, int]:
        """A batch of h is more columns, since rows of data are columns already; other batches multiply the zeros out."""
        of_weight, of_bias, of_h, _ = in_dims
        if of_weight is None and of_bias is None and of_h is not None:
            h = h.movedim(of_h, 1)
            y = _StaircaseProduct.apply(weight, bias, h.flatten(1), steps)  # type: ignore[no-untyped-call]
            return y.unflatten(1, h.shape[1:]), 1
        weight, bias, h = (
            x if dim is None else x.movedim(dim, 0) for x, dim in ((weight, of_weight), (bias, of_bias), (h, of_h))
        )
        return weight @ h + bias.unsqueeze(-1), 0


# For a compiler, which would copy the panels together.


@torch.library.custom_op("anabranch::staircase", mutates_args=())
def _opaque_product(weight: Tensor, bias: Tensor, h: Tensor, steps: list[int]) -> Tensor:
    return _product(weight, bias, h, _panels_from(steps))


@torch.library.custom_op("anabranch::staircase_to_weight", mutates_args=())
def _opaque_to_weight(to_y: Tensor, h: Tensor, steps: list[int]) -> Tensor:
    return _to_weight(to_y, h, _panels_from(steps))


@torch.library.custom_op("anabranch::staircase_to_h", mutates_args=())
def _opaque_to_h(to_y: Tensor, weight: Tensor, steps: list[int]) -> Tensor:
    return _to_h(to_y, weight, _panels_from(steps))


def _panels_from(sizes: list[int]) -> list[Panel]:
    return [Panel(*sizes[i : i + 3]) for i in range(0, len(sizes), 3)]


@_opaque_product.register_fake
def _(weight: Tensor, bias: Tensor, h: Tensor, steps: list[int]) -> Tensor:
    return h.new_empty(weight.shape[0], h.shape[1])


@_opaque_to_weight.register_fake
def _(to_y: Tensor, h: Tensor, steps: list[int]) -> Tensor:
    return h.new_empty(to_y.shape[0], h.shape[0])


@_opaque_to_h.register_fake
def _(to_y: Tensor, weight: Tensor, steps: list[int]) -> Tensor:
    return weight.new_empty(to_y.shape[1], weight.shape[1]).mT


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    weight, _, h, ctx.steps = inputs
    ctx.save_for_backward(weight, h)


def _backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
    weight, h = ctx.saved_tensors
    (to_y,) = gradients
    for_weight, for_bias, for_h, *_ = ctx.needs_input_grad
    return (
        _opaque_to_weight(to_y, h, ctx.steps) if for_weight else None,
        to_y.sum(dim=1) if for_bias else None,
        _opaque_to_h(to_y, weight, ctx.steps) if for_h else None,
        None,
    )


_opaque_product.register_autograd(_backward, setup_context=_keep)
