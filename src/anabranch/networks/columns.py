"""Batches with one row of data a column: how the networks compute.

A layer then multiplies from the left, W h + b, and the outputs of each unit, and so each parameter of each feature, lie side
by side over the rows. What follows, elementwise in rows, reads and writes whole runs; a block of units, as masked networks
have them, is a block of memory.
"""

from __future__ import annotations

import torch
from torch import Tensor


def as_columns(x: Tensor, batch_shape: torch.Size | None = None) -> Tensor:
    """(*batch, features), broadcast to the batch shape if there is one, as (features, rows)."""
    if batch_shape is not None and x.shape[:-1] != batch_shape:
        x = x.expand(*batch_shape, -1)
    return x.reshape(-1, x.shape[-1]).mT


def from_columns(y: Tensor, batch_shape: torch.Size) -> Tensor:
    """(outputs, rows) as (*batch, outputs), a view."""
    return y.mT.reshape(*batch_shape, y.shape[0])


def linear(weight: Tensor, bias: Tensor, h: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """A layer on columns, weight h + bias, multiplied in that dtype."""
    if dtype is not None:
        weight, bias, h = weight.to(dtype), bias.to(dtype), h.to(dtype)
    return torch.addmm(bias.unsqueeze(-1), weight, h)


def batch_of(x: Tensor, context: Tensor | None) -> torch.Size:
    """The batch shape of x and the context together."""
    return x.shape[:-1] if context is None else torch.broadcast_shapes(x.shape[:-1], context.shape[:-1])
