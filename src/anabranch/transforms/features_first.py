"""Events with their features first: how the structures hand them to univariate maps."""

from __future__ import annotations

import torch
from torch import Tensor


def features_first(x: Tensor, context: Tensor | None) -> Tensor:
    """(*batch, features), broadcast to the context's batch, as (features, *batch) in memory.

    Each feature is then one run over the rows, as are the parameters that the networks give for it
    (`anabranch.networks.layout`).
    """
    if context is not None:
        batch_shape = torch.broadcast_shapes(x.shape[:-1], context.shape[:-1])
        x = x.expand(*batch_shape, -1)
    return x.movedim(-1, 0).contiguous()
