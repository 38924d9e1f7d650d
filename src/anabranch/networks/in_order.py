"""The weights of a masked network under another order of the positions."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from anabranch.checks import instance_of, numbers_below
from anabranch.kernels.reordering import reordered
from anabranch.networks.causal import CausalNetwork
from anabranch.networks.masked_mlp import MaskedMLP, MaskedMLPState, Weights


class InOrder(CausalNetwork):
    r"""A masked multilayer perceptron whose position i is place order[i] of another, with the same weights:

    .. math:: y_i = f_{\sigma_i}(x_{\sigma_1}, \ldots, x_{\sigma_{i-1}}, c).

    A weight of the first or last layer belongs to a place, whatever comes before that in an order. The masks of hidden
    layers are those of the other network. So one set of parameters, shared and not copied, can be trained under many orders
    and read under each (order-agnostic MADE; Germain et al., 2015, arXiv:1502.03509, section 4.2). A density of it takes
    the same order; the mean of such densities is an exact density again.

    Args:
        network: the masked network.
        order: order[i] is the place in the network, counted row by row, of position i.

    Raises:
        ValueError: no masked network, an order that is not a permutation.

    Example:
        >>> import anabranch as ab
        >>> from anabranch.families import Bernoulli
        >>> from anabranch.networks import InOrder, MaskedMLP
        >>> shared = MaskedMLP(features=3, outputs=1, hidden=(16,))
        >>> orders = [[0, 1, 2], [2, 0, 1]]
        >>> made = ab.Ensemble([ab.models.Autoregressive(Bernoulli(), InOrder(shared, o), order=o) for o in orders])
        >>> made.sample((5,)).shape
        torch.Size([5, 3])
    """

    order: Tensor
    places: Tensor

    def __init__(self, network: MaskedMLP, order: Sequence[int]) -> None:
        instance_of("network", network, MaskedMLP)
        super().__init__(network.positions, network.outputs, network.context_shape, network.channels)
        places = numbers_below("order", order, network.features)
        if sorted(places) != list(range(network.features)):
            raise ValueError(f"order: expected each of 0 to {network.features - 1} once, got {places}")
        self.network = network
        self.register_buffer("order", torch.tensor(places), persistent=False)
        self.register_buffer("places", self.order.argsort(), persistent=False)

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        return self.network.forward_with(self._weights(), x, context)

    def start(self, batch_shape: torch.Size, context: Tensor | None = None) -> MaskedMLPState:
        return self.network.start_with(self._weights(), batch_shape, context)

    def step(self, state: MaskedMLPState, x_previous: Tensor | None) -> tuple[Tensor, MaskedMLPState]:
        return self.network.step(state, x_previous)

    def _weights(self) -> Weights:
        """Those of the network, columns of the first layer and rows of the last in this order."""
        (first, first_bias), *hidden, (last, last_bias) = self.network.weights()
        return [(self._in_order(first.mT).mT, first_bias), *hidden, (self._in_order(last), self._in_order(last_bias))]

    def _in_order(self, weight: Tensor) -> Tensor:
        """Of (positions * n, ...), the n rows of each position together."""
        return reordered(weight.unflatten(0, (self.features, -1)), self.order, self.places).flatten(0, 1)
