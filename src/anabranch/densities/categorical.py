"""The categorical density."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from numpy.typing import ArrayLike
from torch import Tensor
from torch.distributions import constraints

from anabranch.checks import read_tensor
from anabranch.densities.density import Density
from anabranch.densities.gaussian import read_loc
from anabranch.densities.parameters import Parameters
from anabranch.networks import Network


class Categorical(Density):
    r"""Independent categories: x_i in 0, ..., levels - 1 with probability softmax(l_i)_{x_i}.

    Samples have the dtype of the parameters, so that they join with other columns; x may also be of an integer dtype.
    Anything but a level's number has log-probability -inf.

    Args:
        logits: l, (features, levels), or (levels,) for one feature.
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

    reparameterized = False

    def __init__(
        self,
        logits: Tensor | ArrayLike,
        learnable: bool = False,
        context: int = 0,
        network: Network | None = None,
        hidden: Sequence[int] = (64, 64),
    ) -> None:
        one_feature = read_tensor("logits", logits, None).dim() == 1
        initial = read_loc(logits, dims=1 if one_feature else 2, name="logits")
        initial = initial.unsqueeze(0) if one_feature else initial
        theta = Parameters({"logits": initial}, learnable, context, network, hidden)
        super().__init__(initial.shape[:1], theta.context_shape)
        self.levels = initial.shape[1]
        self.support = constraints.independent(constraints.integer_interval(0, self.levels - 1), 1)
        self.theta = theta

    def _log_prob(self, x: Tensor, context: Tensor | None) -> Tensor:
        log_p = torch.log_softmax(self.theta(context)["logits"], dim=-1)
        level = x.nan_to_num().round().clamp(0, self.levels - 1)
        shape = torch.broadcast_shapes(level.shape, log_p.shape[:-1])
        chosen = log_p.expand(*shape, self.levels).gather(-1, level.long().expand(shape).unsqueeze(-1)).squeeze(-1)
        chosen = torch.where(x == level, chosen, -torch.inf)
        return torch.where(x.isnan(), torch.nan, chosen).sum(dim=-1)

    def _sample(self, shape: torch.Size, context: Tensor | None) -> Tensor:
        logits = self.theta(context)["logits"]
        return draw_levels(logits, shape).to(logits.dtype)


def draw_levels(logits: Tensor, shape: torch.Size = torch.Size()) -> Tensor:  # noqa: B008 (an immutable value)
    r"""Draw k with probability softmax(logits)_k: (*shape, *batch) of integers, for logits (*batch, levels).

    By Gumbel's trick: the largest of logits + noise is number k with just that probability. It takes any batch, an empty
    one too.
    """
    uniform = torch.rand(*shape, *logits.shape, dtype=logits.dtype, device=logits.device)
    noise = -(-uniform.clamp(min=torch.finfo(logits.dtype).tiny).log()).log()
    return (logits + noise).argmax(dim=-1)
