"""The learning rate over a fit."""

from __future__ import annotations

import math

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR


def warmup_cosine(optimizer: Optimizer, steps: int, warmup: float) -> LambdaLR:
    r"""Linear warm-up, then a half cosine down to zero at the last step.

    Args:
        optimizer: whose learning rate to set; the one it has is the highest reached.
        steps: how many there will be.
        warmup: the fraction of them spent going up.
    """
    rising = max(1, round(warmup * steps))

    def factor(step: int) -> float:
        if step < rising:
            return (step + 1) / rising
        return 0.5 * (1 + math.cos(math.pi * (step - rising) / max(1, steps - rising)))

    return LambdaLR(optimizer, factor)
