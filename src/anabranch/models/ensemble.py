"""The mean of several densities."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from numpy.typing import ArrayLike
from torch import Tensor
from torch.distributions.constraints import Constraint

from anabranch.checks import reference_tensor
from anabranch.densities import CompositeMixture, Density, Mixture, Moments
from anabranch.densities.contexts import at_every_context, context_batch, context_for, context_rows
from anabranch.densities.reordered import given
from anabranch.densities.score import Score
from anabranch.densities.weights import read_weights
from anabranch.families import DistributionFunction
from anabranch.families.draw_levels import draw_levels
from anabranch.models import sums
from anabranch.models.components import Separate


class Ensemble(CompositeMixture):
    r"""p(x) = sum_m w_m p_m(x), the mean of M fits to the same rows: a density again, and exact.

    Where single fits follow the accidents of few rows, each follows others, and their mean is better than they are (its
    log-likelihood is at least the mean of theirs, by the concavity of the logarithm). Its components are the members, or,
    of aligned mixtures, theirs.

    Args:
        members: the densities.
        aligned: whether the members are mixtures of K components that mean the same in all of them, as starts from one
            assignment see to: p(x, k) is then the mean of theirs. A member that is no mixture has an equal share
            in each of those that have not ended.
        weights: w, (members,), at least 0; equal by default, and normalised to sum to one. They are not trained.

    Raises:
        ValueError: none, or event or context shapes that differ; aligned members that are no mixtures of one K; negative
            weights.

    Example:
        >>> import anabranch as ab
        >>> ensemble = ab.Ensemble([ab.Flow(ab.flows.realnvp(features=2, blocks=2)) for _ in range(3)])
        >>> ensemble.sample((5,)).shape
        torch.Size([5, 2])
    """

    log_weights: Tensor | None

    def __init__(
        self, members: Sequence[Density], aligned: bool = False, weights: Tensor | ArrayLike | None = None
    ) -> None:
        parts = Separate(members)
        counts = {part.components for part in members if isinstance(part, Mixture)}
        components = counts.pop() if aligned and len(counts) == 1 else None
        if aligned and components is None:
            raise ValueError("aligned: expected members that are all mixtures of as many components, got others")
        super().__init__(components or parts.count, parts.event_shape, parts.context_shape)
        self.member_densities = parts
        self.aligned = aligned
        like = reference_tensor(parts)
        like = torch.zeros(parts.count) if like is None else like.detach().new_zeros(parts.count)
        # equal ones are not kept: they are exact in whatever dtype the members come to have
        given = weights.to(like) if isinstance(weights, Tensor) else weights
        self.register_buffer("log_weights", None if weights is None else read_weights(given, like))

    def parts(self) -> Sequence[Density]:
        """The members."""
        return self.members

    @property
    def support(self) -> Constraint:
        """Where some member may be positive."""
        return self.member_densities.support

    @property
    def members(self) -> list[Density]:
        """The densities."""
        return [part for part in self.member_densities.densities if isinstance(part, Density)]

    def initialize(self, x: Tensor, context: Tensor | None = None) -> None:
        """Initialize every member."""
        self.member_densities.initialize(x, context)

    def _joint_score(self, x: Tensor, context: Tensor | None, score: Score) -> Tensor:
        x = at_every_context(self, x, context)
        log_weights = self._log_weights(x)
        if not self.aligned:
            return (
                self.member_densities.scores(x.expand(self.member_densities.count, *x.shape), context, score)
                + log_weights
            )
        joints, others = [], []
        for member, log_w in zip(self.members, log_weights, strict=True):
            own = context_for(member, context)
            if isinstance(member, Mixture):
                joints.append(score.joint(member, x, own) + log_w)
            else:
                others.append(score(member, x, own) + log_w)
        stacked = torch.stack(torch.broadcast_tensors(*joints), dim=-1)
        # a component that has ended in all of them: no sum, whose gradient would be that of infinities
        nothing = stacked.isneginf().all(dim=-1)
        joint = torch.where(nothing.unsqueeze(-1), 0.0, stacked).logsumexp(dim=-1).masked_fill(nothing, -torch.inf)
        shared = ~nothing | nothing.all(dim=-1, keepdim=True)
        for log_p in others:
            share = (log_p - shared.sum(dim=-1).log()).unsqueeze(-1).expand(joint.shape)
            joint = torch.where(shared, torch.logaddexp(joint, share), joint)
        return joint

    def _sample(self, shape: torch.Size, context: Tensor | None) -> Tensor:
        batch_shape = shape + context_batch(self, context)
        own = context_rows(self, context, batch_shape)
        log_weights = self._log_weights(torch.empty(0) if own is None else own)
        member = draw_levels(log_weights, torch.Size([batch_shape.numel()]))
        x = self.member_densities.draw(member, own if self.member_densities.context_shape is not None else None)
        return x.reshape(*batch_shape, *self.event_shape)

    def summands(self, context: Tensor | None) -> tuple[list[Density], Tensor]:
        """The members that have a weight, at the context."""
        return sums.settled(*self._told(context))

    def _given(
        self, wanted: list[int], observed: list[int], values: Tensor | None, context: Tensor | None
    ) -> Density | None:
        r"""sum_m w_m p_m(a) p_m(x | a) / sum_m w_m p_m(a): each conditional, weighted by how likely its member made a."""
        parts, log_weights = self.summands(context)
        if values is not None and observed:
            seen = [given(part, observed) for part in parts]
            known = [one for one in seen if one is not None]
            if len(known) < len(parts):
                return None
            log_weights = log_weights + sums.log_probs(known, values).to(log_weights)
        alive = [k for k, w in enumerate(log_weights.tolist()) if w > -math.inf]
        if not alive:
            raise ValueError("values: expected possible ones, but the density is 0 there, or below every float")
        found = [given(parts[k], wanted, observed, values) for k in alive]
        left = [one for one in found if one is not None]
        return mixture_of(left, log_weights[alive]) if len(left) == len(found) else None

    def weighted_completion(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor] | None:
        """That of a member drawn by its weight at what was observed; None if a member has none."""
        return sums.weighted_completion(*self._told(context), x) if self.gaps else None

    def _moments(self, context: Tensor | None) -> Moments | None:
        return sums.moments(*self._told(context))

    def _distribution_function(self, context: Tensor | None) -> DistributionFunction | None:
        return sums.distribution_function(*self._told(context))

    def _told(self, context: Tensor | None) -> tuple[list[sums.Told], Tensor]:
        like = reference_tensor(self.member_densities)
        return self.member_densities.each(context), self._log_weights(
            torch.zeros(()) if like is None else like.detach()
        )

    def _log_weights(self, x: Tensor) -> Tensor:
        """log w: (members,), in the dtype of the members' parameters, or of x (which may be whole) where they have none."""
        like = reference_tensor(self.member_densities)
        like = x if like is None else like
        if self.log_weights is None:
            return like.new_full((self.member_densities.count,), -math.log(self.member_densities.count))
        return self.log_weights.to(like)


def mixture_of(parts: Sequence[Density], log_weights: Tensor) -> Density:
    """sum_k w_k p_k(x), of densities that are shared, not copied; of one alone, that one."""
    if len(parts) == 1:
        return parts[0]
    normalised = log_weights.detach().log_softmax(dim=-1)
    mixture = Ensemble(parts, weights=normalised.exp())
    mixture.log_weights = normalised  # weights, as an ensemble reads them, may vanish
    return mixture
