"""How the rows of a batch are changed before a step."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from anabranch.draws import drawing
from anabranch.training.rows import Rows

# the share of the steps after which noise is gone
_GONE = 0.7


class Changes:
    """Noise on the rows of a batch that falls to nothing over the first 70 % of the steps.

    The fit is smooth at first, and in the end what the rows say.

    Args:
        scale: standard deviation of the noise at first, of each entry of an event; None for no noise.
    """

    def __init__(self, scale: Tensor | None) -> None:
        self.scale = scale

    def __call__(self, rows: Rows, progress: float, seed: int) -> Rows:
        """The rows as the step takes them.

        Args:
            rows: of the batch.
            progress: the share of the fit that is done.
            seed: of what is drawn.
        """
        left = 1 - progress / _GONE
        if self.scale is None or left <= 0:
            return rows
        with drawing(seed):
            return replace(rows, x=rows.x + left * self.scale * torch.randn_like(rows.x))


def spread(x: Tensor) -> Tensor:
    """The standard deviation of what is observed in each column of x (rows, *event), gaps left out."""
    if not bool(torch.isnan(x).any()):
        return x.std(dim=0, correction=0)
    return (x - x.nanmean(dim=0)).square().nanmean(dim=0).sqrt().nan_to_num(0.0)
