"""Gaps of rows filled by a model of any order, whatever their patterns, in one pass over the columns."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from anabranch.families import Atoms, Family, Lattice, Levels, Logistics
from anabranch.models import AnyOrder
from anabranch.models.column_network import Walk
from anabranch.models.weighted_completions import (
    chosen_completions,
    gaps_before_observed,
    relative_variance,
    weighted_completions,
)
from anabranch.queries.possible import seen_ends

# one value for values and their probabilities, both (n, some), that stand for a distribution: (n,)
Middle = Callable[[Tensor, Tensor], Tensor]
# values that stand for a distribution
_POINTS = 129
_FARTHEST = 8.0
# draws by which a single best is corrected: more of them for rows where so many leave too large an error
_DRAWS = (16, 64, 256)
# in units of a variance: the error that is small enough
_ERROR = 0.005
# rows with their draws in one go
_ROWS = 2**14
# a probability that is no more than the rounding of float32
_ABOVE = 1e-6


def fill(model: AnyOrder, x: Tensor, context: Tensor | None = None) -> Tensor:
    """Rows (n, D) with their gaps drawn from the joint given what was observed: approximately, by importance resampling,
    and exactly where all gaps of a row come behind what was observed in the model's order (`chosen_completions`).
    """
    _check_observed(model, x)
    return chosen_completions(model, x, context)


def best_guess(
    model: AnyOrder,
    x: Tensor,
    kind: str,
    context: Tensor | None = None,
    middles: Sequence[Middle | None] | None = None,
) -> Tensor:
    r"""Rows (n, D) with each gap's mean or median, or most probable level, given what was observed: no gap sees another.

    That of the joint, approximately. The network says q(x_i | observed) directly. Where a gap of the row stands before an
    observed column in the model's order, S draws of all its gaps have weights w_k that make them draws of the joint and add
    up to one. They say by how much the joint differs:

    .. math:: E[f(x_i)] \approx E_q[f(x_i)] + \sum_k \left(w_k - \tfrac1S\right) f(x_{ik}).

    So the error is small where orders agree, whatever S: 16, and 64 or 256 for rows whose weights are uneven. A gap next
    after all that was observed in the model's order is exact; for one behind other gaps the network's word is taken. The
    draws always come from the same random numbers, so a row has the same answer in any company.

    Args:
        model: the model.
        x: (n, D).
        kind: "mean" or "median".
        context: as elsewhere.
        middles: for each column, if something else is to stand in its gaps, that as a function of values that
            stand for the column's distribution, see `points`, and their probabilities, of which some may be below 0.
    """
    _check_observed(model, x)
    initialized = bool(model.get_buffer("initialized"))
    filled = x.clone()
    for rows, drawn, share in _corrections(model, x, context):
        given = x[rows]
        walk = Walk(model.network, given.shape[:-1], None if context is None else context[rows], like=x)
        for i, column in enumerate(given.unbind(dim=-1)):
            walk.reveal(i, column)
        for i in range(model.columns):
            gap = given[:, i].isnan().nonzero().squeeze(-1)
            if not len(gap):
                continue
            theta, values, weights = walk.theta(i)[gap], drawn[:, gap, i].mT, share[:, gap].mT
            ends = seen_ends(model, i)
            values = values if ends is None else values.clamp(*ends)
            middle = None if middles is None else middles[i]
            if middle is None:
                filled[rows[gap], i] = _best(model.family(i), theta, kind, values, weights)
            else:
                direct = points(model.family(i), theta, initialized)
                filled[rows[gap], i] = middle(*_corrected(model.family(i), *direct, values, weights))
    return filled


def _corrections(model: AnyOrder, x: Tensor, context: Tensor | None) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Which of the rows (some), draws of them (S, some, D), and what each adds to the network's probabilities, (S, some)."""
    uneven = gaps_before_observed(model, x)
    for some in (~uneven).nonzero().squeeze(-1).split(_ROWS):
        yield some, x.new_zeros(0, *x[some].shape), x.new_zeros(0, len(some))
    rows = uneven.nonzero().squeeze(-1)
    for count in _DRAWS:
        left = []
        for some in rows.split(_ROWS // count):
            if not len(some):
                continue
            given = None if context is None else context[some].expand(count, -1, -1)
            drawn, log_w = weighted_completions(model, x[some].expand(count, -1, -1), given, alike=True)
            enough = relative_variance(log_w) <= (_ERROR * count if count < _DRAWS[-1] else torch.inf)
            # where no draw is possible, as the network says
            share = (torch.softmax(log_w, dim=0) - 1 / count).nan_to_num()
            yield some[enough], drawn[:, enough], share[:, enough]
            left.append(some[~enough])
        rows = torch.cat(left) if left else rows


def _corrected(family: Family, values: Tensor, p: Tensor, drawn: Tensor, share: Tensor) -> tuple[Tensor, Tensor]:
    """Values that stand for a distribution and their probabilities, (n, some) both, with what draws (n, S) add to them."""
    if isinstance(family, Levels):
        p = p.scatter_add(-1, drawn.long(), share).clamp(min=0)
        return values, p / p.sum(dim=-1, keepdim=True)
    return torch.cat([values, drawn], dim=-1), torch.cat([p, share], dim=-1)


def points(family: Family, theta: Tensor, initialized: bool = False) -> tuple[Tensor, Tensor]:
    """Values of a column and their probabilities, (*batch, some) both, that stand for its distribution.

    Levels and atoms with what they have. Of everything else quantiles at u = 1 / (1 + e^{-t}) for t in even steps from -8 to
    8, each for du = u (1 - u) dt, which is fine where tails are: what lies further out, 0.03 % on each side, is left out.
    Where the family was initialized with a sample they stay within its ends: one of a heavy tail would outweigh all others.
    """
    if isinstance(family, Levels):
        levels = torch.arange(family.count, dtype=theta.dtype, device=theta.device)
        return levels.expand(theta.shape), theta.softmax(dim=-1)
    if isinstance(family, Atoms):
        count = 1 + len(family.values)
        w = theta[..., :count].softmax(dim=-1)
        values, weights = points(family.inner, theta[..., count:], initialized)
        atoms = torch.tensor(family.values, dtype=theta.dtype, device=theta.device)
        values = torch.cat([atoms.expand(w[..., 1:].shape), values], dim=-1)
        return values, torch.cat([w[..., 1:], w[..., :1] * weights], dim=-1)
    t = torch.linspace(-_FARTHEST, _FARTHEST, _POINTS, dtype=theta.dtype, device=theta.device)
    shares = t.sigmoid()
    values = family.quantile(shares.expand(*theta.shape[:-1], -1), theta.unsqueeze(-2))
    smooth = family.smooth if isinstance(family, Lattice) else family
    if initialized and isinstance(smooth, Logistics):
        knots = smooth.get_buffer("knots").to(values)
        values = values.clamp(knots[0], knots[-1])
    weights = shares * (1 - shares)
    return values, (weights / weights.sum()).expand(values.shape)


def _best(family: Family, theta: Tensor, kind: str, drawn: Tensor, share: Tensor) -> Tensor:
    if isinstance(family, Levels):
        return theta.softmax(dim=-1).scatter_add(-1, drawn.long(), share).argmax(dim=-1).to(theta.dtype)
    if kind == "mean":
        mean = family.mean(theta) + (share * drawn).sum(dim=-1)
        return family.nearest(mean) if family.discrete else mean
    return family.quantile(_half(family, theta, drawn, share), theta)


def _half(family: Family, theta: Tensor, drawn: Tensor, share: Tensor) -> Tensor:
    """The least u at which u, and the shares of the draws up to the u-quantile, come to one half: (n).

    A draw is up to the u-quantile where u > P(X < draw). Between two such thresholds the shares add up to a constant.
    """
    threshold, order = family.below(drawn, theta.unsqueeze(-2))[0].sort(dim=-1)
    added = torch.nn.functional.pad(share.gather(-1, order).cumsum(dim=-1), (1, 0))
    # just above it, so that the quantile of a discrete column is the draw
    low = torch.nn.functional.pad(threshold + _ABOVE, (1, 0))
    high = torch.nn.functional.pad(threshold, (0, 1), value=1.0)
    u = torch.maximum(0.5 - added, low)
    return torch.where(u <= high, u, 1.0).amin(dim=-1)


def _check_observed(model: AnyOrder, x: Tensor) -> None:
    """Raise ValueError where a row holds a value that its column cannot have."""
    for i, column in enumerate(x.unbind(dim=-1)):
        impossible = ~column.isnan() & ~model.family(i).contains(column)
        if bool(impossible.any()):
            row = int(impossible.nonzero()[0])
            raise ValueError(
                f"rows: expected values that are possible, got {float(column[row]):g} in row {row}, column {i} "
                f"({int(impossible.sum())} of these rows); correct or leave out those values"
            )
