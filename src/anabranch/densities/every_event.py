"""All events of a density that has finitely many, and sums over their levels."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import constraints

from anabranch.checks import reference_tensor
from anabranch.densities.density import Density
from anabranch.densities.whole_numbers import ends_of
from anabranch.transforms.domain import EveryNumber

MOST = 4096


def every_event(name: str, density: Density, most: int = MOST) -> Tensor:
    """All events that may have a probability: (count, *event), in the density's dtype.

    Args:
        name: of the density, for messages.
        density: of whole numbers between two ends, or one that is one-hot, by its `support`.
        most: how many events there may be.

    Raises:
        ValueError: infinitely many events, or more.

    Example:
        >>> import torch
        >>> from anabranch.densities import Bernoulli
        >>> from anabranch.densities.every_event import every_event
        >>> every_event("prior", Bernoulli(torch.zeros(2))).tolist()
        [[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]
    """
    like = reference_tensor(density)
    like = torch.zeros(()) if like is None else like
    shape, support = density.event_shape, density.support
    while isinstance(support, (EveryNumber, constraints.independent)):
        support = support.base_constraint
    if support is constraints.one_hot:
        counts = [shape[-1]] * shape[:-1].numel()
        levels = [torch.eye(shape[-1]).to(like)] * len(counts)
    else:
        ends = ends_of(density.support, like.new_zeros(shape))
        if ends is None or not bool((ends.low.isfinite() & ends.high.isfinite()).all()):
            raise ValueError(
                f"{name}: expected a density of finitely many events, such as Bernoulli, Categorical or OneHot, got a "
                f"{type(density).__name__}"
            )
        pairs = zip(ends.low.flatten().tolist(), ends.high.flatten().tolist(), strict=True)
        levels = [torch.arange(low, high + 1).to(like).unsqueeze(-1) for low, high in pairs]
        counts = [len(one) for one in levels]
    total = 1
    for count in counts:
        total *= count
        if total > most:
            raise ValueError(
                f"{name}: expected at most {most:,} events to sum over, got more; estimate the sum by draws "
                "(objectives.ScoreFunction)"
            )
    index = torch.cartesian_prod(*(torch.arange(count) for count in counts)).reshape(total, len(counts))
    columns = [one[index[:, k].to(one.device)] for k, one in enumerate(levels)]
    return torch.cat(columns, dim=-1).reshape(total, *shape)


def divergence_of_levels(log_p: Tensor, log_q: Tensor) -> Tensor:
    """KL(p || q), (*batch), of log-probabilities of levels (*batch, levels); a level that p excludes adds nothing."""
    excluded = log_p.isneginf()
    difference = torch.where(excluded, 0.0, log_p) - torch.where(excluded, 0.0, log_q)
    return torch.where(excluded, 0.0, log_p.exp() * difference).sum(dim=-1)
