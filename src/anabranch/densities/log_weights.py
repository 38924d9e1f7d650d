"""The mean of importance weights, or of draws of a log-density, and how well it is known."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def log_mean_weight(log_w: Tensor) -> tuple[Tensor, Tensor]:
    r"""log of the mean of weights along the first dimension, and its standard error, std(w) / (mean(w) sqrt(S)).

    Args:
        log_w: (S, *batch), S of at least 2; -inf for a weight of 0.

    Returns:
        (*batch) each; -inf with an error of 0 where all weights are 0.
    """
    count = len(log_w)
    nothing = log_w.isneginf().all(dim=0)
    log_mean = torch.logsumexp(log_w, dim=0) - math.log(count)
    # the variance of w in units of the squared mean, from the shares s = w / sum(w): (S sum s^2 - 1) S / (S - 1)
    share = torch.softmax(log_w.detach(), dim=0)
    variance = (count * share.square().sum(dim=0) - 1).clamp(min=0) / (count - 1)
    return log_mean, torch.where(nothing, 0.0, variance.sqrt())


def mean_of_draws(log_p: Tensor) -> tuple[Tensor, Tensor]:
    """The mean of draws along the first dimension, and its standard error, std / sqrt(S).

    Args:
        log_p: (S, *batch), S of at least 2.

    Returns:
        (*batch) each; -inf with an error of 0 where a draw is -inf.
    """
    count, mean = len(log_p), log_p.mean(dim=0)
    squared = (log_p - mean).square().sum(dim=0) / (count * (count - 1))
    return mean, torch.where(mean.isneginf(), 0.0, squared.sqrt())
