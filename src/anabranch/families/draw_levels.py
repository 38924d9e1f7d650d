"""Levels drawn with given probabilities."""

from __future__ import annotations

import torch
from torch import Tensor


def draw_levels(logits: Tensor, shape: torch.Size = torch.Size()) -> Tensor:  # noqa: B008 (an immutable value)
    r"""Draw k with probability softmax(logits)_k: (*shape, *batch) of integers, for logits (*batch, levels).

    By Gumbel's trick: the largest of logits + noise is number k with just that probability. It takes any batch, an empty
    one too.
    """
    uniform = torch.rand(*shape, *logits.shape, dtype=logits.dtype, device=logits.device)
    noise = -(-uniform.clamp(min=torch.finfo(logits.dtype).tiny).log()).log()
    return (logits + noise).argmax(dim=-1)
