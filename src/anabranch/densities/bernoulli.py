"""The Bernoulli density."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from numpy.typing import ArrayLike
from torch import Tensor
from torch.distributions import constraints
from torch.nn.functional import logsigmoid

from anabranch import families
from anabranch.densities.closed_form import ClosedForm
from anabranch.densities.density import Density
from anabranch.densities.every_event import divergence_of_levels
from anabranch.densities.gaussian import read_loc
from anabranch.densities.parameters import Parameters
from anabranch.networks import Network
from anabranch.networks.network import Shape


class Bernoulli(ClosedForm):
    r"""Independent zeros and ones: p(x) = prod_i sigmoid(l_i)^{x_i} sigmoid(-l_i)^{1 - x_i}, a probability.

    Samples have the dtype of the parameters, so that they join with other columns; x may also be boolean or integer.
    Anything but 0 and 1 has log-probability -inf.

    Args:
        logits: l = log(p / (1 - p)), (*event).
        learnable: whether the logits are trained.
        context: size of a context on which they depend, through an MLP that starts at zero; 0 for none.
        network: in place of that MLP, a network from the context to the offset of the logits.
        hidden: hidden sizes of the MLP.

    Example:
        >>> import torch
        >>> from anabranch.densities import Bernoulli
        >>> Bernoulli(torch.zeros(2)).log_prob(torch.tensor([0.0, 1.0])).exp()
        tensor(0.2500)
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
        super().__init__(
            families.Bernoulli(), initial.shape, Parameters({"logits": initial}, learnable, context, network, hidden)
        )

    @property
    def support(self) -> constraints.Constraint:
        """0 or 1, for every number."""
        return constraints.independent(constraints.boolean, len(self.event_shape))

    def numbers(self, context: Tensor | None) -> Tensor:
        """The logits: (*context batch, *event, 1)."""
        return self.theta(context)["logits"].unsqueeze(-1)

    def divergence(
        self, other: Density, context: Tensor | None = None, other_context: Tensor | None = None
    ) -> Tensor | None:
        """KL(p || q) of each number, (*batch, groups), nats, where the other is of zeros and ones too."""
        if not isinstance(other, Bernoulli):
            return None
        pairs = ((self, context), (other, other_context))
        log_p, log_q = (logsigmoid(torch.cat([-one, one], dim=-1)) for one in (part.numbers(c) for part, c in pairs))
        return divergence_of_levels(log_p, log_q).flatten(-len(self.event_shape))

    def _relaxed(self, shape: torch.Size, context: Tensor | None, temperature: float) -> Tensor:
        """sigmoid((l + logistic noise) / T)."""
        logits = self.theta(context)["logits"]
        logits = logits.expand(*shape, *logits.shape)
        noise = torch.rand_like(logits).clamp(min=torch.finfo(logits.dtype).tiny, max=1 - torch.finfo(logits.dtype).eps)
        return ((logits + noise.logit()) / temperature).sigmoid()

    def _nearest(self, x: Tensor) -> Tensor:
        return (x > 0.5).to(x.dtype)

    def _only(self, columns: list[int], context: Tensor | None) -> Bernoulli:
        return Bernoulli(self.theta(context)["logits"][columns])
