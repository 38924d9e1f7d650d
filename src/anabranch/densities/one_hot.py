"""Categories as vectors of one 1."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from numpy.typing import ArrayLike
from torch import Tensor
from torch.distributions import constraints
from torch.nn.functional import gumbel_softmax, one_hot

from anabranch.densities.density import Density
from anabranch.densities.every_event import divergence_of_levels
from anabranch.densities.gaussian import read_loc
from anabranch.densities.parameters import Parameters
from anabranch.families.draw_levels import draw_levels
from anabranch.networks import Network
from anabranch.networks.network import Shape


class OneHot(Density):
    r"""Independent categories, each a vector of zeros with one 1, at level j with probability softmax(l_i)_j.

    A network that reads them has a weight for every level, as unordered categories ask, where `Categorical` hands it a
    level's number; and draws have a relaxation, softmax((l + g) / T) with Gumbel noise g, on the simplex
    (`objectives.Relaxed`). Anything but such vectors has log-probability -inf.
    Source of the relaxation: Jang et al., 2017, arXiv:1611.01144; Maddison et al., 2017, arXiv:1611.00712.

    Args:
        logits: l, (*event), whose last dimension is that of the levels: (numbers, levels), or (levels,) for one.
        learnable: whether the logits are trained.
        context: size of a context on which they depend, through an MLP that starts at zero; 0 for none.
        network: in place of that MLP, a network from the context to the offset of the logits.
        hidden: hidden sizes of the MLP.

    Example:
        >>> import torch
        >>> from anabranch.densities import OneHot
        >>> OneHot(torch.zeros(2, 4)).sample((5,)).sum(dim=-1).unique()
        tensor([1.])
    """

    reparameterized = False
    event_dtype = "whole"

    def __init__(
        self,
        logits: Tensor | ArrayLike,
        learnable: bool = False,
        context: Shape = 0,
        network: Network | None = None,
        hidden: Sequence[int] = (64, 64),
    ) -> None:
        initial = read_loc(logits, name="logits")
        theta = Parameters({"logits": initial}, learnable, context, network, hidden)
        super().__init__(initial.shape, theta.context_shape)
        self.theta = theta

    @property
    def support(self) -> constraints.Constraint:
        """Vectors of zeros with one 1."""
        return constraints.independent(constraints.one_hot, len(self.event_shape) - 1)

    def divergence(
        self, other: Density, context: Tensor | None = None, other_context: Tensor | None = None
    ) -> Tensor | None:
        """KL(p || q) of each category, (*batch, groups), nats, where the other is one-hot too."""
        if not isinstance(other, OneHot):
            return None
        log_p, log_q = (part._log_levels(c) for part, c in ((self, context), (other, other_context)))
        each = divergence_of_levels(log_p, log_q).unsqueeze(-1)
        return each.flatten(-len(self.event_shape))

    def _log_levels(self, context: Tensor | None) -> Tensor:
        return self.theta(context)["logits"].log_softmax(dim=-1)

    def _log_prob(self, x: Tensor, context: Tensor | None) -> Tensor:
        ones = x == 1
        valid = (ones | (x == 0)).all(dim=-1) & (ones.sum(dim=-1) == 1)
        log_p = torch.where(ones, self._log_levels(context), 0.0).sum(dim=-1)
        log_p = torch.where(valid, log_p, -torch.inf)
        log_p = torch.where(x.isnan().any(dim=-1), torch.nan, log_p)
        return log_p.sum(dim=tuple(range(1 - len(self.event_shape), 0))) if len(self.event_shape) > 1 else log_p

    def _sample(self, shape: torch.Size, context: Tensor | None) -> Tensor:
        logits = self.theta(context)["logits"]
        levels = draw_levels(logits, shape)
        return one_hot(levels, logits.shape[-1]).to(logits.dtype)

    def _relaxed(self, shape: torch.Size, context: Tensor | None, temperature: float) -> Tensor:
        logits = self.theta(context)["logits"]
        return gumbel_softmax(logits.expand(*shape, *logits.shape), tau=temperature)

    def _nearest(self, x: Tensor) -> Tensor:
        return one_hot(x.argmax(dim=-1), x.shape[-1]).to(x.dtype)
