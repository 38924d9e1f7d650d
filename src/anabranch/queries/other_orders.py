"""Rows of a model of any order in other orders than that of its joint, which say how far these are apart."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from anabranch.draws import drawing
from anabranch.models import AnyOrder
from anabranch.queries.region import Values, inside
from anabranch.queries.weighted_rows import WeightedRows

# other orders to ask, each by so many of the rows
_ORDERS = 4
# away from the seeds of the joint's rows: the errors of both shall be independent
_SEEDS = 2**40


def rows_of_other_orders(
    model: AnyOrder,
    columns: list[int],
    given: Mapping[int, Values],
    more: Mapping[int, float],
    count: int,
    context: Tensor | None,
    seed: int,
) -> list[tuple[WeightedRows, Tensor]]:
    """Rows of other orders, in which single given values come first, then `more`, then all else in a random order; and the
    log-density of `more` there.

    Args:
        model: the model.
        columns: to draw.
        given: by column; rows are within its ranges.
        more: values of other columns.
        count: rows of the joint, of which each order gets a quarter.
        context: (c), or None.
        seed: of the joint's rows.
    """
    rows, seed = max(2, count // _ORDERS), seed + _SEEDS
    like = model.network.heads.weight
    first = {i: values.point for i, values in given.items() if values.point is not None}
    ranges = {i: values for i, values in given.items() if values.point is None}
    wanted = [i for i in columns if i not in first and i not in more] + list(ranges)
    rest = [i for i in range(model.columns) if i not in first and i not in more]
    x = like.new_full((1, model.columns), torch.nan)
    for i, value in [*first.items(), *more.items()]:
        x[0, i] = value
    one = None if context is None else context.unsqueeze(0)
    every = None if context is None else context.expand(rows, -1)
    found = []
    generator = torch.Generator().manual_seed(seed)
    for k in range(_ORDERS):
        order = [rest[j] for j in torch.randperm(len(rest), generator=generator).tolist()]
        if k == 0:  # nothing but what is asked for
            order = [i for i in order if i in wanted]
        last = max((place for place, i in enumerate(order) if i in wanted), default=-1)
        chain = [list(more)[j] for j in torch.randperm(len(more), generator=generator).tolist()]
        with torch.no_grad(), drawing(seed + k):
            log_p = model.terms(x, chain, list(first), one).sum() if chain else x.new_zeros(())
            drawn = model.proposed(x.expand(rows, -1), every, order[: last + 1])[0] if last >= 0 else x
        stratum = torch.zeros(len(drawn), dtype=torch.long, device=drawn.device)
        weighted = WeightedRows(drawn, drawn.new_zeros(len(drawn)), stratum).within(inside(ranges, drawn))
        if weighted.effective > 0:
            found.append((weighted, log_p.double()))
    return found
