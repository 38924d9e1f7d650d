"""log p at one point, with its error where it is estimated."""

from __future__ import annotations

import torch
from torch import Tensor

from anabranch.densities import Density
from anabranch.models import Subset
from anabranch.queries.at_context import AtContext
from anabranch.queries.estimate import Estimate
from anabranch.queries.estimated_subset import EstimatedSubset


def log_prob_at(density: Density, x: Tensor) -> Estimate:
    """log p(x) of one x (D) of a density without a context: closed, or estimated if the density is a subset of columns."""
    if isinstance(density, EstimatedSubset):
        return density.log_prob_with_error(x)
    one = density.density if isinstance(density, AtContext) else density
    if isinstance(one, Subset) and not one.closed:
        log_p, error = one.estimate(x, density.context if isinstance(density, AtContext) else None)
        return Estimate(log_p, error, torch.full_like(log_p, float(one.samples)), exact=not bool(error > 0))
    return Estimate.closed(density.log_prob(x.unsqueeze(0))[0])
