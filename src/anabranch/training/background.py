"""A broad density behind a fitted one, for rows where the fit says next to nothing."""

from __future__ import annotations

import torch
from torch import Tensor

from anabranch.densities import Density, Normal
from anabranch.transforms.domain import is_everything

# as a normal of twice the variance: broad enough for rows to come, and hardly dearer than the normal itself
_WIDER = 2.0
_ITERATIONS = 500


def check_background(density: Density) -> None:
    """Raise ValueError unless a normal can stand behind this density."""
    if density.context_shape is not None or len(density.event_shape) != 1 or not is_everything(density.support):
        raise ValueError(
            "background: expected densities of all vectors and without a context, for a normal to stand behind, got a "
            f"{type(density).__name__} of events of shape {tuple(density.event_shape)}"
        )


def broad_normal(x: Tensor) -> Normal:
    """A normal with the mean of rows (rows, features) and twice their covariance, in their dtype."""
    rows = x.double()
    covariance = torch.cov(rows.T).reshape(x.shape[1], x.shape[1])
    diagonal = torch.diagonal(covariance).mean().clamp(min=1e-12)
    jitter = 1e-6 * diagonal * torch.eye(x.shape[1], dtype=rows.dtype, device=rows.device)
    factor = torch.linalg.cholesky(_WIDER * covariance + jitter)
    return Normal(rows.mean(dim=0).to(x), scale_tril=factor.to(x))


def background_weight(fitted: Tensor, broad: Tensor) -> float:
    r"""The weight w of a background that is most probable after rows that neither density was fitted to:

    .. math:: \log w + \log(1 - w) + \sum_i \log\big((1 - w)\, p(x_i) + w\, b(x_i)\big)

    at its largest, by EM. The first two terms count one row for each side beside those seen: without them no row in need of
    a background among the few held out would mean that there is none among all to come.

    Args:
        fitted: log p (rows).
        broad: log b (rows).
    """
    difference = (broad - fitted).double()
    log_odds = torch.tensor(0.0, dtype=torch.float64)
    for _ in range(_ITERATIONS):
        w = (torch.sigmoid(difference + log_odds).sum() + 1) / (len(difference) + 2)
        log_odds = torch.logit(w)
    return float(torch.sigmoid(log_odds))
