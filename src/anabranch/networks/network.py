"""The contract of a plain network."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor

from anabranch.checks import as_context_shape, as_shape
from anabranch.described import Described

Shape = int | Sequence[int]
"""The size of a vector, or the shape of an array such as (channels, height, width)."""


class Network(Described, ABC):
    r"""A function y = f(x, c) of an array and, possibly, a context. It knows nothing of densities.

    .. code-block:: text

        forward(x, context=None) -> y
        x        (*batch, *in_shape)
        context  (*batch, *context_shape), or any batch shape that broadcasts against it; None where there is none
        y        (*batch, *out_shape)

    To write your own: call `super().__init__(features, outputs, context)` and define `forward`.

    Attributes:
        in_shape: the shape of one x.
        out_shape: the shape of one y.
        context_shape: the shape of one context, None for none.
        features: how many numbers one x has.
        outputs: how many numbers one y has.
        context: how many numbers one context has, 0 for none.
        gaps: whether a NaN in x means that it was not observed; otherwise it makes outputs NaN.
        product_dtype: in which to multiply matrices; that of the parameters if None. `fit` sets it, for the time it takes.

    Args:
        features: the size of x, or its shape. A function of a context alone takes it as its x.
        outputs: the size of y, or its shape.
        context: the size of the context, or its shape; 0 for none.
    """

    product_dtype: torch.dtype | None = None
    gaps: bool = False

    def __init__(self, features: Shape, outputs: Shape, context: Shape | None = 0) -> None:
        super().__init__()
        self.in_shape = as_shape("features", features)
        self.out_shape = as_shape("outputs", outputs)
        self.context_shape = as_context_shape("context", context)
        self.features = self.in_shape.numel()
        self.outputs = self.out_shape.numel()
        self.context = 0 if self.context_shape is None else self.context_shape.numel()

    @abstractmethod
    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor: ...

    def _as_vectors(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """(*batch, features) and (*batch, context), as layers over features take them."""
        x = as_vectors(x, self.in_shape)
        return x, None if context is None or self.context_shape is None else as_vectors(context, self.context_shape)

    def _as_outputs(self, y: Tensor) -> Tensor:
        """(*batch, outputs) as (*batch, *out_shape)."""
        return y if len(self.out_shape) == 1 else y.unflatten(-1, self.out_shape)


def as_vectors(x: Tensor, shape: torch.Size) -> Tensor:
    """(*batch, *shape) as (*batch, numbers)."""
    return x if len(shape) == 1 else x.flatten(x.dim() - len(shape))
