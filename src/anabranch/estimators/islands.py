"""Clusters that lie apart, with nothing between them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]

# a row is in the midst of others from this neighbour on; an island has one row more at least
_CORE = 3
# between islands it is so many times as far as the longest step within one
_EMPTY = 2.0
# rows that are on no island are so few
_STRAY_SHARE, _MOST_STRAYS = 0.01, 20
# of more rows so many are looked at, each against each
_MOST_ROWS = 10_000


def islands(z: Float64, weights: Float64, count: int, seed: int = 0) -> NDArray[np.int64] | None:
    """The island of each row (rows), if the rows lie on so many, or None.

    Islands are what single linkage leaves when its longest steps are cut, with distances of mutual reachability, so that a
    chain of stray rows joins nothing (Campello et al., 2013, "Density-based clustering based on hierarchical density
    estimates"): the steps that are cut are twice as long as the others at least, each island has four rows or more, and
    1 % of the rows, 20 at most, are stray. Islands may be of any size and shape.

    Args:
        z: (rows, columns), different, of like scales.
        weights: (rows), above 0.
        count: how many islands.
        seed: of the rows that are looked at, if there are more than 10,000; the others follow the nearest of these.

    Returns:
        whole numbers from 0, the largest island first; a stray row has that of the nearest row on one.

    Example:
        >>> import numpy as np
        >>> from anabranch.estimators.islands import islands
        >>> z = np.concatenate([np.linspace(0.0, 1.0, 50), np.linspace(5.0, 5.1, 5)])[:, None]
        >>> np.bincount(islands(z, np.ones(55), count=2)), islands(z, np.ones(55), count=3)
        (array([50,  5]), None)
    """
    if count < 2 or len(z) <= _CORE:
        return None
    some = np.arange(len(z))
    if len(z) > _MOST_ROWS:
        some = np.sort(np.random.default_rng(seed).choice(len(z), _MOST_ROWS, replace=False))
    steps = _linked(z[some])
    found = _cut(steps, weights[some], count)
    if found is None:
        return None
    from sklearn.neighbors import KNeighborsClassifier  # noqa: PLC0415 (slow to import)

    on_one = found >= 0
    labels = KNeighborsClassifier(1).fit(z[some][on_one], found[on_one]).predict(z)
    labels[some[on_one]] = found[on_one]
    return np.asarray(labels, dtype=np.int64)


def _linked(z: Float64) -> Float64:
    """The steps of the shortest tree that joins rows z (rows, columns): (rows - 1, 3), from, to, length; longest first."""
    from sklearn.neighbors import NearestNeighbors  # noqa: PLC0415

    core = NearestNeighbors(n_neighbors=_CORE).fit(z).kneighbors()[0][:, -1]
    square = (z**2).sum(axis=1)
    nearest = np.full(len(z), np.inf)
    comes_from = np.zeros(len(z), dtype=np.int64)
    outside = np.ones(len(z), dtype=bool)
    steps = np.empty((len(z) - 1, 3))
    last = 0
    # Prim: the row that is nearest to the tree comes next
    for i in range(len(z) - 1):
        outside[last] = False
        distance = np.sqrt(np.maximum(0.0, square + square[last] - 2 * (z @ z[last])))
        reach = np.maximum(np.maximum(distance, core), core[last])
        closer = outside & (reach < nearest)
        nearest[closer], comes_from[closer] = reach[closer], last
        new = int(np.where(outside, nearest, np.inf).argmin())
        steps[i] = comes_from[new], new, nearest[new]
        last = new
    return steps[np.argsort(-steps[:, 2], kind="stable")]


def _cut(steps: Float64, weights: Float64, count: int) -> NDArray[np.int64] | None:
    """Islands (rows), -1 for stray rows, by cutting the longest steps, or None."""
    from scipy import sparse  # noqa: PLC0415 (slow to import)
    from scipy.sparse.csgraph import connected_components  # noqa: PLC0415

    rows = len(steps) + 1
    ends, length = steps[:, :2].astype(np.int64), steps[:, 2]
    for cut in range(count - 1, min(count + _MOST_STRAYS, len(steps))):
        if not length[cut - 1] > _EMPTY * length[cut]:
            continue
        joined = sparse.coo_array((np.ones(len(steps) - cut), ends[cut:].T), shape=(rows, rows))
        parts, part = connected_components(joined, directed=False)
        sizes = np.bincount(part, weights=weights, minlength=parts)
        order = np.argsort(-sizes, kind="stable")
        if (sizes > _CORE).sum() == count and sizes[order[count:]].sum() <= _STRAY_SHARE * sizes.sum():
            name = np.full(parts, -1)
            name[order[:count]] = np.arange(count)
            return name[part]
    return None
