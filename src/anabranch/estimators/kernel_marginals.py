"""The columns of a table one by one: smooth densities that know nothing of what the others hold."""

from __future__ import annotations

from typing import Self

import numpy as np
from numpy.typing import NDArray

from anabranch.described import Described

Float64 = NDArray[np.float64]

_BANDWIDTH = 0.5
_PLACES = 400


class KernelMarginals(Described):
    r"""A product over columns of kernel estimates, behind which a Cauchy density stands with the weight of one row:

    .. math:: p(z) = \prod_j \frac{1}{W + 1} \Big( \sum_n w_n N(z_j; z_{nj}, h^2) + \frac{1}{\pi (1 + z_j^2)} \Big),
              \qquad W = \sum_n w_n,

    h = 0.5, the rows counted on a grid of 400 places. A value far from all others costs about log W, and further out little
    more, so that one column alone does not decide. Source: Rosenblatt, 1956, "Remarks on some nonparametric estimates of a
    density function"; a product of columns finds outliers in Goldstein and Dengel, 2012, "Histogram-based outlier score".

    Args:
        places: (places, columns), the grid of each column.
        heights: (places, columns), the kernel estimate there.
        total: W.

    Example:
        >>> import numpy as np
        >>> from anabranch.estimators.kernel_marginals import KernelMarginals
        >>> marginals = KernelMarginals.of(np.random.default_rng(0).normal(size=(100, 2)), np.ones(100))
        >>> near, far, farther = marginals.log_prob(np.array([[0.0, 0.0], [9.0, 0.0], [99.0, 0.0]]))
        >>> bool(near > far > farther)
        True
    """

    def __init__(self, places: Float64, heights: Float64, total: float) -> None:
        super().__init__()
        self.places = places
        self.heights = heights
        self.total = total

    @classmethod
    def of(cls, z: Float64, weights: Float64) -> Self:
        """Of rows (rows, columns), finite, each column with deviation 1 or about, and their weights."""
        reach = 4 * _BANDWIDTH
        places = np.linspace(z.min(axis=0) - reach, z.max(axis=0) + reach, _PLACES)
        heights = []
        for grid, column in zip(places.T, z.T, strict=True):
            share = _shared_out(column, weights, grid)
            kernel = np.exp(-0.5 * ((grid[:, None] - grid) / _BANDWIDTH) ** 2) / (_BANDWIDTH * np.sqrt(2 * np.pi))
            heights.append(kernel @ share / weights.sum())
        return cls(places, np.column_stack(heights), float(weights.sum()))

    def log_prob(self, z: Float64) -> Float64:
        """log p (rows) of rows (rows, columns), nats."""
        found = np.zeros(len(z))
        seen = self.total / (self.total + 1)
        with np.errstate(over="ignore", divide="ignore"):
            for grid, heights, column in zip(self.places.T, self.heights.T, z.T, strict=True):
                kernel = np.interp(column, grid, heights, left=0.0, right=0.0)
                found += np.log(seen * kernel + (1 - seen) / (np.pi * (1 + column**2)))
        return found


def _shared_out(column: Float64, weights: Float64, grid: Float64) -> Float64:
    """The weight at each place of a grid when each value gives its own to the two places around it."""
    at = (column - grid[0]) / (grid[1] - grid[0])
    low = np.clip(at.astype(np.int64), 0, len(grid) - 2)
    upper = at - low
    return np.asarray(
        np.bincount(low, weights * (1 - upper), len(grid)) + np.bincount(low + 1, weights * upper, len(grid))
    )
