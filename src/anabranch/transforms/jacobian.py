"""The Jacobian of a map of vectors, and its products with vectors, by reverse-mode differentiation."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Rows = Callable[[Tensor], Tensor]
"""A map of vectors (*batch, D) to vectors (*batch, D), each independently."""


def pulled_back(function: Rows, x: Tensor) -> tuple[Tensor, Rows]:
    """f(x), and the map from rows v to the rows v^T J, where J is the derivative of f at the row of x.

    Both are differentiable by x, by v and by the tensors that f closes over.
    """
    y, pull = torch.func.vjp(function, x)[:2]
    return y, lambda v: pull(v)[0]


def pushed_forward(function: Rows, x: Tensor) -> Rows:
    """The map from rows v to the rows J v. The map from v to v^T J is linear, so that pulling back through it gives J v."""
    _, pull = pulled_back(function, x)
    _, push = pulled_back(pull, torch.zeros_like(x))
    return push


def jacobian(function: Rows, x: Tensor) -> tuple[Tensor, Tensor]:
    """f(x), (*batch, D), and J, (*batch, D, D), with the derivative of output i by input j in row i and column j.

    It takes one pass forward and D passes back, side by side.

    Example:
        >>> import torch
        >>> from anabranch.transforms.jacobian import jacobian
        >>> y, derivative = jacobian(lambda x: x.square() + x.flip(-1), torch.tensor([[1.0, 3.0]]))
        >>> derivative
        tensor([[[2., 1.],
                 [1., 6.]]])
    """
    y, pull = pulled_back(function, x)
    features = x.shape[-1]
    directions = torch.eye(features, dtype=x.dtype, device=x.device).reshape(features, *[1] * (x.dim() - 1), features)
    return y, torch.func.vmap(pull)(directions.expand(features, *x.shape)).movedim(0, -2)
