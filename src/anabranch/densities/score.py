"""How a composite asks its parts for their log-densities."""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod

import torch
from torch import Tensor

from anabranch.densities.density import Density, Weigh
from anabranch.densities.mixture import Mixture
from anabranch.densities.symptoms import one_of_each_kind
from anabranch.transforms import Transform


class Score(ABC):
    """A question to a part, or about each component of a part that is a mixture: a log-density, or what stands for it.

    .. code-block:: text

        score(part, x, context)             -> (*batch)
        score.joint(mixture, x, context)    -> (*batch, K)
    """

    @abstractmethod
    def __call__(self, part: Density, x: Tensor, context: Tensor | None) -> Tensor: ...

    @abstractmethod
    def joint(self, mixture: Mixture, x: Tensor, context: Tensor | None) -> Tensor: ...


class ByLogProb(Score):
    """The exact log-density."""

    def __call__(self, part: Density, x: Tensor, context: Tensor | None) -> Tensor:
        return part.log_prob(x, context)

    def joint(self, mixture: Mixture, x: Tensor, context: Tensor | None) -> Tensor:
        return mixture.joint_log_prob(x, context)


class ByLogWeight(Score):
    """The logarithm of a random weight whose mean is the density."""

    def __call__(self, part: Density, x: Tensor, context: Tensor | None) -> Tensor:
        expect_weights("parts", part)
        return part._log_weight(x, context)

    def joint(self, mixture: Mixture, x: Tensor, context: Tensor | None) -> Tensor:
        return mixture._joint_log_weight(x, context)


class ByLowerBound(Score):
    """A lower bound of the log-density, in the mean over its draws."""

    def __call__(self, part: Density, x: Tensor, context: Tensor | None) -> Tensor:
        return part.lower_bound(x, context)

    def joint(self, mixture: Mixture, x: Tensor, context: Tensor | None) -> Tensor:
        return mixture._joint_lower_bound(x, context)


class BySummableBound(Score):
    """A bound L for which E[exp L] is at most the density, so that the log sum exp of several is a bound of their sum.

    It is not enough that E[L] lies below: log sum exp may lie above in the mean where L varies. The logarithm of a weight
    is such a bound, and so is one that is the same at every call, as that of a density whose likelihood is exact.
    """

    def __call__(self, part: Density, x: Tensor, context: Tensor | None) -> Tensor:
        expect_weights("parts", part)
        return part.lower_bound(x, context) if part.likelihood == "exact" else part._log_weight(x, context)

    def joint(self, mixture: Mixture, x: Tensor, context: Tensor | None) -> Tensor:
        return mixture._joint_lower_bound(x, context)


class ByLoss(Score):
    """What a fit takes for the log-density, the negative loss."""

    def __call__(self, part: Density, x: Tensor, context: Tensor | None) -> Tensor:
        return -part.loss(x, context)

    def joint(self, mixture: Mixture, x: Tensor, context: Tensor | None) -> Tensor:
        return -mixture.joint_loss(x, context)


class ByWeighedBound(Score):
    """The lower bound with other weights for its terms.

    Args:
        weigh: as in `Density.weighed_bound`.
    """

    def __init__(self, weigh: Weigh) -> None:
        self.weigh = weigh

    def __call__(self, part: Density, x: Tensor, context: Tensor | None) -> Tensor:
        return part._weighed(x, context, self.weigh)

    def joint(self, mixture: Mixture, x: Tensor, context: Tensor | None) -> Tensor:
        return mixture._joint_weighed(x, context, self.weigh)


class BySymptoms(Score):
    """What is wrong with the parts (`Density.symptoms`), at what they are shown; log-densities are 0 in its place.

    Attributes:
        symptoms: that were heard, the first of each class.
    """

    def __init__(self) -> None:
        self.symptoms: list[UserWarning] = []

    def __call__(self, part: Density, x: Tensor, context: Tensor | None) -> Tensor:
        shape, given = x.shape[: x.dim() - len(part.event_shape)], part.context_shape
        if context is not None and given is not None:
            shape = torch.broadcast_shapes(shape, context.shape[: context.dim() - len(given)])
            context = context.expand(*shape, *given)
        x = x.expand(*shape, *part.event_shape)
        # components and depths come before the rows, and each is asked alone
        for place in itertools.product(*map(range, shape[:-1])):
            said = part._symptoms(x[place], None if context is None else context[place])
            self.symptoms = one_of_each_kind(self.symptoms + said)
        return torch.zeros(shape, device=x.device)

    def joint(self, mixture: Mixture, x: Tensor, context: Tensor | None) -> Tensor:
        return (
            self(mixture, x, context)
            .unsqueeze(-1)
            .expand(*(-1,) * (x.dim() - len(mixture.event_shape)), mixture.components)
        )

    def hear(self, symptoms: list[UserWarning]) -> None:
        """Take in what a part says."""
        self.symptoms = one_of_each_kind(self.symptoms + symptoms)


def expect_weights(name: str, part: Density | Transform) -> None:
    """Raise ValueError for a part whose log-density is known by an estimate, which has no weights that could be added up."""
    estimated = part.estimated if isinstance(part, Transform) else part.likelihood == "estimate"
    if estimated:
        raise ValueError(
            f"{name}: expected parts whose likelihood is exact or a bound, since their densities are added up, got a "
            f"{type(part).__name__}, of which an estimate is known; give its Residual log_det='exact', or its Continuous "
            "trace='exact'"
        )
