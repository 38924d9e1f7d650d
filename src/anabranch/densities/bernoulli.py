"""The Bernoulli density."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from numpy.typing import ArrayLike
from torch import Tensor
from torch.distributions import constraints
from torch.nn import functional

from anabranch.densities.density import Density
from anabranch.densities.gaussian import read_loc
from anabranch.densities.parameters import Parameters
from anabranch.networks import Network


class Bernoulli(Density):
    r"""Independent zeros and ones: p(x) = prod_i sigmoid(l_i)^{x_i} sigmoid(-l_i)^{1 - x_i}, a probability.

    Samples have the dtype of the parameters, so that they join with other columns; x may also be boolean or integer.
    Anything but 0 and 1 has log-probability -inf.

    Args:
        logits: l = log(p / (1 - p)), (features,).
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

    reparameterized = False
    support = constraints.independent(constraints.boolean, 1)

    def __init__(
        self,
        logits: Tensor | ArrayLike,
        learnable: bool = False,
        context: int = 0,
        network: Network | None = None,
        hidden: Sequence[int] = (64, 64),
    ) -> None:
        initial = read_loc(logits, dims=1, name="logits")
        theta = Parameters({"logits": initial}, learnable, context, network, hidden)
        super().__init__(initial.shape, theta.context_shape)
        self.theta = theta

    def _log_prob(self, x: Tensor, context: Tensor | None) -> Tensor:
        logits = self.theta(context)["logits"]
        log_p = torch.where(x == 1, functional.logsigmoid(logits), functional.logsigmoid(-logits))
        log_p = torch.where((x == 0) | (x == 1), log_p, -torch.inf)
        return torch.where(x.isnan(), torch.nan, log_p).sum(dim=-1)

    def _sample(self, shape: torch.Size, context: Tensor | None) -> Tensor:
        p = torch.sigmoid(self.theta(context)["logits"])
        return torch.bernoulli(p.expand(*shape, *p.shape))
