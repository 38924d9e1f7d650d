"""Weighted rows of the joint of a model of any order, given values of some columns."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from anabranch.draws import drawing
from anabranch.families import Levels
from anabranch.models import AnyOrder
from anabranch.models.column_network import Walk
from anabranch.models.weighted_completions import last_place, weighted_completions
from anabranch.queries.weighted_rows import WeightedRows

# rows in one go: passes are then large enough to be fast, and what they hold stays small
_ROWS = 4096
# strata have so many rows each, on average at least
_ROWS_OF_A_STRATUM = 16


def any_order_rows(
    model: AnyOrder,
    points: Mapping[int, float],
    needed: Tensor,
    count: int,
    context: Tensor | None = None,
    seed: int = 0,
) -> WeightedRows:
    """Weighted rows of p(x | points), the columns needed drawn, the others perhaps.

    Columns of levels that come first among those to be drawn are not left to chance: every combination of their levels has
    as many rows as its probability says, at least one, and weights that make up for the rounding. So what depends on these
    columns alone is exact, where no point lies behind them in the order.

    Args:
        model: the model.
        points: values by column.
        needed: (D) booleans.
        count: how many rows.
        context: (c), or None.
        seed: of the draws. Columns are drawn in the model's order, so that rows given the same points hold the same numbers,
            whichever columns are needed.
    """
    like = model.network.heads.weight
    with torch.no_grad():
        x = like.new_full((count, model.columns), torch.nan)
        for column, value in points.items():
            x[:, column] = value
        given = None if context is None else context.expand(count, -1)
        stratum = torch.zeros(count, dtype=torch.long, device=x.device)
        log_share = x.new_zeros(count)
        leading: frozenset[int] = frozenset()
        if model.orders == 1:
            last = last_place(model, needed | ~x[0].isnan())
            x, stratum, log_share, leading = _stratified(model, x, given, last)
        pieces = []
        for k in range(0, count, _ROWS):
            some = slice(k, k + _ROWS)
            with drawing(seed + k):
                pieces.append(weighted_completions(model, x[some], None if given is None else given[some], needed))
        filled = torch.cat([rows for rows, _ in pieces])
        log_w = torch.cat([log_w for _, log_w in pieces])
    return WeightedRows(filled, log_w - log_share, stratum, leading)


def _stratified(
    model: AnyOrder, x: Tensor, context: Tensor | None, last: int
) -> tuple[Tensor, Tensor, Tensor, frozenset[int]]:
    """Rows (n, D) with the leading columns of levels filled in, their strata (n), and the logarithm of each stratum's share
    of the rows, over what a row of it stands for (n): what weights have to be divided by; and these columns.
    """
    count = len(x)
    stratum = torch.zeros(count, dtype=torch.long, device=x.device)
    strata = 1
    log_share = x.new_zeros(count)
    leading = set()
    for i in model.order[: last + 1]:
        if not bool(x[:, i].isnan().any()):
            continue
        family = model.family(i)
        if not isinstance(family, Levels) or strata * family.count * _ROWS_OF_A_STRATUM > count:
            break
        firsts = torch.stack([(stratum == k).nonzero()[0, 0] for k in range(strata)])
        walk = Walk(model.network, firsts.shape, None if context is None else context[firsts], like=x)
        for j, column in enumerate(x[firsts].unbind(dim=-1)):
            walk.reveal(j, column)
        q = walk.theta(i).softmax(dim=-1).double()
        split = torch.zeros_like(stratum)
        for k in range(strata):
            mine = (stratum == k).nonzero().squeeze(-1)
            sizes = _allotted(q[k], len(mine))
            level = torch.repeat_interleave(torch.arange(family.count, device=x.device), sizes)
            x[mine, i] = level.to(x)
            log_share[mine] += (sizes.double() / len(mine)).log().to(x)[level]
            split[mine] = level
        stratum = (stratum * family.count + split).unique(return_inverse=True)[1]
        strata = int(stratum.max()) + 1
        leading.add(i)
    return x, stratum, log_share, frozenset(leading)


def _allotted(q: Tensor, rows: int) -> Tensor:
    """How many of so many rows each level (levels) gets: one, and of the others its share, by the largest remainders."""
    if rows < len(q):  # too few for all: the most probable ones
        sizes = torch.zeros(len(q), dtype=torch.long, device=q.device)
        sizes[q.topk(rows).indices] = 1
        return sizes
    wanted = q * (rows - len(q))
    sizes = wanted.floor().long()
    left = rows - len(q) - int(sizes.sum())
    sizes[(wanted - sizes).topk(left).indices] += 1
    return sizes + 1
