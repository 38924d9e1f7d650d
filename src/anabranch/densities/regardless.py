"""A density whatever the context."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.distributions.constraints import Constraint

from anabranch.checks import instance_of, positive_int
from anabranch.densities.composite import Composite
from anabranch.densities.contexts import at_every_context, context_batch
from anabranch.densities.density import Density
from anabranch.densities.moments import Moments
from anabranch.densities.score import Score
from anabranch.families.distribution_function import DistributionFunction


class Regardless(Composite):
    r"""p(x | c) = p(x): a density that takes a context and reads nothing of it.

    Such is the conditional of numbers that are independent of the observed ones.

    Args:
        density: p, without a context.
        context: how many numbers c has.

    Raises:
        ValueError: a density that takes a context.

    Example:
        >>> import torch
        >>> from anabranch.densities import Normal, Regardless
        >>> Regardless(Normal.standard(2), context=1).sample((5,), torch.zeros(3, 1)).shape
        torch.Size([5, 3, 2])
    """

    def __init__(self, density: Density, context: int) -> None:
        instance_of("density", density, Density)
        if density.context_shape is not None:
            raise ValueError("density: expected one without a context, got one that takes one")
        super().__init__(density.event_shape, (positive_int("context", context),))
        self.density = density

    def parts(self) -> Sequence[Density]:
        """The other."""
        return (self.density,)

    @property
    def support(self) -> Constraint:
        """The density's."""
        return self.density.support

    def initialize(self, x: Tensor, context: Tensor | None = None) -> None:
        """Initialize the density."""
        self.density.initialize(x)

    def _score(self, x: Tensor, context: Tensor | None, score: Score) -> Tensor:
        return score(self.density, at_every_context(self, x, context), None)

    def _sample(self, shape: torch.Size, context: Tensor | None) -> Tensor:
        return self.density._sample(shape + context_batch(self, context), None)

    def _at_context(self, context: Tensor) -> Density:
        return self.density

    def _given(
        self, wanted: list[int], observed: list[int], values: Tensor | None, context: Tensor | None
    ) -> Density | None:
        return None if context is None else self.density._given(wanted, observed, values, None)

    def _moments(self, context: Tensor | None) -> Moments | None:
        found = self.density._moments(None)
        return found if found is None or context is None else found.expand(context_batch(self, context))

    def _distribution_function(self, context: Tensor | None) -> DistributionFunction | None:
        return self.density._distribution_function(None)
