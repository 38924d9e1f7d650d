"""Independent numbers, each of a family with parameters."""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor

from anabranch.densities.density import Density
from anabranch.densities.parameters import Parameters
from anabranch.families import Family


class ClosedForm(Density):
    r"""p(x \mid c) = prod_i p(x_i | theta_i(c)): independent numbers of one `Family`, at every context.

    To write your own: call `super().__init__(family, event_shape, parameters)` and define `numbers`, which puts the
    unconstrained parameters `self.theta(context)` side by side as the family reads them.

    Args:
        family: of each number.
        event_shape: the shape of one x, of any number of dimensions.
        parameters: where the parameters come from.
    """

    def __init__(self, family: Family, event_shape: torch.Size, parameters: Parameters) -> None:
        super().__init__(event_shape, parameters.context_shape)
        self.family = family
        self.theta = parameters
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
