"""Cells given the rest of their row, of densities that have no formula for it: integrals along one column at a time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from anabranch.queries.estimated_subset import EstimatedSubset
from anabranch.report.view import View
from anabranch.tables.columns.column import Float64

# points at which a cell's density is evaluated, each time between closer ends
_POINTS, _TIMES = 96, 3
# beyond where log p is so far below its highest, nothing counts
_NOTHING = 25.0
# columns beyond which it would take minutes
_MOST_COLUMNS = 30


@dataclass(frozen=True)
class Slices:
    """What a density says of every column of a row, the others held: (columns) each.

    Attributes:
        excess: -log p(x_i | rest), above what is expected of -log p(X_i | rest) where X_i is drawn from the model; NaN where
            the density is below any float.
        low, high: between which X_i lies with nine tenths of its probability, encoded.
    """

    excess: Float64
    low: Float64
    high: Float64


def can_be_sliced(view: View) -> bool:
    """Whether the density is one of real numbers without gaps, of not too many columns, that log_prob gives exactly."""
    smooth = all(not part.discrete and not len(getattr(part, "atoms", ())) for part in view.schema.parts)
    estimated = isinstance(view.density, EstimatedSubset) or view.density.likelihood != "exact"
    return smooth and not estimated and not view.gaps.any() and len(view.schema.parts) <= _MOST_COLUMNS


def slices(view: View, row: int, drawn: Float64) -> Slices:
    r"""The conditionals of a row's cells, from

    .. math:: p(x_i \mid x_{-i}) \propto p(x_1, \ldots, x_i, \ldots, x_D)

    on a grid of x_i, whose ends are those of the draws at first, and then those of what counts.

    Args:
        view: what is looked at.
        row: by its place in the view.
        drawn: (draws, columns), encoded, of the model: where values may be.
    """
    x = view.x[row]
    columns = np.arange(len(x))
    drawn = drawn[np.isfinite(drawn).all(axis=1)]
    both = np.concatenate([drawn, x[None]])
    low, high = both.min(axis=0), both.max(axis=0)
    # as wide again on either side: a conditional may lie where no draw fell
    low, high = low - (high - low) - 1e-6, high + (high - low) + 1e-6
    for time in range(_TIMES):
        grid = np.linspace(low, high, _POINTS, axis=1)
        own, encoded = _log_p(view, row, grid)
        here = np.where(np.isfinite(encoded), encoded, -np.inf) >= np.nanmax(encoded, axis=1, keepdims=True) - _NOTHING
        if time < _TIMES - 1:
            first, last = here.argmax(axis=1), _POINTS - 1 - here[:, ::-1].argmax(axis=1)
            low, high = grid[columns, np.maximum(first - 1, 0)], grid[columns, np.minimum(last + 1, _POINTS - 1)]
    with np.errstate(invalid="ignore"):
        weights = np.exp(encoded - encoded.max(axis=1, keepdims=True))
        weights /= weights.sum(axis=1, keepdims=True)
        expected = np.where(weights > 0, weights * own, 0.0).sum(axis=1)
        excess = np.where(np.isnan(weights).any(axis=1), np.nan, expected - view.log_p[row])
    share = np.cumsum(weights, axis=1) - weights / 2
    ends = [np.array([np.interp(level, share[i], grid[i]) for i in columns]) for level in (0.05, 0.95)]
    return Slices(excess, *ends)


def _log_p(view: View, row: int, grid: Float64) -> tuple[Float64, Float64]:
    """log p of the row with each column in turn at points of a grid (columns, points): in own units, and encoded."""
    z = np.tile(view.x[row], (*grid.shape, 1))
    for i in range(len(grid)):
        z[i, :, i] = grid[i]
    flat = z.reshape(-1, z.shape[-1])
    context = None if view.context is None else np.repeat(view.context[row : row + 1], len(flat), axis=0)
    own = view.log_prob_of_draws(flat, context)
    with np.errstate(invalid="ignore"):
        encoded = own - view.schema.log_det(flat)
    return own.reshape(grid.shape), np.nan_to_num(encoded, nan=-np.inf).reshape(grid.shape)
