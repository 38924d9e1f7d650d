"""Draws of a posterior as bounds take them: differentiable where the posterior's are, constants elsewhere."""

from __future__ import annotations

import torch
from torch import Tensor

from anabranch.densities.density import Density


def draw(posterior: Density, context: Tensor) -> tuple[Tensor, Tensor]:
    """z for each context, and log q(z | context)."""
    if posterior.reparameterized:
        return posterior._sample_and_log_prob(torch.Size(), context)
    with torch.no_grad():
        z = posterior._sample(torch.Size(), context)
    return z, posterior.log_prob(z, context)


def draw_and_compare(
    posterior: Density, prior: Density, context: Tensor, prior_context: Tensor | None
) -> tuple[Tensor, Tensor, Tensor | None]:
    """`draw`, and the posterior's divergence from a prior, (*batch, groups), None without a formula.

    A network of the context is read once for all three.
    """
    if posterior.reparameterized:
        return posterior._sample_and_divergence(prior, context, prior_context)
    return *draw(posterior, context), posterior.divergence(prior, context, prior_context)
