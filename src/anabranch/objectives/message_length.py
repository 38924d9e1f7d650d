"""How many nats it takes to tell a mixture and its rows."""

from __future__ import annotations

import math

from torch import Tensor


def message_length(log_likelihood: float, weights: Tensor, parameters: Tensor, rows: int) -> float:
    r"""Nats that tell the mixture, each parameter as precisely as the rows of its component determine it, and the rows:

    .. math:: \sum_{w_k > 0} \frac{N_k}{2} \log n w_k + \frac{K - 1}{2} \log n - \sum_i \log p(x_i),

    K the number of weights above 0. Parameters that all components share are told once whatever K is, and are left out.
    Source: Figueiredo, Leitao and Jain, 1999, "On fitting mixture models". The message length of Figueiredo and Jain, 2002,
    equation 15, is the same but for constants of quantisation, which make each parameter cheaper by 0.74 nats.

    Args:
        log_likelihood: the sum over the rows, nats.
        weights: w, (components,).
        parameters: N_k, (components,).
        rows: n.

    Example:
        >>> import torch
        >>> from anabranch.objectives.message_length import message_length
        >>> round(message_length(-1000.0, torch.tensor([0.5, 0.5]), torch.tensor([5, 5]), 200), 2)
        1025.68
    """
    alive = weights > 0
    # less than one row tells nothing, and costs no less than nothing
    each = 0.5 * parameters[alive].double() * (rows * weights[alive].double()).clamp(min=1).log()
    return float(each.sum()) + 0.5 * (int(alive.sum()) - 1) * math.log(rows) - log_likelihood
