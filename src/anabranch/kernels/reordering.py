"""Features in another order, with a gradient that is a reordering too."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from anabranch.kernels.modes import takes_opaque_operations


def reordered(x: Tensor, order: Tensor, places: Tensor) -> Tensor:
    """x[order] along the first dimension.

    Args:
        x: (features, *batch).
        order: a permutation.
        places: its inverse, with which a compiled gradient is read back. PyTorch's own is added up element by element, as
            for indices of which some come twice; run by itself that is quick, but no loop can be fused with it.
    """
    if takes_opaque_operations() and torch.is_grad_enabled():
        result: Tensor = _Reordered.apply(x, order, places)  # type: ignore[no-untyped-call]
        return result
    return x.index_select(0, order)


class _Reordered(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, order: Tensor, places: Tensor) -> Tensor:
        return x.index_select(0, order)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        _, *permutations = inputs
        ctx.save_for_backward(*permutations)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        order, places = ctx.saved_tensors
        (to_result,) = gradients
        return reordered(to_result, places, order), None, None
