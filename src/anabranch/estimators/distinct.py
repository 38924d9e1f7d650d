"""Rows that are equal are one row with a weight."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]


@dataclass
class Distinct:
    """Different rows, in ascending order, and how much each counts.

    What is fitted to these does not depend on the order of the rows, a row of weight 2 is the same as the row twice, and no
    copy of a row trained on is among those held out.

    Attributes:
        x: (rows, columns).
        weights: (rows), above 0.
        labels: (rows), whole numbers, or None; rows with different labels are different.
        inverse: of each row given, which of these it is; -1 for one of weight 0, or left out.
    """

    x: Float64
    weights: Float64
    labels: NDArray[np.int64] | None
    inverse: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.x)

    def take(self, some: NDArray[np.bool_], x: Float64 | None = None) -> Distinct:
        """Some of them (rows), with other values in place of theirs if given; `inverse` is -1 for those left out."""
        number = np.where(some, np.cumsum(some) - 1, -1)
        inverse = np.where(self.inverse < 0, -1, number[self.inverse]).astype(np.int64)
        labels = None if self.labels is None else self.labels[some]
        return Distinct((self.x if x is None else x)[some], self.weights[some], labels, inverse)


def distinct_rows(x: Float64, weights: Float64 | None = None, labels: NDArray[np.int64] | None = None) -> Distinct:
    """The different ones of rows (rows, columns), in which NaN equals NaN; rows of weight 0 are left out.

    Example:
        >>> import numpy as np
        >>> from anabranch.estimators.distinct import distinct_rows
        >>> found = distinct_rows(np.array([[2.0], [1.0], [2.0]]))
        >>> found.x.ravel(), found.weights, found.inverse
        (array([1., 2.]), array([1., 2.]), array([1, 0, 1]))
    """
    weights = np.ones(len(x)) if weights is None else weights
    some = np.flatnonzero(weights > 0)
    keys = x[some] if labels is None else np.column_stack([x[some], labels[some]])
    order = np.lexsort(keys.T[::-1])
    ordered = keys[order]
    both_gaps = np.isnan(ordered[1:]) & np.isnan(ordered[:-1])
    new = ~((ordered[1:] == ordered[:-1]) | both_gaps).all(axis=1)
    number = np.concatenate([[0], np.cumsum(new)]).astype(np.int64)
    first = order[np.concatenate([[True], new])]
    inverse = np.full(len(x), -1, dtype=np.int64)
    inverse[some[order]] = number
    total = np.bincount(number, weights=weights[some][order]).astype(np.float64)
    return Distinct(x[some][first], total, None if labels is None else labels[some][first], inverse)
