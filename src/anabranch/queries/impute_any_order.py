"""Gaps of rows filled by a model of any order, whatever their patterns, in one pass over the columns."""

from __future__ import annotations

import torch
from torch import Tensor

from anabranch.families import Lattice, Levels
from anabranch.models import AnyOrder
from anabranch.models.any_order import Walk


def fill(model: AnyOrder, x: Tensor, context: Tensor | None = None) -> Tensor:
    """Rows (n, D) with their gaps drawn, one column after the other, given all that was observed and drawn before."""
    walk = _observed(model, x, context)
    columns = list(x.unbind(dim=-1))
    for i, column in enumerate(columns):
        gap = column.isnan()
        if bool(gap.any()):
            drawn = model.family(i).sample(walk.theta(i))
            columns[i] = torch.where(gap, drawn, column)
            # what was observed is known already
            walk.reveal(i, torch.where(gap, drawn, torch.nan))
    return torch.stack(columns, dim=-1)


def best_guess(model: AnyOrder, x: Tensor, kind: str, context: Tensor | None = None) -> Tensor:
    """Rows (n, D) with each gap's mean or median, or most probable level, given what was observed: no gap sees another."""
    walk = _observed(model, x, context)
    columns = list(x.unbind(dim=-1))
    for i, column in enumerate(columns):
        gap = column.isnan()
        if bool(gap.any()):
            columns[i] = torch.where(gap, _best(model, i, walk.theta(i), kind), column)
    return torch.stack(columns, dim=-1)


def _best(model: AnyOrder, column: int, theta: Tensor, kind: str) -> Tensor:
    family = model.family(column)
    if isinstance(family, Levels):
        return theta.argmax(dim=-1).to(theta.dtype)
    if kind == "median":
        return family.quantile(theta.new_full(theta.shape[:-1], 0.5), theta)
    mean = family.mean(theta)
    if isinstance(family, Lattice):
        nearest = family.origin + family.step * torch.round((mean - family.origin) / family.step)
        return nearest.clamp(family.low, family.high)
    return mean


def _observed(model: AnyOrder, x: Tensor, context: Tensor | None) -> Walk:
    """A walk that knows what was observed of each row.

    Raises:
        ValueError: a value that its column cannot have.
    """
    walk = Walk(model, x.shape[:-1], context, like=x)
    for i, column in enumerate(x.unbind(dim=-1)):
        impossible = ~column.isnan() & ~model.family(i).contains(column)
        if bool(impossible.any()):
            row = int(impossible.nonzero()[0])
            raise ValueError(
                f"rows: expected values that are possible, got {float(column[row]):g} in row {row}, column {i} "
                f"({int(impossible.sum())} of these rows); correct or leave out those values"
            )
        walk.reveal(i, column)
    return walk
