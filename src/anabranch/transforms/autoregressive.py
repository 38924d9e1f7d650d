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
from anabranch.transforms.transform import Inversion, Transform
from anabranch.transforms.univariate import UnivariateMap


class Autoregressive(Transform):
    r"""Autoregressive layer: in some order of the features,

    .. math:: z_d = g(x_d; \theta_d(x_1, ..., x_{d-1}, c)), \qquad
              \log |\det| = \sum_d \log g'(x_d; \theta_d).

    Forward is one pass of the network. The inverse takes one step per feature, each of which computes only what the new
    feature unlocks (`CausalNetwork.step`): all steps together cost about one pass.

    Source: Papamakarios et al., 2017, "Masked autoregressive flow", arXiv:1705.07057, equations 2 to 5.

    Args:
        univariate: the map g.
        network: a causal network over the features, with univariate.size outputs a position.
        order: order[i] is the feature at position i; by default 0, 1, 2, ...

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

    inversion: Inversion = "sequential"

    def __init__(self, univariate: UnivariateMap, network: CausalNetwork, order: Sequence[int] | None = None) -> None:
        instance_of("univariate", univariate, UnivariateMap)
        instance_of("network", network, CausalNetwork)
        if network.outputs != univariate.size:
            raise ValueError(f"network: expected {univariate.size} outputs a position, got {network.outputs}")
        super().__init__((network.features,), (network.context,) if network.context else None)
        self.univariate = univariate
        self.network = network
        positions = as_order(range(network.features) if order is None else order, network.features)
        self._reordered = positions.tolist() != list(range(network.features))
        self.register_buffer("order", positions, persistent=False)
        self.register_buffer("places", positions.argsort(), persistent=False)

    @property
    def domain(self) -> Constraint:
        """Vectors of numbers for which the univariate map is defined."""
        return of_features(self.univariate.domain)

    @property
    def codomain(self) -> Constraint:
        """Vectors of numbers that the univariate map reaches."""
        return of_features(self.univariate.codomain)

    def _forward(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        context = context if self.network.context else None
        x = self._ordered(features_first(x, context))
        parameters = self.network(x.movedim(0, -1), context).movedim(-2, 0)
        z, log_derivative = self.univariate(x, parameters)
        return self._in_place(z).movedim(0, -1), log_derivative.sum(dim=0)

    def _inverse(self, z: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        context = context if self.network.context else None
        z = self._ordered(features_first(z, context))
        state = self.network.start(z.shape[1:], context)
        x_previous, rows, log_derivatives = None, [], []
        for z_d in z.unbind():
            parameters, state = self.network.step(state, x_previous)
            x_previous, log_derivative = self.univariate.inverse(z_d, parameters)
            rows.append(x_previous)
            log_derivatives.append(log_derivative)
        return self._in_place(torch.stack(rows)).movedim(0, -1), torch.stack(log_derivatives).sum(dim=0)

    def _ordered(self, x: Tensor) -> Tensor:
        return reordered(x, self.get_buffer("order"), self.get_buffer("places")) if self._reordered else x

    def _in_place(self, x: Tensor) -> Tensor:
        return reordered(x, self.get_buffer("places"), self.get_buffer("order")) if self._reordered else x
