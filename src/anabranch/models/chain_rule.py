"""The chain rule over columns by one network, all steps at once."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from anabranch.densities.contexts import at_every_context, context_rows
from anabranch.models.column_network import ColumnNetwork

# rows times columns in one go
_PASSES = 2**14
# and so many parameters of columns, of which those of thousands of categories have many
_NUMBERS = 2**23


def terms(
    network: ColumnNetwork, x: Tensor, order: Sequence[int], known: Sequence[int], context: Tensor | None
) -> Tensor:
    """log p(x_i | known columns, and those before i in the order): (*batch, columns in the order), nats; 0 for a gap.

    Args:
        network: gives log p of every column.
        x: (*batch, columns).
        order: columns, which need not be all: the others are left out.
        known: columns that come before, and are not scored.
        context: (*batch, c), or None.
    """
    x = at_every_context(network, x, context)
    if not order:
        return x[..., :0]

    def of_rows(x: Tensor, context: Tensor | None) -> Tensor:
        observed = ~x.isnan()
        values = torch.where(observed, x, 0.0)
        added = network.added(values, observed)
        entered = network.nothing_known.expand(len(x), -1)
        for i in known:
            entered = entered + added[i]
        before = []
        for i in order:
            before.append(entered)
            entered = entered + added[i]
        log_p = network.log_prob_of_each(values, torch.stack(before), order, context)
        return torch.where(observed, log_p, 0.0)[:, order]

    return torch.cat([of_rows(*piece) for piece in _pieces(network, x, context, len(order))]).reshape(
        *x.shape[:-1], len(order)
    )


def leave_one_out(network: ColumnNetwork, x: Tensor, context: Tensor | None) -> Tensor:
    """log p(x_i | all others that x has) for every column i: (*batch, columns), nats; NaN for a gap."""
    x = at_every_context(network, x, context)
    columns = x.shape[-1]

    def of_rows(x: Tensor, context: Tensor | None) -> Tensor:
        observed = ~x.isnan()
        values = torch.where(observed, x, 0.0)
        added = network.added(values, observed)
        entered = network.nothing_known + added.sum(dim=0) - added
        log_p = network.log_prob_of_each(values, entered, range(columns), context)
        return torch.where(observed, log_p, torch.nan)

    return torch.cat([of_rows(*piece) for piece in _pieces(network, x, context, columns)]).reshape(x.shape)


def _pieces(
    network: ColumnNetwork, x: Tensor, context: Tensor | None, passes: int
) -> list[tuple[Tensor, Tensor | None]]:
    """Rows and contexts, few enough at a time that their passes stay in the processor's cache."""
    rows = max(1, min(_PASSES // max(1, passes), _NUMBERS // sum(network.sizes)))
    given = context_rows(network, context, x.shape[:-1])
    flat = x.reshape(-1, x.shape[-1])
    return [
        (piece, None if given is None else given[k * rows : (k + 1) * rows]) for k, piece in enumerate(flat.split(rows))
    ]
