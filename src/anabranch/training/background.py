"""A broad density behind a fitted one, for rows where the fit says next to nothing."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from anabranch.densities import Density, StudentT
from anabranch.models import Flow
from anabranch.transforms import Linear
from anabranch.transforms.domain import is_everything

# of the t densities: the fewest whole degrees that have a variance
_FREEDOM = 3.0
_ITERATIONS = 500


def check_background(density: Density) -> None:
    """Raise ValueError unless a broad density can stand behind this one."""
    if density.likelihood != "exact":
        raise ValueError(
            f"background: expected densities whose likelihood is exact, got a {type(density).__name__}, of which a bound is "
            "known"
        )
    if density.context_shape is not None or len(density.event_shape) != 1 or not is_everything(density.support):
        raise ValueError(
            "background: expected densities of all vectors and without a context, for a broad one to stand behind, got a "
            f"{type(density).__name__} of events of shape {tuple(density.event_shape)}"
        )


def broad_density(x: Tensor) -> Flow:
    """Student t densities along the principal axes of rows (rows, features), in their dtype, not trained.

    They have the rows' mean and, with three degrees of freedom and the rows' covariance for a scale, three times that
    covariance. A normal would do for rows near the others, and call impossible those that it is there for.
    """
    rows = x.double()
    mean = rows.mean(dim=0)
    one = torch.eye(x.shape[1], dtype=rows.dtype, device=rows.device)
    # of columns of one size, lest a large one's rounding be more than all that a small one spreads
    scale = rows.std(dim=0).clamp(min=torch.finfo(x.dtype).tiny) if len(rows) > 1 else torch.ones_like(mean)
    correlation = torch.cov(((rows - mean) / scale).T).reshape(one.shape) if len(rows) > 1 else one
    values, axes = torch.linalg.eigh(correlation)
    whiten = axes.T / values.clamp(min=1e-6).sqrt().unsqueeze(-1) / scale
    to_axes = Linear(x.shape[1]).to(x)
    with torch.no_grad():
        to_axes.weight.copy_(whiten)
        to_axes.bias.copy_(-whiten @ mean)
    return Flow(to_axes, base=StudentT(torch.zeros_like(mean), df=_FREEDOM)).to(x).requires_grad_(False)


def before_background(losses: Tensor, broad: Tensor, rows: int) -> Tensor:
    """Losses with a background of log b (rows) behind the density that has the weight of one row of so many, (rows)."""
    w = 1 / (rows + 2)
    return -torch.logaddexp(math.log1p(-w) - losses, math.log(w) + broad)


def background_weight(fitted: Tensor, broad: Tensor) -> float:
    r"""The weight w of a background that is most probable after rows to which the fitted density was not fitted:

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
