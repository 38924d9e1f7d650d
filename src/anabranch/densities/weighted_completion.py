r"""Rows completed by weighted draws: of what a density is asked that has a hidden variable, or none.

A weighted completion of a row x whose observed part is x_o is the row with its gaps drawn from a proposal r, and a weight

.. math:: w \ge 0, \qquad E_r[w\, f(x)] = \int f(x)\, p(x)\, dx_{\text{gaps}} \quad \text{for all } f,

so that the mean of w is p(x_o), and draws chosen by their weights are draws of p(gaps | x_o).
Source: Rubin, 1987, "The SIR algorithm"; Mattei and Frellsen, 2019, arXiv:1812.02633, equation 11.
"""

from __future__ import annotations

import torch
from torch import Tensor

from anabranch.densities.contexts import joint_batch
from anabranch.densities.density import Density


def of_independent_numbers(density: Density, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
    """A weighted completion of a density whose numbers are independent given the context: its draws, with weights p(x_o).

    The draws are held in gradients; that of the weight is the one of p(x_o) p(drawn) / r(drawn), with r held at p. So what
    follows from the draws moves p by it, whether the draws are differentiable or not.

    Args:
        density: that takes NaN for gaps.
        x: (*batch, *event), NaN for a gap.
        context: (*context batch, *context), or None.

    Returns:
        the rows, with all batch dimensions of both, and log w, nats.
    """
    batch = joint_batch(density, x, context)
    if context is None or density.context_shape is None:
        drawn = density._sample(batch, context)
    else:
        drawn = density._sample(torch.Size(), context.expand(*batch, *density.context_shape))
    filled, log_w = torch.where(x.isnan(), drawn.detach(), x), density._log_prob(x, context)
    if torch.is_grad_enabled():
        of_drawn = torch.where(log_w.isfinite(), density._log_prob(filled, context) - log_w, 0.0)
        log_w = log_w + (of_drawn - of_drawn.detach())
    return filled, log_w
