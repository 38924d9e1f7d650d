"""Products with matrices whose zeros lie above a staircase."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor

from anabranch.networks.columns import linear

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
    if dtype is not None:
        weight, bias, h = weight.to(dtype), bias.to(dtype), h.to(dtype)
    if len(steps) == 1:
        return linear(weight, bias, h)
    if torch.compiler.is_compiling():
        return torch.cat([linear(weight[a:b, :c], bias[a:b], h[:c]) for a, b, c in steps])
    # The bias as the weight's column for a unit that is always 1: one product then does it all, backward too, where a bias
    # of its own would be one more pass over the many outputs each way.
    weight = torch.cat([bias.unsqueeze(-1), weight], dim=1)
    h = torch.cat([h.new_ones(1, 1).expand(1, h.shape[1]), h])
    if torch.is_autocast_enabled(h.device.type):  # which does not reach into the operation below
        dtype = torch.get_autocast_dtype(h.device.type)
        weight, h = weight.to(dtype), h.to(dtype)
    result: Tensor = _StaircaseProduct.apply(weight, h, steps)  # type: ignore[no-untyped-call]
    return result


class _StaircaseProduct(torch.autograd.Function):
    """Each panel's product is written where it belongs, forward and backward: no copies, no sums of padded gradients."""

    @staticmethod
    def forward(weight: Tensor, h: Tensor, steps: tuple[Panel, ...]) -> Tensor:
        y = h.new_empty(weight.shape[0], h.shape[1])
        for a, b, c in steps:
            torch.mm(weight[a:b, : c + 1], h[: c + 1], out=y[a:b])
        return y

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        weight, h, ctx.steps = inputs
        ctx.save_for_backward(weight, h)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        weight, h = ctx.saved_tensors
        (to_y,) = gradients
        if torch.is_grad_enabled():  # the zeros multiplied out, differentiably
            return to_y @ h.mT, weight.mT @ to_y, None
        to_weight, to_h = torch.zeros_like(weight), torch.zeros_like(h)
        for a, b, c in ctx.steps:
            torch.mm(to_y[a:b], h[: c + 1].mT, out=to_weight[a:b, : c + 1])
            to_h[: c + 1].addmm_(weight[a:b, : c + 1].mT, to_y[a:b])
        return to_weight, to_h, None

    @staticmethod
    def vmap(
        info: Any, in_dims: tuple[int | None, ...], weight: Tensor, h: Tensor, steps: tuple[Panel, ...]
    ) -> tuple[Tensor, int]:
        """A batch of h is more columns, since rows of data are columns already; other batches multiply the zeros out."""
        of_weight, of_h, _ = in_dims
        if of_weight is None and of_h is not None:
            h = h.movedim(of_h, 1)
            y = _StaircaseProduct.apply(weight, h.flatten(1), steps)  # type: ignore[no-untyped-call]
            return y.unflatten(1, h.shape[1:]), 1
        weight, h = (x if dim is None else x.movedim(dim, 0) for x, dim in ((weight, of_weight), (h, of_h)))
        return weight @ h, 0
