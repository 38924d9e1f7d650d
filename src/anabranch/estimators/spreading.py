"""Labels spread from few rows to all over the graph of nearest neighbours."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]

# the graph of more rows than this is taken of so many, and the others follow it
_MOST_ROWS = 30_000
# Which graph is the best the labels do not tell, few as they are: the mean over several, with so many times the neighbours,
# and so much of a row's label from them in each round.
_TIMES_NEIGHBOURS = (0.7, 1.0, 2.0)
_FROM_NEIGHBOURS = (0.9, 0.99)
# of the weights, in units of the distance to the sixth neighbour
_WIDTH = 0.5
_ROUNDS, _SETTLED = 300, 1e-6


def spread_labels(z: Float64, labels: NDArray[np.int64], classes: int, neighbours: int, seed: int) -> NDArray[np.int64]:
    r"""A class for each row (rows): its own label, or what comes to it over the graph; where nothing comes, that of the
    nearest row with a label.

    .. math:: F \leftarrow \alpha\, D^{-1/2} W D^{-1/2} F + (1 - \alpha)\, Y,

    Y the labels, one column for each class; W_ij = exp(-d_ij^2 / 2 s^2) where i is among the nearest neighbours of j or the
    reverse, s half the median over rows of the distance to the sixth; D its row sums. A row's shares of the classes are
    averaged over graphs with 0.7, 1 and 2 times as many neighbours, and alpha 0.9 and 0.99.
    Source: Zhou et al., 2003, "Learning with local and global consistency".

    Args:
        z: (rows, columns), of like scales.
        labels: (rows), from 0; -1 for none. Of each class one at least.
        classes: how many.
        neighbours: of a row in the graph.
        seed: of the rows that make the graph, if there are more than 30,000.

    Example:
        >>> import numpy as np
        >>> from anabranch.estimators.spreading import spread_labels
        >>> z = np.array([[0.0], [0.1], [0.2], [5.0], [5.1], [5.2]])
        >>> spread_labels(z, np.array([0, -1, -1, -1, -1, 1]), classes=2, neighbours=2, seed=0)
        array([0, 0, 0, 1, 1, 1])
    """
    from sklearn.neighbors import KNeighborsClassifier  # noqa: PLC0415 (slow to import)

    known = np.flatnonzero(labels >= 0)
    if classes == 1 or len(known) == len(labels):
        return np.where(labels >= 0, labels, 0)
    rest = np.flatnonzero(labels < 0)
    if len(labels) > _MOST_ROWS:
        rest = np.random.default_rng(seed).choice(rest, max(1, _MOST_ROWS - len(known)), replace=False)
    some = np.union1d(known, rest)
    found = np.asarray(KNeighborsClassifier(n_neighbors=1).fit(z[known], labels[known]).predict(z), dtype=np.int64)
    told = np.zeros((len(some), classes))
    place = np.flatnonzero(labels[some] >= 0)
    told[place, labels[some][place]] = 1.0
    spread = np.zeros_like(told)
    for times in _TIMES_NEIGHBOURS:
        graph = _graph(z[some], min(max(1, round(times * neighbours)), len(some) - 1))
        spread += sum(_spread(graph, told, alpha) for alpha in _FROM_NEIGHBOURS)
    reached = spread.sum(axis=1) > 0
    found[some[reached]] = spread[reached].argmax(axis=1)
    found[known] = labels[known]
    if len(some) < len(labels):
        others = np.setdiff1d(np.arange(len(labels)), some)
        near = KNeighborsClassifier(n_neighbors=neighbours).fit(z[some], found[some])
        found[others] = near.predict(z[others])
    return found


def _graph(z: Float64, neighbours: int) -> Any:
    """D^-1/2 W D^-1/2, a sparse matrix (rows, rows)."""
    from scipy import sparse  # noqa: PLC0415 (slow to import)
    from sklearn.neighbors import NearestNeighbors  # noqa: PLC0415

    distances, numbers = NearestNeighbors(n_neighbors=neighbours).fit(z).kneighbors()
    width = max(_WIDTH * float(np.median(distances[:, min(5, neighbours - 1)])), np.finfo(np.float64).tiny)
    weights = np.exp(-0.5 * np.minimum(distances / width, 1e3) ** 2)
    starts = np.arange(len(z) + 1) * neighbours
    directed = sparse.csr_array((weights.ravel(), numbers.ravel(), starts), shape=(len(z), len(z)))
    both = directed.maximum(directed.T)
    # a row far from all others has no weight at all, and nothing comes to it
    total = np.asarray(both.sum(axis=1)).ravel()
    root = np.divide(1.0, np.sqrt(total), out=np.zeros_like(total), where=total > 0)
    return sparse.diags_array(root) @ both @ sparse.diags_array(root)


def _spread(graph: Any, told: Float64, alpha: float) -> Float64:
    """Shares of the classes (rows, classes) after as many rounds as it takes to settle; zeros where nothing comes."""
    shares = told
    for _ in range(_ROUNDS):
        new = alpha * (graph @ shares) + (1 - alpha) * told
        change = np.abs(new - shares).max()
        shares = new
        if change < _SETTLED:
            break
    total = shares.sum(axis=1, keepdims=True)
    return np.divide(shares, total, out=np.zeros_like(shares), where=total > 0)
