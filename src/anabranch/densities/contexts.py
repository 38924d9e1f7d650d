"""How the contexts of a density go with its events: batches, rows, and the contexts of its parts."""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor

from anabranch.checks import matching, read_tensor


class Conditioned(Protocol):
    """Whatever has events and contexts of known shapes: densities, and the parts of mixtures."""

    event_shape: torch.Size
    context_shape: torch.Size | None


def read_context(context: Any, shape: torch.Size | None, like: Tensor | None, owner: str) -> Tensor | None:
    """Contexts (*context batch, *context) as a tensor; None where there are none.

    Args:
        context: as it came.
        shape: of one, None for what takes none.
        like: a tensor of the dtype and device it shall have.
        owner: what takes it, in a word.

    Raises:
        ValueError: one that is missing, or not taken, or of another shape, dtype or device.
    """
    if context is None and shape is None:
        return None
    if context is None:
        raise ValueError(f"context: expected shape (..., {', '.join(map(str, shape or ()))}), got None")
    if shape is None:
        raise ValueError(f"context: expected None, since this {owner} takes none, got one")
    context = read_tensor("context", context, like)
    matching("context", context, shape, like)
    return context


def context_batch(density: Conditioned, context: Tensor | None) -> torch.Size:
    """The batch shape of contexts (*context batch, *context); () where there are none."""
    if context is None or density.context_shape is None:
        return torch.Size()
    return context.shape[: context.dim() - len(density.context_shape)]


def joint_batch(density: Conditioned, x: Tensor, context: Tensor | None) -> torch.Size:
    """The batch shape of events (*batch, *event) and of their contexts together."""
    batch = x.shape[: x.dim() - len(density.event_shape)]
    return batch if context is None else torch.broadcast_shapes(batch, context_batch(density, context))


def context_for(part: Conditioned, context: Tensor | None) -> Tensor | None:
    """The context as a part of a composite takes it: a part that has none gets None."""
    return None if part.context_shape is None else context


def shape_for(density: Conditioned, part: Conditioned, shape: torch.Size, context: Tensor | None) -> torch.Size:
    """The sample shape for a part of a density: a part without a context still owes one draw for each context."""
    return shape if part.context_shape is not None else shape + context_batch(density, context)


def context_rows(density: Conditioned, context: Tensor | None, batch_shape: torch.Size) -> Tensor | None:
    """The contexts of a batch as rows, one for each event: (events, *context)."""
    if context is None or density.context_shape is None:
        return None
    own = density.context_shape
    return context.expand(*batch_shape, *own).reshape(-1, *own)


def at_every_context(density: Conditioned, x: Tensor, context: Tensor | None) -> Tensor:
    """x with all batch dimensions of the result, where the contexts have more of them than x."""
    if context is None:
        return x
    return x.expand(*joint_batch(density, x, context), *density.event_shape)
