"""The categorical density."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from numpy.typing import ArrayLike
from torch import Tensor
from torch.distributions import constraints

from anabranch.densities.closed_form import ClosedForm
from anabranch.densities.density import Density
from anabranch.densities.every_event import divergence_of_levels
from anabranch.densities.gaussian import read_loc
from anabranch.densities.parameters import Parameters
from anabranch.families import Levels
from anabranch.networks import Network
from anabranch.networks.network import Shape


class Categorical(ClosedForm):
    r"""Independent categories: x_i in 0, ..., levels - 1 with probability softmax(l_i)_{x_i}.

    Samples have the dtype of the parameters, so that they join with other columns; x may also be of an integer dtype.
    Anything but a level's number has log-probability -inf.

    Args:
        logits: l, (*event, levels), or (levels,) for one feature.
        learnable: whether the logits are trained.
        context: size of a context on which they depend, through an MLP that starts at zero; 0 for none.
        network: in place of that MLP, a network from the context to the offset of the logits.
        hidden: hidden sizes of the MLP.

    Example:
        >>> import torch
        >>> from anabranch.densities import Categorical
        >>> Categorical(torch.zeros(4)).log_prob(torch.tensor([[0.0], [3.0], [4.0]])).exp()
        tensor([0.2500, 0.2500, 0.0000])
    """

    def __init__(
        self,
        logits: Tensor | ArrayLike,
        learnable: bool = False,
        context: Shape = 0,
        network: Network | None = None,
        hidden: Sequence[int] = (64, 64),
    ) -> None:
        initial = read_loc(logits, name="logits")
        initial = initial.unsqueeze(0) if initial.dim() == 1 else initial
        *event_shape, self.levels = initial.shape
        theta = Parameters({"logits": initial}, learnable, context, network, hidden)
        super().__init__(Levels(self.levels, read=self.levels), torch.Size(event_shape), theta)

    @property
    def support(self) -> constraints.Constraint:
        """The numbers of the levels, from 0."""
        return constraints.independent(constraints.integer_interval(0, self.levels - 1), len(self.event_shape))

    def numbers(self, context: Tensor | None) -> Tensor:
        """The logits: (*context batch, *event, levels)."""
        return self.theta(context)["logits"]

    def divergence(
        self, other: Density, context: Tensor | None = None, other_context: Tensor | None = None
    ) -> Tensor | None:
        """KL(p || q) of each number, (*batch, groups), nats, where the other is categorical too, of as many levels."""
        if not isinstance(other, Categorical) or other.levels != self.levels:
            return None
        log_p, log_q = self.numbers(context).log_softmax(dim=-1), other.numbers(other_context).log_softmax(dim=-1)
        return divergence_of_levels(log_p, log_q).flatten(-len(self.event_shape))

    def _only(self, columns: list[int], context: Tensor | None) -> Categorical:
        return Categorical(self.theta(context)["logits"][columns])
