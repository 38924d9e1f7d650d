"""Gaps drawn with importance weights, which make what the network says directly draws of the one joint."""

from __future__ import annotations

import torch
from torch import Tensor

from anabranch.models.any_order import AnyOrder


def last_place(model: AnyOrder, columns: Tensor) -> int:
    """The place in the model's order of the last of some columns, (D) booleans; -1 for none, and the very last where
    several orders are averaged.
    """
    if model.orders > 1:
        return model.columns - 1
    return max((place for place, i in enumerate(model.order) if bool(columns[i])), default=-1)


def weighted_completions(
    model: AnyOrder, x: Tensor, context: Tensor | None = None, needed: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    r"""Rows with their gaps drawn, and log w, by which the rows are draws of the joint given what was observed:

    .. math:: w = \frac{\prod_{t \le T} p(x_{\sigma_t} \mid x_{\sigma_{<t}})}{\prod_{\text{drawn}\ \sigma_t,\ t \le T}
              q(x_{\sigma_t} \mid x_{\text{observed}}, \text{drawn before})}, \qquad E_q[w] = p(x_{\text{observed}}),

    where T is the last place of an observed column. Behind it q is p. The weights are as even as orders agree.

    Args:
        model: the model.
        x: (*batch, D), NaN for a gap.
        context: (*batch, c), or None.
        needed: (D) booleans, the columns to draw where they are gaps; others are drawn where a weight needs them, and may
            stay gaps. All by default.

    Returns:
        the rows (*batch, D), and log w (*batch), nats.
    """
    observed = ~x.isnan()
    upto = last_place(model, observed.flatten(0, -2).any(dim=0))
    last = model.columns - 1 if needed is None else max(upto, last_place(model, needed))
    with torch.no_grad():
        drawn, log_q = model.proposed(x, context, model.order[: last + 1])
    # gradients are those of what was observed, the draws held (Fisher's identity)
    filled = torch.where(observed, x, drawn)
    if upto < 0:
        return filled, x.new_zeros(x.shape[:-1])
    if model.orders > 1:
        return filled, model.log_prob(filled, context) - log_q.sum(dim=-1)
    before = model.order[: upto + 1]
    return filled, model.terms(filled, before, context=context).sum(dim=-1) - log_q[..., before].sum(dim=-1)
