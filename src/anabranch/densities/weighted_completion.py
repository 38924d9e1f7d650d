r"""Rows completed by weighted draws: of what a density is asked that has a hidden variable, or none.

A weighted completion of a row x whose observed part is x_o is the row with its gaps drawn from a proposal r, and a weight

.. math:: w \ge 0, \qquad E_r[w\, f(x)] = \int f(x)\, p(x)\, dx_{\text{gaps}} \quad \text{for all } f,

so that the mean of w is p(x_o), and draws chosen by their weights are draws of p(gaps | x_o).
Source: Rubin, 1987, "The SIR algorithm"; Mattei and Frellsen, 2019, arXiv:1812.02633, equation 11.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from anabranch.densities.contexts import joint_batch
from anabranch.densities.density import Density
from anabranch.families.draw_levels import draw_levels


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


def of_one_component(found: Sequence[tuple[Tensor, Tensor]], log_weights: Tensor) -> tuple[Tensor, Tensor]:
    r"""A weighted completion of a mixture, sum_k v_k p_k(x), from one of each component: rows x_k with weights w_k.

    Component k is drawn with probability v_k w_k / \sum_j v_j w_j, and the weight is the sum, so that

    .. math:: E[w f(x)] = E[\sum_k v_k w_k f(x_k)] = \int f(x) \sum_k v_k p_k(x)\, dx_{gaps} .

    The gradient of the weight is that of the drawn component, whose mean is the one of the sum, whatever follows from x.

    Args:
        found: for each component rows (*batch, *event) and log w_k (*batch), nats.
        log_weights: log v, (components) or (*batch, components).
    """
    log_w = torch.stack([each for _, each in found], dim=-1) + log_weights
    total = torch.logsumexp(log_w.detach(), dim=-1)
    # where no component is possible any is as good
    drawn = draw_levels(log_w.detach().masked_fill(total.isneginf().unsqueeze(-1), 0.0))
    one = log_w.gather(-1, drawn.unsqueeze(-1)).squeeze(-1)
    gradient = torch.where(one.isfinite(), one, 0.0)
    rows = found[0][0]
    for k, (other, _) in enumerate(found[1:], start=1):
        rows = torch.where((drawn == k).reshape(*drawn.shape, *(1,) * (rows.dim() - drawn.dim())), other, rows)
    return rows, total + (gradient - gradient.detach())
