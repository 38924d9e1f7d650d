"""The structure in which some features, kept as they are, decide how the others are transformed."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from anabranch.checks import instance_of
from anabranch.kernels.layout import features_first
from anabranch.kernels.reordering import reordered
from anabranch.networks import Network
from anabranch.transforms.transform import Transform
from anabranch.transforms.univariate import UnivariateMap


class Coupling(Transform):
    r"""Coupling layer: with the features split by a mask into kept ones A and transformed ones B,

    .. math:: z_A = x_A, \qquad z_i = g(x_i; \theta_i(x_A, c)) \text{ for } i \in B, \qquad
              \log |\det| = \sum_{i \in B} \log g'(x_i; \theta_i).

    The inverse costs the same as forward. Source: Dinh et al., 2017, "Density estimation using Real NVP",
    arXiv:1605.08803, section 3.2.

    Args:
        mask: one boolean per feature, True for those that are transformed. Some must be, and some must be kept.
        univariate: the map g.
        network: gives the parameters: from as many features as are kept (and the context, if it takes one) to
            univariate.size numbers for each transformed feature.

    Raises:
        ValueError: sizes that do not fit.

    Example:
        >>> import torch
        >>> from anabranch.networks import MLP
        >>> from anabranch.transforms import Coupling, RationalQuadraticSpline
        >>> spline = RationalQuadraticSpline(bins=4)
        >>> layer = Coupling([False, True, True], spline, MLP(1, 2 * spline.size))
        >>> z, log_det = layer(torch.randn(10, 3))
        >>> z.shape, log_det.shape
        (torch.Size([10, 3]), torch.Size([10]))
    """

    def __init__(self, mask: Sequence[bool], univariate: UnivariateMap, network: Network) -> None:
        instance_of("univariate", univariate, UnivariateMap)
        instance_of("network", network, Network)
        flags = [bool(flag) for flag in mask]
        kept = [i for i, flag in enumerate(flags) if not flag]
        moved = [i for i, flag in enumerate(flags) if flag]
        if not kept or not moved:
            raise ValueError(f"mask: expected both True and False, got {flags}")
        if (network.features, network.outputs) != (len(kept), len(moved) * univariate.size):
            raise ValueError(
                f"network: expected {len(kept)} features and {len(moved)} x {univariate.size} outputs, "
                f"got {network.features} and {network.outputs}"
            )
        super().__init__((len(flags),), (network.context,) if network.context else None)
        self.univariate = univariate
        self.network = network
        self._sizes = (len(kept), len(moved))
        self.register_buffer("order", torch.tensor(kept + moved), persistent=False)
        self.register_buffer("places", torch.tensor(kept + moved).argsort(), persistent=False)

    def _forward(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        kept, moved, parameters = self._prepare(x, context)
        z, log_derivative = self.univariate(moved, parameters)
        return self._join(kept, z), log_derivative.sum(dim=0)

    def _inverse(self, z: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        kept, moved, parameters = self._prepare(z, context)
        x, log_derivative = self.univariate.inverse(moved, parameters)
        return self._join(kept, x), log_derivative.sum(dim=0)

    def _prepare(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        context = context if self.network.context else None
        x = reordered(features_first(x, context), self.get_buffer("order"), self.get_buffer("places"))
        kept, moved = x.split(self._sizes)
        parameters = self.network(kept.movedim(0, -1), context)
        return kept, moved, parameters.unflatten(-1, (moved.shape[0], self.univariate.size)).movedim(-2, 0)

    def _join(self, kept: Tensor, moved: Tensor) -> Tensor:
        x = torch.cat([kept, moved])
        return reordered(x, self.get_buffer("places"), self.get_buffer("order")).movedim(0, -1)
