"""The vectors that a context adds to the layers of a network."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from anabranch.kernels.layout import as_rows, cast


class ContextShifts(nn.Module):
    """V_l c for each of several layers l, by one product for all layers.

    Args:
        context: number of numbers of one context, 0 for none.
        widths: widths of the layers.
    """

    def __init__(self, context: int, widths: Sequence[int]) -> None:
        super().__init__()
        self.widths = list(widths)
        self.product = nn.Linear(context, sum(widths), bias=False) if context else None

    def last_at_zero(self) -> None:
        """Set V of the last layer to 0."""
        if self.product is not None:
            nn.init.zeros_(self.product.weight[sum(self.widths[:-1]) :])

    def forward(
        self, context: Tensor | None, batch_shape: torch.Size, dtype: torch.dtype | None = None
    ) -> list[Tensor | None]:
        """(rows, width) for each layer, from contexts (*batch, context); None for each layer without a context."""
        if self.product is None or context is None:
            return [None] * len(self.widths)
        (shifts,) = cast(dtype, self.product(context))
        return list(as_rows(shifts, batch_shape).split(self.widths, dim=-1))
