"""Gaps drawn with importance weights, which make what the network says directly draws of the one joint."""

from __future__ import annotations

import torch
from torch import Tensor

from anabranch.models.ordered_columns import OrderedColumns

# draws of a row's gaps from which one is chosen, as many as the relative variance of the weights asks for
_CHOICES = (4, 16, 64)
# that variance over the choices, which is about how far the mean of what is chosen is off in units of the spread
_BIAS = 0.025
# draws that tell this variance. They are not chosen from: what stops at even weights would leave out what has large ones
_PILOTS = 8
# rows with their draws in one go
_ROWS = 2**14


def last_place(model: OrderedColumns, columns: Tensor) -> int:
    """The place in the model's order of the last of some columns, (D) booleans; -1 for none, and the very last where
    several orders are averaged.
    """
    if model.orders > 1:
        return model.columns - 1
    return max((place for place, i in enumerate(model.order) if bool(columns[i])), default=-1)


def weighted_completions(
    model: OrderedColumns,
    x: Tensor,
    context: Tensor | None = None,
    needed: Tensor | None = None,
    alike: bool = False,
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
        alike: whether rows get the same random numbers, as in `OrderedColumns.proposed`.

    Returns:
        the rows (*batch, D), and log w (*batch), nats.
    """
    observed = ~x.isnan()
    upto = last_place(model, observed.flatten(0, -2).any(dim=0))
    last = model.columns - 1 if needed is None else max(upto, last_place(model, needed))
    with torch.no_grad():
        drawn, log_q = model.proposed(x, context, model.order[: last + 1], alike)
    # gradients are those of what was observed, the draws held (Fisher's identity)
    filled = torch.where(observed, x, drawn)
    if upto < 0:
        return filled, x.new_zeros(x.shape[:-1])
    if model.orders > 1:
        return filled, model.log_prob(filled, context) - log_q.sum(dim=-1)
    before = model.order[: upto + 1]
    return filled, model.terms(filled, before, context=context).sum(dim=-1) - log_q[..., before].sum(dim=-1)


def chosen_completions(
    model: OrderedColumns, x: Tensor, context: Tensor | None = None, needed: Tensor | None = None
) -> Tensor:
    """Rows with their gaps drawn from the joint given what was observed, (n, D).

    Where no gap stands before an observed column in the model's order, one draw of the network is a draw of the joint.
    Elsewhere it is one approximately, by importance resampling: the network draws the gaps 4 times, and one of these is
    chosen by its weight. Rows whose weights are uneven get 16 or 64 draws, as other draws have told.
    Source: Rubin, 1987, "The SIR algorithm".

    Args:
        model: the model.
        x: (n, D), NaN for a gap.
        context: (n, c), or None.
        needed: (D) booleans, as for `weighted_completions`.
    """
    filled = x.clone()
    gaps = x.isnan().any(dim=-1)
    uneven = gaps_before_observed(model, x)
    rows = (gaps & ~uneven).nonzero().squeeze(-1)
    for some in rows.split(_ROWS):
        filled[some] = weighted_completions(model, x[some], None if context is None else context[some], needed)[0]
    rows = uneven.nonzero().squeeze(-1)
    if not len(rows):
        return filled

    def weighted(some: Tensor, copies: int) -> tuple[Tensor, Tensor]:
        given = None if context is None else context[some].expand(copies, -1, -1)
        return weighted_completions(model, x[some].expand(copies, -1, -1), given, needed)

    variance = torch.cat([relative_variance(weighted(some, _PILOTS)[1]) for some in rows.split(_ROWS // _PILOTS)])
    choices = torch.full_like(rows, _CHOICES[-1])
    for copies in reversed(_CHOICES):
        choices[variance <= _BIAS * copies] = copies
    for copies in _CHOICES:
        for some in rows[choices == copies].split(_ROWS // copies):
            drawn, log_w = weighted(some, copies)
            filled[some] = drawn[resampled(log_w, 1)[0], torch.arange(len(some), device=x.device)]
    return filled


def gaps_before_observed(model: OrderedColumns, x: Tensor) -> Tensor:
    """Which rows (n, D) have a gap before an observed column in the model's order, (n): there weights differ. Where several
    orders are averaged, rows with any gap.
    """
    gaps = x.isnan()
    if model.orders > 1:
        return gaps.any(dim=-1)
    places = torch.tensor(model.order, device=x.device).argsort()
    first_gap = torch.where(gaps, places, model.columns).amin(dim=-1)
    last_seen = torch.where(gaps, -1, places).amax(dim=-1)
    return first_gap < last_seen


def relative_variance(log_w: Tensor) -> Tensor:
    """The variance of weights (count, n) over their squared mean: (n); 0 where there are none."""
    share = torch.softmax(log_w, dim=0)
    return (len(log_w) * share.square().sum(dim=0) - 1).nan_to_num()


def resampled(log_w: Tensor, count: int) -> Tensor:
    """Which of the draws to keep, (count, n), so that each comes as often as its weight says: systematic resampling. A draw
    comes again only if its weight is that of more than one. Where no draw is possible, any is kept.

    Source: Kitagawa, 1996, "Monte Carlo filter and smoother"; the order is then shuffled.

    Args:
        log_w: (draws, n).
        count: how many to keep.
    """
    share = torch.softmax(log_w, dim=0)
    reached = torch.where(share.isnan(), 1.0, share).cumsum(dim=0).mT.contiguous()
    start = torch.rand(len(reached), 1, dtype=log_w.dtype, device=log_w.device)
    comb = (torch.arange(count, dtype=log_w.dtype, device=log_w.device) + start) / count
    places = torch.searchsorted(reached, comb * reached[:, -1:]).clamp(max=len(log_w) - 1)
    mixed = torch.rand(places.shape, device=log_w.device).argsort(dim=-1)
    return places.gather(-1, mixed).mT
