"""The mean of several densities."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from numpy.typing import ArrayLike
from torch import Tensor
from torch.distributions.constraints import Constraint

from anabranch.densities import Density, Mixture
from anabranch.densities.categorical import draw_levels
from anabranch.densities.density import at_every_context, context_for, context_rows
from anabranch.densities.weights import read_weights
from anabranch.models.components import Separate


class Ensemble(Mixture):
    r"""p(x) = sum_m w_m p_m(x), the mean of M fits to the same rows: a density again, and exact.

    Where single fits follow the accidents of few rows, each follows others, and their mean is better than they are (its
    log-likelihood is at least the mean of theirs, by the concavity of the logarithm). Its components are the members, or,
    of aligned mixtures, theirs.

    Args:
        members: the densities.
        aligned: whether the members are mixtures of K components that mean the same in all of them, as starts from one
            assignment see to: p(x, k) is then the mean of theirs. A member that is no mixture has an equal share in each.
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

    def __init__(
        self, members: Sequence[Density], aligned: bool = False, weights: Tensor | ArrayLike | None = None
    ) -> None:
        parts = Separate(members)
        counts = {part.components for part in members if isinstance(part, Mixture)}
        components = counts.pop() if aligned and len(counts) == 1 else None
        if aligned and components is None:
            raise ValueError("aligned: expected members that are all mixtures of as many components, got others")
        super().__init__(components or parts.count, parts.event_shape, parts.context_shape)
        self.parts = parts
        self.aligned = aligned
        self.bound = parts.bound
        self.loss_is_exact = parts.loss_is_exact
        self.register_buffer("log_weights", read_weights(weights, torch.zeros(parts.count)).log_softmax(dim=-1))

    @property
    def support(self) -> Constraint:  # type: ignore[override]
        """Where some member may be positive."""
        return self.parts.support

    @property
    def members(self) -> list[Density]:
        """The densities."""
        return [part for part in self.parts.densities if isinstance(part, Density)]

    def initialize(self, x: Tensor, context: Tensor | None = None) -> None:
        """Initialize every member."""
        self.parts.initialize(x, context)

    def _joint_log_prob(self, x: Tensor, context: Tensor | None) -> Tensor:
        return self._joint(x, context, by_loss=False)

    def _joint_loss(self, x: Tensor, context: Tensor | None) -> Tensor:
        return -self._joint(x, context, by_loss=True)

    def _joint(self, x: Tensor, context: Tensor | None, by_loss: bool) -> Tensor:
        x = at_every_context(x, context, len(self.event_shape))
        log_weights = self.get_buffer("log_weights").to(x)
        if not self.aligned:
            return self.parts.log_probs(x.expand(self.parts.count, *x.shape), context, by_loss) + log_weights
        joints = [self._joint_of(member, x, context, by_loss) for member in self.members]
        return torch.logsumexp(torch.stack(torch.broadcast_tensors(*joints), dim=-1) + log_weights, dim=-1)

    def _joint_of(self, member: Density, x: Tensor, context: Tensor | None, by_loss: bool) -> Tensor:
        own = context_for(member, context)
        if isinstance(member, Mixture):
            return -member.joint_loss(x, own) if by_loss else member.joint_log_prob(x, own)
        score = -member.loss(x, own) if by_loss else member.log_prob(x, own)
        return (score - math.log(self.components)).unsqueeze(-1).expand(*score.shape, self.components)

    def _sample(self, shape: torch.Size, context: Tensor | None) -> Tensor:
        batch_shape = shape if context is None else shape + context.shape[:-1]
        own = context_rows(context, batch_shape)
        member = draw_levels(self.get_buffer("log_weights"), torch.Size([batch_shape.numel()]))
        x = self.parts.draw(member, own if self.parts.context_shape is not None else None)
        return x.reshape(*batch_shape, *self.event_shape)
