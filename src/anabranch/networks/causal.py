"""The contract of a causal network."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor

from anabranch.checks import as_context_shape, as_shape, positive_int
from anabranch.described import Described
from anabranch.networks.network import Shape


class CausalNetwork(Described, ABC):
    r"""Outputs for position d look only at the positions before d:  y_d = f_d(x_1, ..., x_{d-1}, c).

    One object, two ways to run it, which agree:

    .. code-block:: text

        forward(x, context=None) -> y                 every position at once (training, density)
        start(batch_shape, context=None) -> state     before the first position
        step(state, x_previous) -> (y_d, state)       one position after the other (inversion, sampling)

        x           (*batch, *positions), or where a position has channels (*batch, *positions, channels)
        context     (*batch, *context_shape), or any batch shape that broadcasts against it
        y           (*batch, *positions, outputs)
        x_previous  (*batch) or (*batch, channels), the value at the position before; None at the first position
        y_d         (*batch, outputs)

    Positions of several dimensions, (height, width), come row by row, the last dimension fastest.

    `step` reuses what the earlier steps computed, so that a whole pass of steps costs about one `forward`, not as many as
    there are positions. The state belongs to the network; a caller only hands it back, and hands each state back once (a
    step may write into it). When gradients are recorded, steps are differentiable like `forward`.

    To write your own: call `super().__init__(positions, outputs, context, channels)` and define the three methods.
    `anabranch.testing.check_causal_network` tells whether they agree.

    Attributes:
        positions: their shape.
        channels: how many numbers a position has, None where it is one number.
        event_shape: the shape of one x, (*positions) or (*positions, channels).
        features: how many positions there are.
        outputs: numbers per position.
        context_shape: the shape of one context, None for none.
        context: how many numbers one context has, 0 for none.
        product_dtype: in which to multiply matrices; that of the parameters if None. `fit` sets it, for the time it takes.
        unrolls: whether `forward` too takes one position after the other, so that a compiler would write out all of them,
            or not take it: log_prob of a density with it in it is not compiled.

    Args:
        positions: the number of positions, or their shape.
        outputs: numbers per position.
        context: the size of the context, or its shape; 0 for none.
        channels: numbers in one position; None: x has no dimension for them.
    """

    product_dtype: torch.dtype | None = None
    unrolls: bool = False

    def __init__(self, positions: Shape, outputs: int, context: Shape | None = 0, channels: int | None = None) -> None:
        super().__init__()
        self.positions = as_shape("features", positions)
        self.channels = None if channels is None else positive_int("channels", channels)
        self.event_shape = self.positions if channels is None else torch.Size([*self.positions, channels])
        self.features = self.positions.numel()
        self.outputs = positive_int("outputs", outputs)
        self.context_shape = as_context_shape("context", context)
        self.context = 0 if self.context_shape is None else self.context_shape.numel()

    @abstractmethod
    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor: ...

    @abstractmethod
    def start(self, batch_shape: torch.Size, context: Tensor | None = None) -> Any: ...

    @abstractmethod
    def step(self, state: Any, x_previous: Tensor | None) -> tuple[Tensor, Any]: ...
