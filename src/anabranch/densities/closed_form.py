"""Densities of textbook form, whose numbers torch.distributions computes."""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor
from torch.distributions import Distribution

from anabranch.densities.density import Density
from anabranch.densities.parameters import Parameters


class ClosedForm(Density):
    """Independent numbers, each of a univariate `torch.distributions.Distribution`, at every context.

    To write your own: call `super().__init__(features, parameters)` and define `_at`, which builds the distribution, of
    batch shape (*context batch, features), from the unconstrained parameters `self.theta(context)`.

    Args:
        features: the length of one x.
        parameters: where the parameters come from.
    """

    def __init__(self, features: int, parameters: Parameters) -> None:
        super().__init__((features,), parameters.context_shape)
        self.theta = parameters

    @abstractmethod
    def _at(self, context: Tensor | None) -> Distribution: ...

    def _log_prob(self, x: Tensor, context: Tensor | None) -> Tensor:
        result: Tensor = self._at(context).log_prob(x).sum(dim=-1)
        # Comparisons with NaN are false, so a distribution that compares x with its bounds may make a number of it.
        return torch.where(x.isnan().any(dim=-1), torch.nan, result)

    def _sample(self, shape: torch.Size, context: Tensor | None) -> Tensor:
        distribution = self._at(context)
        result: Tensor = distribution.rsample(shape) if distribution.has_rsample else distribution.sample(shape)
        return result
