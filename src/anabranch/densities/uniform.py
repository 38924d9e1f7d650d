"""The uniform density over a box."""

from __future__ import annotations

import torch
from numpy.typing import ArrayLike
from torch import Tensor
from torch.distributions import constraints

from anabranch import families
from anabranch.densities.closed_form import ClosedForm
from anabranch.densities.gaussian import read_like, read_loc
from anabranch.densities.parameters import Parameters
from anabranch.networks import Network
from anabranch.transforms.domain import everywhere


class Uniform(ClosedForm):
    r"""Uniform density over the box low <= x <= high: log p(x) = -sum_i log(high_i - low_i) inside, -inf outside.

    Args:
        low: the lower corner, (*event).
        high: the upper corner, (*event).
        network: a network of the context that gives, for each feature, the shift of `low` and then, for each feature, the
            logarithm of the factor by which the width grows.

    Raises:
        ValueError: shapes that do not fit, or a high that is not above its low.

    Example:
        >>> import torch
        >>> from anabranch.densities import Uniform
        >>> Uniform([0.0, 0.0], [2.0, 1.0]).log_prob(torch.tensor([[1.0, 0.5], [3.0, 0.5]]))
        tensor([-0.6931,    -inf])
    """

    def __init__(self, low: Tensor | ArrayLike, high: Tensor | ArrayLike, network: Network | None = None) -> None:
        corner = read_loc(low, name="low")
        upper = read_like("high", high, corner)
        if upper.shape != corner.shape:
            raise ValueError(f"high: expected shape {tuple(corner.shape)}, got {tuple(upper.shape)}")
        if not bool((upper > corner).all()) or not bool(torch.isfinite(upper - corner).all()):
            raise ValueError(f"high: expected finite numbers above low {corner.tolist()}, got {upper.tolist()}")
        zeros = torch.zeros_like(corner)
        theta = Parameters({"shift": zeros, "log_stretch": zeros}, network=network)
        super().__init__(families.Uniform(), corner.shape, theta)
        self.register_buffer("low", corner.detach().clone())
        self.register_buffer("high", upper.detach().clone())

    @property
    def support(self) -> constraints.Constraint:
        """The box; with a network of the context, which moves it, everything."""
        if self.context_shape is not None:
            return everywhere(len(self.event_shape))
        box = constraints.interval(self.get_buffer("low"), self.get_buffer("high"))
        return constraints.independent(box, len(self.event_shape))

    def numbers(self, context: Tensor | None) -> Tensor:
        """The lower and the upper corner: (*context batch, *event, 2)."""
        low, high = self.get_buffer("low"), self.get_buffer("high")
        if self.context_shape is not None:
            theta = self.theta(context)
            width = (high - low) * theta["log_stretch"].exp()
            low = low + theta["shift"]
            high = low + width
        return torch.stack([low, high], dim=-1)

    def _only(self, columns: list[int], context: Tensor | None) -> Uniform:
        low, high = self.numbers(context)[columns].unbind(dim=-1)
        return Uniform(low, high)
