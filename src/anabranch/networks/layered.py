"""The contract of a causal network whose layers can be read one by one."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

from torch import Tensor

from anabranch.networks.causal import CausalNetwork


class LayeredCausalNetwork(CausalNetwork):
    r"""A causal network that is a stack of layers, h_0 = e(x), h_l = f_l(h_{l-1}), y = r(h_L).

    Every prefix of the stack has a hidden state, from which a head can read outputs: what a mixture from depth is made of.

    .. code-block:: text

        hidden(x, context=None) -> [h_1, ..., h_L]        (*batch, *positions, width_l) each, every position at once
        read(h) -> y                                      (*batch, ..., outputs), of the last hidden state
        enter(state, x_previous) -> (h_0, state)          (rows, width_0), one position after the other
        deepen(state, l, h, rows=None) -> (h_l, state)    (rows, width_l), layer l = 1, ..., L at the same position

    `forward` and `step` follow. A state belongs to the network, and is handed back once, as in `CausalNetwork`; `rows` is
    the product of the batch shape.

    Where `leaves_early`, layer l at a position reads h_{l-1} of that position and else nothing that a layer made: then
    `deepen` may be called for some rows alone (`rows`, a tensor of their numbers, of which h has the states), and need
    not be called for all layers. Otherwise every position calls the same first layers, all of them or fewer, for all rows
    and in their order: no layer reads what a deeper one keeps.

    Attributes:
        widths: of the hidden states h_1, ..., h_L.
        leaves_early: whether a position may leave the stack early, at no cost to later ones.
    """

    widths: Sequence[int]
    leaves_early: bool = False

    @property
    def depths(self) -> int:
        """How many layers there are."""
        return len(self.widths)

    @abstractmethod
    def hidden(self, x: Tensor, context: Tensor | None = None) -> list[Tensor]: ...

    @abstractmethod
    def read(self, h: Tensor) -> Tensor: ...

    @abstractmethod
    def enter(self, state: Any, x_previous: Tensor | None) -> tuple[Tensor, Any]: ...

    @abstractmethod
    def deepen(self, state: Any, depth: int, h: Tensor, rows: Tensor | None = None) -> tuple[Tensor, Any]: ...

    @abstractmethod
    def batch_of(self, state: Any) -> Sequence[int]:
        """The batch shape with which a state was started."""

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        return self.read(self.hidden(x, context)[-1])

    def step(self, state: Any, x_previous: Tensor | None) -> tuple[Tensor, Any]:
        h, state = self.enter(state, x_previous)
        for depth in range(1, self.depths + 1):
            h, state = self.deepen(state, depth, h)
        y = self.read(h)
        return y.reshape(*self.batch_of(state), *y.shape[1:]), state
