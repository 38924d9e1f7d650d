"""A density at one context."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from numpy.typing import ArrayLike
from torch import Tensor
from torch.distributions.constraints import Constraint

from anabranch.checks import read_tensor, reference_tensor
from anabranch.densities.composite import Composite
from anabranch.densities.density import Density
from anabranch.densities.moments import Moments
from anabranch.densities.score import Score
from anabranch.families.distribution_function import DistributionFunction
from anabranch.families.point_masses import PointMasses
from anabranch.transforms import Transform


class AtContext(Composite):
    r"""p(. | c) for one c, as a density without a context. It shares the density's parameters, and answers as it does.

    Args:
        density: a density with a context.
        context: c, of the density's context shape.

    Raises:
        ValueError: a density that takes no context, or a context of another shape.

    Example:
        >>> import torch
        >>> from anabranch.densities import AtContext, Normal
        >>> normal = Normal(torch.zeros(2), context=3)
        >>> AtContext(normal, torch.ones(3)).sample((5,)).shape
        torch.Size([5, 2])
    """

    def __init__(self, density: Density, context: Tensor | ArrayLike) -> None:
        super().__init__(density.event_shape)
        like = reference_tensor(density)
        # a file's description is read into a density that has not its dtype yet
        read = read_tensor("context", context, like)
        values = density._checked_context(read if like is None else read.to(like))
        if values is None or values.shape != density.context_shape:
            shape = None if values is None else tuple(values.shape)
            raise ValueError(f"context: expected one, for a density that takes one, got shape {shape}")
        self.density = density
        self.register_buffer("values", values.detach().clone())

    def parts(self) -> Sequence[Density]:
        """The density."""
        return (self.density,)

    @property
    def support(self) -> Constraint:
        """The density's."""
        return self.density.support

    @property
    def context(self) -> Tensor:
        """c."""
        return self.get_buffer("values")

    def _score(self, x: Tensor, context: Tensor | None, score: Score) -> Tensor:
        return score(self.density, x, self.context)

    def _sample(self, shape: torch.Size, context: Tensor | None) -> Tensor:
        return self.density._sample(shape, self.context)

    def _sample_and_log_prob(self, shape: torch.Size, context: Tensor | None) -> tuple[Tensor, Tensor]:
        return self.density._sample_and_log_prob(shape, self.context)

    def _given(
        self, wanted: list[int], observed: list[int], values: Tensor | None, context: Tensor | None
    ) -> Density | None:
        return self.density._given(wanted, observed, values, self.context)

    def _moments(self, context: Tensor | None) -> Moments | None:
        return self.density._moments(self.context)

    def _distribution_function(self, context: Tensor | None) -> DistributionFunction | None:
        return self.density._distribution_function(self.context)

    def factors(self, context: Tensor | None) -> list[Density] | None:
        """The density's at c."""
        return self.density.factors(self.context)

    def summands(self, context: Tensor | None) -> tuple[list[Density], Tensor] | None:
        """The density's at c."""
        return self.density.summands(self.context)

    def noise_space(self, context: Tensor | None) -> tuple[list[Transform], Tensor | None] | None:
        """The density's at c."""
        return self.density.noise_space(self.context)

    def peaks(self, context: Tensor | None) -> tuple[Tensor, Tensor] | None:
        """The density's at c."""
        return self.density.peaks(self.context)

    def point_masses(self, most: int, like: Tensor) -> list[PointMasses] | None:
        """The density's."""
        return self.density.point_masses(most, like)

    def any_order(self, context: Tensor | None) -> tuple[Any, Tensor | None] | None:
        """The density's at c."""
        return self.density.any_order(self.context)

    def weighted_completion(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor] | None:
        """The density's at c."""
        return self.density.weighted_completion(x, self.context)

    def relative_log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """The density's at c."""
        return self.density.relative_log_prob(x, self.context)


def at_context(density: Density, context: Tensor | ArrayLike | None) -> Density:
    """The density without a context: at the one given, if it takes one. Gaussians and products stay what they are.

    Raises:
        ValueError: a context where none is taken, none where one is, or one of another shape.
    """
    if context is None and density.context_shape is None:
        return density
    like = reference_tensor(density)
    values = density._one_context(None if context is None else read_tensor("context", context, like))
    if values is None:
        return density
    found = density._at_context(values)
    return AtContext(density, values) if found is None else found
