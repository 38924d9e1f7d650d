"""Gaps of rows filled by a model of any order, whatever their patterns, in one pass over the columns."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from anabranch.families import Atoms, Family, Lattice, Levels, Logistics
from anabranch.models import AnyOrder
from anabranch.models.column_network import Walk
from anabranch.models.weighted_completions import weighted_completions

# one value for values and their probabilities, both (n, some), that stand for a distribution: (n,)
Middle = Callable[[Tensor, Tensor], Tensor]
# draws of a row's gaps from which one is chosen
_CHOICES = 4
# values that stand for a distribution
_POINTS = 129
_FARTHEST = 8.0


def fill(model: AnyOrder, x: Tensor, context: Tensor | None = None) -> Tensor:
    """Rows (n, D) with their gaps drawn from the joint given what was observed.

    The network draws the gaps of each row several times, and one of these is chosen by its weight (`weighted_completions`):
    sampling by importance resampling, exact as the number of choices grows. Where all gaps of a row come behind what was
    observed in the model's order, one draw is exact already.
    Source: Rubin, 1987, "The SIR algorithm".
    """
    _check_observed(model, x)
    filled = x.clone()
    places = torch.tensor(model.order, device=x.device).argsort()
    gaps = x.isnan()
    first_gap = torch.where(gaps, places, model.columns).amin(dim=-1)
    last_seen = torch.where(gaps, -1, places).amax(dim=-1)
    weighed = (first_gap < last_seen) | (model.orders > 1)
    for chosen, copies in ((~weighed, 1), (weighed, _CHOICES)):
        rows = (chosen & gaps.any(dim=-1)).nonzero().squeeze(-1)
        if len(rows):
            given = None if context is None else context[rows].repeat_interleave(copies, dim=0)
            drawn, log_w = weighted_completions(model, x[rows].repeat_interleave(copies, dim=0), given)
            filled[rows] = _resampled(drawn.reshape(len(rows), copies, -1), log_w.reshape(len(rows), copies))
    return filled


def _resampled(x: Tensor, log_w: Tensor) -> Tensor:
    """One of several rows (n, copies, D) each, as probable as its weight (n, copies): (n, D)."""
    p = torch.softmax(log_w, dim=-1)
    one = torch.multinomial(torch.where(p.isnan(), 1.0, p), 1).squeeze(-1)  # where none is possible, any
    return x[torch.arange(len(x), device=x.device), one]


def best_guess(
    model: AnyOrder,
    x: Tensor,
    kind: str,
    context: Tensor | None = None,
    middles: Sequence[Middle | None] | None = None,
) -> Tensor:
    """Rows (n, D) with each gap's mean or median, or most probable level, given what was observed: no gap sees another.

    Args:
        model: the model.
        x: (n, D).
        kind: "mean" or "median".
        context: as elsewhere.
        middles: for each column, if something else is to stand in its gaps, that as a function of values that
            stand for the column's distribution, see `points`, and their probabilities.
    """
    walk = _observed(model, x, context)
    initialized = bool(model.get_buffer("initialized"))
    columns = list(x.unbind(dim=-1))
    for i, column in enumerate(columns):
        gap = column.isnan()
        if bool(gap.any()):
            middle = None if middles is None else middles[i]
            if middle is None:
                columns[i] = torch.where(gap, _best(model, i, walk.theta(i), kind), column)
            else:
                columns[i] = column.masked_scatter(
                    gap, middle(*points(model.family(i), walk.theta(i)[gap], initialized))
                )
    return torch.stack(columns, dim=-1)


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


def _best(model: AnyOrder, column: int, theta: Tensor, kind: str) -> Tensor:
    family = model.family(column)
    if isinstance(family, Levels):
        return theta.argmax(dim=-1).to(theta.dtype)
    if kind == "median":
        return family.quantile(theta.new_full(theta.shape[:-1], 0.5), theta)
    mean = family.mean(theta)
    return family.nearest(mean) if family.discrete else mean


def _observed(model: AnyOrder, x: Tensor, context: Tensor | None) -> Walk:
    """A walk that knows what was observed of each row.

    Raises:
        ValueError: a value that its column cannot have.
    """
    _check_observed(model, x)
    walk = Walk(model.network, x.shape[:-1], context, like=x)
    for i, column in enumerate(x.unbind(dim=-1)):
        walk.reveal(i, column)
    return walk


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
