"""What a model of any order is trained by: one step of the chain rule, after a random set of columns."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from anabranch.checks import fraction, positive
from anabranch.densities.contexts import context_rows
from anabranch.models.column_network import ColumnNetwork

# of the rows of a batch, those on which two orders are compared
_COMPARED = 0.125
# nats by which two orders differ at most, where they are compared: a wild row shall not decide
_DIFFERENCE = 5.0


class OrderLoss:
    r"""The loss of rows, of which a set A of n columns is shown to the network:

    .. math:: \text{loss}(x) = \frac{n}{n - |A|} \sum_{i \notin A} -\log p(x_i \mid x_A), \qquad |A|
              \text{ uniform in } 0, \ldots, n - 1.

    For most rows A is random: the expectation is the mean over orders of -log p(x). For a share of `in_order` A is what
    comes first in one of the model's orders: the sets that the joint needs. All hidden columns are scored there too, which
    was better than the next one alone. For an eighth of the rows two hidden columns i, j are taken in both orders, and

    .. math:: \texttt{agreement} \cdot D \left( \log p(x_i \mid x_A) + \log p(x_j \mid x_A, x_i)
              - \log p(x_j \mid x_A) - \log p(x_i \mid x_A, x_j) \right)^2

    is added, so that orders come nearer to each other. These rows count for all: they are the first of a batch, which a fit
    has shuffled. (docs/tables.md has the gains of both.)
    Source: Uria, Murray and Larochelle, 2014, arXiv:1310.1757, for random sets.

    Args:
        network: gives log p of every column.
        orders: the model's orders.
        agreement: a weight of at least 0.
        in_order: the share of rows that learn the orders of the joint alone, in [0, 1).

    Raises:
        ValueError: a negative weight, or a share beyond [0, 1).
    """

    def __init__(
        self, network: ColumnNetwork, orders: Sequence[Sequence[int]], agreement: float, in_order: float = 0.25
    ) -> None:
        self.network = network
        self.agreement = 0.0 if agreement == 0 else positive("agreement", agreement)
        self.in_order = fraction("in_order", in_order)
        self.columns = len(orders[0])
        # where every column stands in each order, as a share
        self._places = torch.tensor(orders).argsort(dim=-1) / self.columns
        self._placed: dict[tuple[torch.device, torch.dtype], Tensor] = {}

    def __call__(
        self,
        x: Tensor,
        among: Tensor,
        observed: Tensor,
        context: Tensor | None = None,
        drawn_count: bool = True,
    ) -> Tensor:
        """The loss of rows: (*batch), nats.

        Args:
            x: (*batch, D), any number in place of a gap.
            among: (*batch, D) booleans, the columns that may be shown and scored.
            observed: (*batch, D) booleans, those of which x was observed; `among` has drawn ones too.
            context: (*batch, c), or None.
            drawn_count: whether drawn columns are scored, where an observed one is hidden.
        """
        shown, scale = self._shown(among, x)
        log_p = self.network.log_prob(x, self.network.entered(x, shown), context)
        hidden = among & ~shown
        news = (observed & hidden).any(dim=-1, keepdim=True)
        scored = hidden & (observed | news) if drawn_count else hidden & observed
        loss = -(torch.where(scored, log_p, 0.0).sum(dim=-1, keepdim=True) * scale).squeeze(-1)
        if self.agreement == 0 or self.columns < 2:
            return loss
        return loss + self._disagreement(x, shown, hidden, log_p, context)

    def _shown(self, among: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
        """A for each row, (*batch, D) booleans, and n / (n - |A|), (*batch, 1)."""
        n = among.sum(dim=-1, keepdim=True)
        u = torch.rand(like.shape, dtype=like.dtype, device=like.device)
        if (like.device, like.dtype) not in self._placed:
            self._placed[like.device, like.dtype] = self._places.to(like)
        places = self._placed[like.device, like.dtype]
        one = places[torch.randint(len(places), like.shape[:-1], device=like.device)]
        in_order = torch.rand(n.shape, dtype=like.dtype, device=like.device) < self.in_order
        keys = torch.where(among, torch.where(in_order, one, u), 2.0)
        rank = keys.argsort(dim=-1).argsort(dim=-1)
        size = (torch.rand(n.shape, dtype=like.dtype, device=like.device) * n).floor().clamp(max=(n - 1).clamp(min=0))
        return among & (rank < size), n / (n - size).clamp(min=1)

    def _disagreement(self, x: Tensor, shown: Tensor, hidden: Tensor, log_p: Tensor, context: Tensor | None) -> Tensor:
        """What is added to the loss of each row: (*batch)."""
        batch, rows = log_p.shape[:-1], log_p[..., 0].numel()
        n = max(1, round(rows * _COMPARED)) if rows else 0
        some, among, known, single = (part.reshape(-1, self.columns)[:n] for part in (x, hidden, shown, log_p))
        given = context_rows(self.network, context, batch)
        given = None if given is None else given[:n].repeat(2, 1)
        keys = torch.where(among, torch.rand(some.shape, dtype=x.dtype, device=x.device), 2.0)
        pair = keys.topk(2, dim=-1, largest=False).indices
        one, other = (torch.zeros_like(known).scatter(-1, pair[:, k : k + 1], True) for k in (0, 1))
        twice = some.repeat(2, 1)
        entered = self.network.entered(twice, torch.cat([known | one, known | other]))
        after_one, after_other = self.network.log_prob(twice, entered, given).split(max(1, n))
        i, j = pair[:, :1], pair[:, 1:]
        difference = single.gather(-1, i) + after_one.gather(-1, j) - single.gather(-1, j) - after_other.gather(-1, i)
        squared = difference.squeeze(-1).clamp(-_DIFFERENCE, _DIFFERENCE).square()
        # where not two columns are hidden there is nothing to compare
        counted = torch.where(among.sum(dim=-1) >= 2, squared, 0.0) * (self.agreement * self.columns * rows / max(1, n))
        return torch.cat([counted, torch.zeros_like(log_p[..., 0]).reshape(-1)[n:]]).reshape(batch)
