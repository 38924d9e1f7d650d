"""The contract of a plain network."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from anabranch.checks import positive_int
from anabranch.described import Described


class Network(Described, ABC):
    r"""A function y = f(x, c) of a vector and, possibly, a context. It knows nothing of densities.

    .. code-block:: text

        forward(x, context=None) -> y
        x        (*batch, features)
        context  (*batch, context), or any shape that broadcasts against it; None where `context` is 0
        y        (*batch, outputs)

    To write your own: call `super().__init__(features, outputs, context)` and define `forward`.

    Attributes:
        product_dtype: in which to multiply matrices; that of the parameters if None. `fit` sets it, for the time it takes.

    Args:
        features: size of the last dimension of x. A function of a context alone takes it as its x.
        outputs: size of the last dimension of y.
        context: size of the last dimension of the context, 0 for none.
    """

    product_dtype: torch.dtype | None = None

    def __init__(self, features: int, outputs: int, context: int = 0) -> None:
        super().__init__()
        self.features = positive_int("features", features)
        self.outputs = positive_int("outputs", outputs)
        self.context = positive_int("context", context, least=0)

    @abstractmethod
    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor: ...
