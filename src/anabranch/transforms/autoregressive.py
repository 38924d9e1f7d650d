"""The structure in which every feature is transformed given those before it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.distributions.constraints import Constraint

from anabranch.checks import instance_of
from anabranch.kernels.layout import features_first
from anabranch.kernels.reordering import reordered
from anabranch.networks import CausalNetwork
from anabranch.transforms.domain import of_features
from anabranch.transforms.permutation import as_order
from anabranch.transforms.transform import INVERSIONS, Transform
from anabranch.transforms.univariate import UnivariateMap


class Autoregressive(Transform):
    r"""Autoregressive layer: in some order of the positions,

    .. math:: z_d = g(x_d; \theta_d(x_1, ..., x_{d-1}, c)), \qquad
              \log |\det| = \sum_d \log g'(x_d; \theta_d).

    A position is a feature of a vector, or has channels, each of which g transforms with parameters of its own. Forward is
    one pass of the network. The inverse takes one step per position, each of which computes only what the new
    position unlocks (`CausalNetwork.step`): all steps together cost about one pass.

    Source: Papamakarios et al., 2017, "Masked autoregressive flow", arXiv:1705.07057, equations 2 to 5.

    Args:
        univariate: the map g.
        network: a causal network over the positions, with univariate.size outputs for each number of a position. The shape
            of its x, (*positions) or (*positions, channels), is that of the event.
        order: order[i] is the place in the event, counted row by row, of position i; by default 0, 1, 2, ...

    Raises:
        ValueError: sizes that do not fit, or an order that is not a permutation.

    Example:
        >>> import torch
        >>> from anabranch.networks import MaskedMLP
        >>> from anabranch.transforms import Affine, Autoregressive
        >>> layer = Autoregressive(Affine(), MaskedMLP(features=3, outputs=2), order=[2, 0, 1])
        >>> x = torch.randn(10, 3)
        >>> z, log_det = layer(x)
        >>> torch.allclose(layer.inverse(z)[0], x, atol=1e-5)
        True
    """

    _apart = True

    def __init__(self, univariate: UnivariateMap, network: CausalNetwork, order: Sequence[int] | None = None) -> None:
        instance_of("univariate", univariate, UnivariateMap)
        instance_of("network", network, CausalNetwork)
        wanted = univariate.size * (network.channels or 1)
        if network.outputs != wanted:
            each = f"{network.channels} x {univariate.size}" if network.channels else f"{wanted}"
            raise ValueError(f"network: expected {each} outputs a position, got {network.outputs}")
        super().__init__(network.event_shape, network.context_shape)
        self.inversion = max("sequential", univariate.inversion, key=INVERSIONS.index)
        self.univariate = univariate
        self.network = network
        positions = as_order(range(network.features) if order is None else order, network.features)
        self._reordered = positions.tolist() != list(range(network.features))
        self.register_buffer("order", positions, persistent=False)
        self.register_buffer("places", positions.argsort(), persistent=False)

    @property
    def domain(self) -> Constraint:
        """Events of numbers for which the univariate map is defined."""
        return of_features(self.univariate.domain, self.event_dim)

    @property
    def codomain(self) -> Constraint:
        """Events of numbers that the univariate map reaches."""
        return of_features(self.univariate.codomain, self.event_dim)

    def _forward(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        context = None if self.context_shape is None else context
        x = self._positions_first(x, context)
        y = self.network(self._as_event(x), context)
        z, log_derivative = self.univariate(x, self._map_parameters(y))
        return self._as_event(self._in_place(z)), self._summed(log_derivative)

    def _inverse(self, z: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        context = None if self.context_shape is None else context
        z = self._positions_first(z, context)
        batch = z.shape[1 : z.dim() - (self.network.channels is not None)]
        state = self.network.start(batch, context)
        x_previous, rows, log_derivatives = None, [], []
        for z_d in z.unbind():
            parameters, state = self.network.step(state, x_previous)
            x_previous, log_derivative = self.univariate.inverse(z_d, self._of_channels(parameters))
            rows.append(x_previous)
            log_derivatives.append(log_derivative)
        return self._as_event(self._in_place(torch.stack(rows))), self._summed(torch.stack(log_derivatives))

    def _positions_first(self, x: Tensor, context: Tensor | None) -> Tensor:
        """(*batch, *event) as (positions, *batch) or (positions, *batch, channels), in the order of the network."""
        x = self._at_every_context(x, context)
        if self.network.channels is None:
            x = features_first(x.flatten(x.dim() - self.event_dim))
        else:
            x = x.flatten(x.dim() - self.event_dim, -2).movedim(-2, 0)
        return reordered(x, self.get_buffer("order"), self.get_buffer("places")) if self._reordered else x

    def _in_place(self, x: Tensor) -> Tensor:
        return reordered(x, self.get_buffer("places"), self.get_buffer("order")) if self._reordered else x

    def _as_event(self, x: Tensor) -> Tensor:
        """(positions, *batch) or (positions, *batch, channels) as (*batch, *event)."""
        last = -1 if self.network.channels is None else -2
        x = x.movedim(0, last)
        return x if len(self.network.positions) == 1 else x.unflatten(last, self.network.positions)

    def _map_parameters(self, y: Tensor) -> Tensor:
        """(*batch, *positions, outputs) as (positions, *batch, size) or (positions, *batch, channels, size)."""
        return self._of_channels(y.flatten(-1 - len(self.network.positions), -2).movedim(-2, 0))

    def _of_channels(self, parameters: Tensor) -> Tensor:
        channels = self.network.channels
        return parameters if channels is None else parameters.unflatten(-1, (channels, self.univariate.size))

    def _summed(self, log_derivative: Tensor) -> Tensor:
        return log_derivative.sum(dim=0 if self.network.channels is None else (0, -1))
