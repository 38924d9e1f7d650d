"""Independent numbers, each of a family with parameters."""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor

from anabranch.densities.density import Density
from anabranch.densities.moments import Moments, of_independent_numbers
from anabranch.densities.parameters import Parameters
from anabranch.densities.regardless import Regardless
from anabranch.families import DistributionFunction, Family, PointMasses


class ClosedForm(Density):
    r"""p(x \mid c) = prod_i p(x_i | theta_i(c)): independent numbers of one `Family`, at every context.

    To write your own: call `super().__init__(family, event_shape, parameters)` and define `numbers`, which puts the
    unconstrained parameters `self.theta(context)` side by side as the family reads them. Moments and distribution functions
    are then the family's; with `_only` there are marginals and conditionals too.

    Args:
        family: of each number.
        event_shape: the shape of one x, of any number of dimensions.
        parameters: where the parameters come from.
    """

    leaves_open = True

    def __init__(self, family: Family, event_shape: torch.Size, parameters: Parameters) -> None:
        super().__init__(event_shape, parameters.context_shape)
        self.family = family
        self.theta = parameters
        self.reads_gaps = parameters.reads_gaps
        self.reparameterized = family.reparameterized
        self.event_dtype = "whole" if family.whole else "floating"

    @abstractmethod
    def numbers(self, context: Tensor | None) -> Tensor:
        """The family's theta of every number of an event: (*context batch, *event, parameters)."""

    def _log_prob(self, x: Tensor, context: Tensor | None) -> Tensor:
        each = self.family.log_prob(x, self.numbers(context))
        return each.sum(dim=tuple(range(-len(self.event_shape), 0)))

    def _sample(self, shape: torch.Size, context: Tensor | None) -> Tensor:
        theta = self.numbers(context)
        return self.family.sample(theta.expand(*shape, *theta.shape))

    def _only(self, columns: list[int], context: Tensor | None) -> Density | None:
        """A density of these columns (along the first dimension), in this order, with constants for parameters."""
        return None

    def _at_context(self, context: Tensor) -> Density | None:
        with torch.no_grad():
            return self._only(list(range(self.event_shape[0])), context)

    def _given(
        self, wanted: list[int], observed: list[int], values: Tensor | None, context: Tensor | None
    ) -> Density | None:
        """p(x_W | x_O, c) = p(x_W | c): the numbers are independent."""
        if context is None and self.context_shape is not None:
            return None
        with torch.no_grad():
            found = self._only(wanted, context)
        return Regardless(found, len(observed)) if observed and values is None and found is not None else found

    def _moments(self, context: Tensor | None) -> Moments | None:
        theta = self.numbers(context)
        variance = self.family.variance(theta)
        return None if variance is None else of_independent_numbers(self.family.mean(theta), variance)

    def _distribution_function(self, context: Tensor | None) -> DistributionFunction:
        return self.family.distribution_function(self.numbers(context)[0].double())

    def point_masses(self, most: int, like: Tensor) -> list[PointMasses]:
        """What the family says."""
        return [self.family.point_masses(most, like)] * self.event_shape[0]
