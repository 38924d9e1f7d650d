"""How batches lie in memory: in the networks rows of hidden units and columns of outputs, in the structures features first.

Between layers the units of one row of data lie side by side, (rows, units), which is how small products are fastest. The
last layer multiplies from the left, W h, so that the outputs of each unit, (outputs, rows), and with them each parameter of
each feature, lie side by side over the rows: what follows, elementwise in rows, reads and writes whole runs. It takes the
activation of what it was given turned round, a(h^T): a compiler keeps exactly what a product reads.

The structures of transforms lay events out in the same way for the univariate maps: each feature is one run over the rows.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import linear

# features of a first layer whose weight is turned round
_FEW = 16


def as_rows(x: Tensor, batch_shape: torch.Size) -> Tensor:
    """(*batch, features), broadcast to the batch shape, as (rows, features)."""
    if x.shape[:-1] != batch_shape:
        x = x.expand(*batch_shape, -1)
    return x.reshape(-1, x.shape[-1])


def from_columns(y: Tensor, batch_shape: torch.Size) -> Tensor:
    """(outputs, rows) as (*batch, outputs), a view."""
    return y.mT.reshape(*batch_shape, y.shape[0])


def batch_of(x: Tensor, context: Tensor | None) -> torch.Size:
    """The batch shape of x and the context together."""
    return x.shape[:-1] if context is None else torch.broadcast_shapes(x.shape[:-1], context.shape[:-1])


def features_first(x: Tensor) -> Tensor:
    """(*batch, features) as (features, *batch) in memory."""
    return x.movedim(-1, 0).contiguous()


def from_input(weight: Tensor, bias: Tensor, x: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """A first layer, x weight^T + bias, by rows. With the weight of few features turned round, its gradient is a product of
    few rows; to turn a wide one costs more than it saves.
    """
    weight, bias, x = cast(dtype, weight, bias, x)
    return torch.addmm(bias, x, weight.mT.contiguous()) if weight.shape[1] <= _FEW else linear(x, weight, bias)


def by_rows(weight: Tensor, bias: Tensor, h: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """A hidden layer, h weight^T + bias, by rows."""
    weight, bias, h = cast(dtype, weight, bias, h)
    return linear(h, weight, bias)


def by_columns(weight: Tensor, bias: Tensor, h: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """A last layer, weight h + bias, on (units, rows) to (outputs, rows)."""
    weight, bias, h = cast(dtype, weight, bias, h)
    return torch.addmm(bias.unsqueeze(-1), weight, h)


def cast(dtype: torch.dtype | None, *tensors: Tensor) -> tuple[Tensor, ...]:
    """In that dtype; as they are if None."""
    return tensors if dtype is None else tuple(tensor.to(dtype) for tensor in tensors)
