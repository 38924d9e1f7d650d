"""Gaps of rows filled by weighted draws of a density that has hidden variables, whatever their patterns, in one go."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from anabranch.densities import Density
from anabranch.models.weighted_completions import resampled
from anabranch.queries.impute_any_order import Middle
from anabranch.queries.possible import check_possible
from anabranch.queries.student_mixture import discrete_columns

# rows with their draws in one go
_ROWS = 2**16


def completes(density: Density, x: Tensor, contexts: Tensor | None) -> bool:
    """Whether a density has weighted completions of rows (n, D) at contexts (n, c)."""
    context = None if contexts is None else contexts[:1]
    return len(x) > 0 and density.weighted_completion(x[:1], context) is not None


def drawn_rows(
    density: Density, x: Tensor, contexts: Tensor | None, count: int, proposals: int
) -> tuple[Tensor, Tensor]:
    """Draws of the gaps of rows (n, D) given the rest, (count, n, D), by importance resampling, and what they rest on.

    Args:
        density: that has weighted completions.
        x: (n, D), NaN for a gap.
        contexts: (n, c), or None.
        count: draws of each row; at most as many differ as there are proposals.
        proposals: weighted draws for each row.

    Returns:
        the rows, and how many independent draws the weights of a row are worth, (n): infinite without a gap.
    """
    result = x.expand(count, *x.shape).clone()
    effective = torch.full_like(x[:, 0], torch.inf)
    for rows, filled, log_w in _completions(density, x, contexts, proposals):
        chosen = resampled(log_w, count)
        result[:, rows] = filled.gather(0, chosen.unsqueeze(-1).expand(-1, -1, x.shape[1]))
        effective[rows] = _effective(log_w)
    return result, effective


def best_rows(
    density: Density,
    x: Tensor,
    contexts: Tensor | None,
    kind: str,
    proposals: int,
    middles: Sequence[Middle | None] | None = None,
) -> tuple[Tensor, Tensor]:
    r"""Rows (n, D) with each gap's mean or median, or most probable value, given what was observed:

    .. math:: E[f(x_i)] \approx \sum_k w_k f(x_{ik}) / \sum_k w_k .

    The arguments are those of `drawn_rows`, and `kind` and `middles` those of `impute_any_order.best_guess`. The second
    result is that of `drawn_rows`.
    """
    result = x.clone()
    effective = torch.full_like(x[:, 0], torch.inf)
    context = None if contexts is None else contexts[0]
    discrete = discrete_columns(density, density.sample((1024,), context))
    for rows, filled, log_w in _completions(density, x, contexts, proposals):
        share = torch.softmax(log_w, dim=0).mT
        effective[rows] = _effective(log_w)
        for i in range(x.shape[1]):
            gap = x[rows, i].isnan().nonzero().squeeze(-1)
            if not len(gap):
                continue
            values, weights = filled[:, gap, i].mT, share[gap]
            middle = None if middles is None else middles[i]
            if middle is not None:
                best = middle(values, weights)
            elif i in discrete:
                best = _most_probable(values, weights)
            else:
                best = (values * weights).sum(dim=-1) if kind == "mean" else _median(values, weights)
            result[rows[gap], i] = best
    return result, effective


def _completions(
    density: Density, x: Tensor, contexts: Tensor | None, proposals: int
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Rows with a gap, (some), completions of them (proposals, some, D) and the logarithms of their weights."""
    for rows in x.isnan().any(dim=-1).nonzero().squeeze(-1).split(max(1, _ROWS // proposals)):
        if not len(rows):
            continue
        context = None if contexts is None else contexts[rows]
        found = density.weighted_completion(x[rows].expand(proposals, -1, -1), context)
        if found is None:
            raise ValueError(f"density: expected one that completes rows by weights, got a {type(density).__name__}")
        check_possible(torch.logsumexp(found[1], dim=0), rows)
        yield rows, *found


def _effective(log_w: Tensor) -> Tensor:
    """(sum w)^2 / sum w^2 of weights (draws, n): (n)."""
    return 1 / torch.softmax(log_w, dim=0).square().sum(dim=0)


def _median(values: Tensor, weights: Tensor) -> Tensor:
    """The least of values (n, draws) up to which half of the weight lies: (n)."""
    ordered, order = values.sort(dim=-1)
    below = (weights.gather(-1, order).cumsum(dim=-1) < 0.5).sum(dim=-1, keepdim=True)
    return ordered.gather(-1, below.clamp(max=values.shape[-1] - 1)).squeeze(-1)


def _most_probable(values: Tensor, weights: Tensor) -> Tensor:
    """Of values (n, draws) that repeat, the one with most weight: (n)."""
    different, which = values.unique(return_inverse=True)
    total = weights.new_zeros(len(values), len(different)).scatter_add(-1, which, weights)
    return different[total.argmax(dim=-1)]
