"""Products with matrices whose zeros lie above a staircase."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor

# Panels of fewer rows cost more in calls than they save in multiplications.
_LEAST_ROWS = 160
_MOST_PANELS = 4


class Panel(NamedTuple):
    """Rows begin to end, which read no columns from `columns` on."""

    begin: int
    end: int
    columns: int


def panels(reach: Sequence[int]) -> tuple[Panel, ...]:
    """Cut a staircase into panels of about equal height.

    Args:
        reach: how many columns each row reads; it never falls from one row to the next.
    """
    rows = len(reach)
    count = max(1, min(_MOST_PANELS, rows // _LEAST_ROWS))
    edges = [rows * i // count for i in range(count + 1)]
    return tuple(Panel(a, b, max(1, reach[b - 1])) for a, b in pairwise(edges))


def staircase_product(weight: Tensor, bias: Tensor, h: Tensor, steps: tuple[Panel, ...]) -> Tensor:
    """weight h + bias, (rows, n), skipping the columns that no row of a panel reads.

    Args:
        weight: (rows, columns), zero above the staircase.
        bias: (rows,).
        h: (columns, n).
        steps: the panels. The gradient of the weight is right below the staircase alone: whoever set the zeros masks it.
    """
    if len(steps) == 1:
        return torch.addmm(bias.unsqueeze(-1), weight, h)
    if torch.compiler.is_compiling():
        parts = [torch.addmm(bias[a:b].unsqueeze(-1), weight[a:b, :c], h[:c]) for a, b, c in steps]
        return torch.cat(parts)
    result: Tensor = _StaircaseProduct.apply(weight, bias, h, steps)  # type: ignore[no-untyped-call]
    return result


class _StaircaseProduct(torch.autograd.Function):
    """Each panel's product is written where it belongs, forward and backward: no copies, no sums of padded gradients."""

    @staticmethod
    def forward(weight: Tensor, bias: Tensor, h: Tensor, steps: tuple[Panel, ...]) -> Tensor:
        column = bias.unsqueeze(-1)
        dtype = torch.get_autocast_dtype(h.device.type) if torch.is_autocast_enabled(h.device.type) else h.dtype
        weight, column, h = weight.to(dtype), column.to(dtype), h.to(dtype)
        y = h.new_empty(weight.shape[0], h.shape[1])
        for a, b, c in steps:
            torch.addmm(column[a:b], weight[a:b, :c], h[:c], out=y[a:b])
        return y

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        weight, _, h, ctx.steps = inputs
        ctx.save_for_backward(weight, h)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        weight, h = ctx.saved_tensors
        (to_y,) = gradients
        to_bias = to_y.sum(dim=1).to(weight.dtype)
        if torch.is_grad_enabled():  # the zeros multiplied out, differentiably
            return (to_y @ h.mT).to(weight.dtype), to_bias, weight.mT @ to_y, None
        narrow, low = weight.to(to_y.dtype), h.to(to_y.dtype)
        to_weight, to_h = torch.zeros_like(narrow), torch.zeros_like(low)
        for a, b, c in ctx.steps:
            torch.mm(to_y[a:b], low[:c].mT, out=to_weight[a:b, :c])
            to_h[:c].addmm_(narrow[a:b, :c].mT, to_y[a:b])
        return to_weight.to(weight.dtype), to_bias, to_h.to(h.dtype), None

    @staticmethod
    def vmap(
        info: Any, in_dims: tuple[int | None, ...], weight: Tensor, bias: Tensor, h: Tensor, steps: tuple[Panel, ...]
    ) -> tuple[Tensor, int]:
        """Rows of data are columns of h already, so a batch of h is more columns; other batches multiply the zeros out."""
        of_weight, of_bias, of_h, _ = in_dims
        if of_weight is None and of_bias is None and of_h is not None:
            h = h.movedim(of_h, 1)
            y = staircase_product(weight, bias, h.flatten(1), steps)
            return y.unflatten(1, h.shape[1:]), 1
        front = [x if dim is None else x.movedim(dim, 0) for x, dim in zip((weight, bias, h), in_dims, strict=False)]
        return front[0] @ front[2] + front[1].unsqueeze(-1), 0
