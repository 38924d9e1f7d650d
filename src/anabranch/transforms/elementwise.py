"""The structure in which every feature is transformed on its own."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.distributions.constraints import Constraint

from anabranch.checks import as_shape, positive_int
from anabranch.networks import Network
from anabranch.networks.network import Shape
from anabranch.networks.of_context import network_of_context, read_distinct
from anabranch.transforms.domain import of_features
from anabranch.transforms.map_parameters import check_outputs, parameters_of
from anabranch.transforms.transform import Transform
from anabranch.transforms.univariate import UnivariateMap


class Elementwise(Transform):
    r"""z_i = g(x_i; theta_i): every feature on its own, with parameters that are constants or a function of the context.

    Args:
        univariate: the map g.
        features: number of features, or the shape of the event. Without it any shape is taken; that needs a map without
            parameters.
        network: gives the parameters from the context: a `Network` from the context to univariate.size numbers for each
            feature, or for images to (channels * univariate.size, height, width). Without it they are trainable constants
            that start at 0.
        event_dim: how many dimensions an event has, where no shape is given.

    Raises:
        ValueError: sizes that do not fit.

    Example:
        >>> import torch
        >>> from anabranch.networks import MLP
        >>> from anabranch.transforms import Affine, Elementwise
        >>> layer = Elementwise(Affine(), features=3, network=MLP(2, 3 * 2))
        >>> z, log_det = layer(torch.randn(10, 3), torch.randn(10, 2))
        >>> z.shape, log_det.shape
        (torch.Size([10, 3]), torch.Size([10]))
    """

    _apart = True

    def __init__(
        self,
        univariate: UnivariateMap,
        features: Shape | None = None,
        network: Network | None = None,
        event_dim: int = 1,
    ) -> None:
        if not isinstance(univariate, UnivariateMap):
            raise ValueError(f"univariate: expected a UnivariateMap, got {type(univariate).__name__}")
        if features is None and (univariate.size > 0 or network is not None):
            raise ValueError(
                f"features: expected their number, since {type(univariate).__name__} has parameters or a network, got None"
            )
        shape = None if features is None else as_shape("features", features)
        if network is not None and shape is not None:
            outputs = f"{shape.numel()} x {univariate.size} outputs"
            network = network_of_context(network, outputs, shape.numel() * univariate.size)
            check_outputs(network, shape, univariate.size)
        super().__init__(shape, None if network is None else network.in_shape)
        if shape is None:
            self.event_dim = positive_int("event_dim", event_dim)
        self.affine = univariate.affine
        self.inversion = univariate.inversion
        self.univariate = univariate
        self.network = network
        self.constants = None if network is not None else nn.Parameter(torch.zeros(*(shape or (0,)), univariate.size))

    @property
    def domain(self) -> Constraint:
        """Vectors of numbers for which the univariate map is defined."""
        return of_features(self.univariate.domain, self.event_dim)

    @property
    def codomain(self) -> Constraint:
        """Vectors of numbers that the univariate map reaches."""
        return of_features(self.univariate.codomain, self.event_dim)

    def on_columns(self, columns: list[int], context: Tensor | None) -> tuple[Elementwise | None, list[int]]:
        """The same map, with a copy of the parameters that these features have at the context."""
        if not columns:
            return None, columns
        part = Elementwise(self.univariate, len(columns))
        if part.constants is not None:
            with torch.no_grad():
                given = self._map_parameters(context)
                part.constants = nn.Parameter(given[columns].clone() if self.univariate.size else given[:0].clone())
        return part, columns

    def _forward(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        x = self._at_every_context(x, context)
        z, log_derivative = self.univariate(x, self._map_parameters(context))
        return z, self._summed(log_derivative)

    def _inverse(self, z: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        z = self._at_every_context(z, context)
        x, log_derivative = self.univariate.inverse(z, self._map_parameters(context))
        return x, self._summed(log_derivative)

    def _summed(self, log_derivative: Tensor) -> Tensor:
        return log_derivative.sum(dim=tuple(range(-self.event_dim, 0)))

    def _map_parameters(self, context: Tensor | None) -> Tensor:
        if self.network is None or self.event_shape is None:
            return cast(Tensor, self.constants)
        y = read_distinct(self.network, context)
        return parameters_of(y, len(self.network.out_shape), self.event_shape, self.univariate.size)
