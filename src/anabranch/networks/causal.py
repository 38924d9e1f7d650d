"""The contract of a causal network."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor

from anabranch.checks import positive_int
from anabranch.described import Described


class CausalNetwork(Described, ABC):
    r"""Outputs for position d look only at the positions before d:  y_d = f_d(x_1, ..., x_{d-1}, c).

    One object, two ways to run it, which agree:

    .. code-block:: text

        forward(x, context=None) -> y                 every position at once (training, density)
        start(batch_shape, context=None) -> state     before the first position
        step(state, x_previous) -> (y_d, state)       one position after the other (inversion, sampling)

        x           (*batch, features)
        y           (*batch, features, outputs)
        x_previous  (*batch), the value at the position before; None at the first position
        y_d         (*batch, outputs)

    `step` reuses what the earlier steps computed, so that a whole pass of steps costs about one `forward`, not `features`
    of them. The state belongs to the network; a caller only hands it back, and hands each state back once (a step may
    write into it). When gradients are recorded, steps are differentiable like `forward`.

    To write your own: call `super().__init__(features, outputs, context)` and define the three methods.
    `anabranch.testing.check_causal_network` tells whether they agree.

    Attributes:
        product_dtype: in which to multiply matrices; that of the parameters if None. `fit` sets it, for the time it takes.

    Args:
        features: number of positions.
        outputs: numbers per position.
        context: size of the context, 0 for none.
    """

    product_dtype: torch.dtype | None = None

    def __init__(self, features: int, outputs: int, context: int = 0) -> None:
        super().__init__()
        self.features = positive_int("features", features)
        self.outputs = positive_int("outputs", outputs)
        self.context = positive_int("context", context, least=0)

    @abstractmethod
    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor: ...

    @abstractmethod
    def start(self, batch_shape: torch.Size, context: Tensor | None = None) -> Any: ...

    @abstractmethod
    def step(self, state: Any, x_previous: Tensor | None) -> tuple[Tensor, Any]: ...
