"""The mean of several densities."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.distributions.constraints import Constraint

from anabranch.densities import Density, Mixture
from anabranch.densities.density import at_every_context, context_for, context_rows
from anabranch.models.components import Separate


class Ensemble(Mixture):
    r"""p(x) = 1/M sum_m p_m(x), the mean of M fits to the same rows: a density again, and exact.

    Where single fits follow the accidents of few rows, each follows others, and their mean is better than they are (its
    log-likelihood is at least the mean of theirs, by the concavity of the logarithm). Its components are the members, or,
    of aligned mixtures, theirs.

    Args:
        members: the densities.
        aligned: whether the members are mixtures of K components that mean the same in all of them, as starts from one
            assignment see to: p(x, k) is then the mean of theirs.

    Raises:
        ValueError: none, or event or context shapes that differ; aligned members that are no mixtures of one K.

    Example:
        >>> import anabranch as ab
        >>> ensemble = ab.Ensemble([ab.Flow(ab.flows.realnvp(features=2, blocks=2)) for _ in range(3)])
        >>> ensemble.sample((5,)).shape
        torch.Size([5, 2])
    """

    def __init__(self, members: Sequence[Density], aligned: bool = False) -> None:
        parts = Separate(members)
        counts = {part.components if isinstance(part, Mixture) else None for part in members}
        components = counts.pop() if aligned and len(counts) == 1 else None
        if aligned and components is None:
            raise ValueError("aligned: expected members that are all mixtures of as many components, got others")
        super().__init__(components or parts.count, parts.event_shape, parts.context_shape)
        self.parts = parts
        self.aligned = aligned
        self.bound = parts.bound
        self.loss_is_exact = parts.loss_is_exact

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
        log_share = -torch.tensor(float(self.parts.count), dtype=x.dtype, device=x.device).log()
        if not self.aligned:
            return self.parts.log_probs(x.expand(self.parts.count, *x.shape), context, by_loss) + log_share
        mixtures = [(m, context_for(m, context)) for m in self.members if isinstance(m, Mixture)]
        joints = [-m.joint_loss(x, own) if by_loss else m.joint_log_prob(x, own) for m, own in mixtures]
        return torch.logsumexp(torch.stack(torch.broadcast_tensors(*joints)), dim=0) + log_share

    def _sample(self, shape: torch.Size, context: Tensor | None) -> Tensor:
        batch_shape = shape if context is None else shape + context.shape[:-1]
        own = context_rows(context, batch_shape)
        member = torch.randint(self.parts.count, (batch_shape.numel(),), device=None if own is None else own.device)
        x = self.parts.draw(member, own if self.parts.context_shape is not None else None)
        return x.reshape(*batch_shape, *self.event_shape)
