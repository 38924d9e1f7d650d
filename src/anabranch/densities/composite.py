"""The contract of densities that are made of others."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor

from anabranch.densities.density import Density, Weigh
from anabranch.densities.mixture import Mixture
from anabranch.densities.score import (
    ByLogProb,
    ByLogWeight,
    ByLoss,
    ByLowerBound,
    BySummableBound,
    BySymptoms,
    ByWeighedBound,
    Score,
)


class Composite(Density):
    r"""A density whose log-density follows from those of its parts, whatever is known of them.

    One primitive, and everything else follows from it:

    .. code-block:: text

        _score(x, context, score)    -> (*batch), log p(x), with score(part, x', context') for the log-density of a part

    log_prob, lower_bound, estimate and loss are that with another `Score` each: the parts' log_prob, lower_bound,
    importance weights and negative losses; so are the symptoms. A part that has gaps where the composite has none
    (`Density.gaps`) would take a NaN for a value that was not observed; here such a row is NaN.

    To write your own: call `super().__init__(event_shape, context_shape)`, and define `parts`, `_score` and `_sample`. For a
    part that takes no context, use `context_for` and `shape_for`.
    """

    @abstractmethod
    def parts(self) -> Sequence[Density]: ...

    @abstractmethod
    def _score(self, x: Tensor, context: Tensor | None, score: Score) -> Tensor: ...

    def _log_prob(self, x: Tensor, context: Tensor | None) -> Tensor:
        return without_gaps(self, x, self._score(x, context, ByLogProb()))

    def _log_weight(self, x: Tensor, context: Tensor | None) -> Tensor:
        return without_gaps(self, x, self._score(x, context, ByLogWeight()))

    def _lower_bound(self, x: Tensor, context: Tensor | None) -> Tensor:
        return without_gaps(self, x, self._score(x, context, ByLowerBound()))

    def _weighed(self, x: Tensor, context: Tensor | None, weigh: Weigh) -> Tensor:
        return without_gaps(self, x, self._score(x, context, ByWeighedBound(weigh)))

    def _loss(self, x: Tensor, context: Tensor | None) -> Tensor:
        return -without_gaps(self, x, self._score(x, context, ByLoss()))

    def _symptoms(self, x: Tensor, context: Tensor | None) -> list[UserWarning]:
        heard = BySymptoms()
        self._score(x, context, heard)
        return heard.symptoms


class CompositeMixture(Mixture):
    r"""A mixture of densities, or over what is seen of one: p(x, k) follows from the log-densities of the parts.

    .. code-block:: text

        _joint_score(x, context, score)    -> (*batch, K), log p(x, k), with score(part, x', context') as in `Composite`

    To write your own: call `super().__init__(components, event_shape, context_shape)`, and define `parts`, `_joint_score`
    and `_sample`.
    """

    @abstractmethod
    def parts(self) -> Sequence[Density]: ...

    @abstractmethod
    def _joint_score(self, x: Tensor, context: Tensor | None, score: Score) -> Tensor: ...

    def _joint_log_prob(self, x: Tensor, context: Tensor | None) -> Tensor:
        return self._joint(x, context, ByLogProb())

    def _joint_log_weight(self, x: Tensor, context: Tensor | None) -> Tensor:
        return self._joint(x, context, ByLogWeight())

    def _joint_lower_bound(self, x: Tensor, context: Tensor | None) -> Tensor:
        return self._joint(x, context, BySummableBound())

    def _joint_weighed(self, x: Tensor, context: Tensor | None, weigh: Weigh) -> Tensor:
        return self._joint(x, context, ByWeighedBound(weigh))

    def _joint_loss(self, x: Tensor, context: Tensor | None) -> Tensor:
        return -self._joint(x, context, ByLoss())

    def _symptoms(self, x: Tensor, context: Tensor | None) -> list[UserWarning]:
        heard = BySymptoms()
        self._joint_score(x, context, heard)
        return heard.symptoms

    def _joint(self, x: Tensor, context: Tensor | None, score: Score) -> Tensor:
        return without_gaps(self, x, self._joint_score(x, context, score), beside=1)


def without_gaps(density: Density, x: Tensor, result: Tensor, beside: int = 0) -> Tensor:
    """The result (*batch), followed by so many dimensions, with NaN for an x that has one.

    Only where parts would take it for a gap and the density does not: the others keep a NaN by themselves.
    """
    if density.gaps or not any(part.gaps for part in density.parts()):
        return result
    broken = x.isnan().flatten(x.dim() - len(density.event_shape)).any(dim=-1)
    return torch.where(broken.reshape(broken.shape + (1,) * beside), torch.nan, result)
