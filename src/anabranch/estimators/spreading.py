"""Labels spread from few rows to all over the graph of nearest neighbours."""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import NDArray

# the graph of more rows than this is taken of so many, and the others follow it
_MOST_ROWS = 30_000
# how much of a row's label comes from its neighbours in each round
_FROM_NEIGHBOURS = 0.9


def spread_labels(
    z: NDArray[np.float64], labels: NDArray[np.int64], classes: int, neighbours: int, seed: int
) -> NDArray[np.int64]:
    """A class for each row (rows): its own label, or what comes to it over the graph; where nothing comes, that of the
    nearest row with a label.

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
    from sklearn.semi_supervised import LabelSpreading  # noqa: PLC0415

    known = np.flatnonzero(labels >= 0)
    if classes == 1 or len(known) == len(labels):
        return np.where(labels >= 0, labels, 0)
    rest = np.flatnonzero(labels < 0)
    if len(labels) > _MOST_ROWS:
        rest = np.random.default_rng(seed).choice(rest, max(1, _MOST_ROWS - len(known)), replace=False)
    some = np.union1d(known, rest)
    nearest = KNeighborsClassifier(n_neighbors=1).fit(z[known], labels[known])
    found = nearest.predict(z)
    spreading = LabelSpreading(
        kernel="knn", n_neighbors=min(neighbours, len(some) - 1), alpha=_FROM_NEIGHBOURS, max_iter=100
    )
    with warnings.catch_warnings(), np.errstate(invalid="ignore", divide="ignore"):
        # not settled after so many rounds: a start all the same; and no label comes to a part of the graph without one
        warnings.simplefilter("ignore")
        spreading.fit(z[some], labels[some])
    reached = np.isfinite(spreading.label_distributions_).all(axis=1) & (spreading.label_distributions_.sum(axis=1) > 0)
    found[some[reached]] = spreading.classes_[spreading.label_distributions_[reached].argmax(axis=1)]
    found[known] = labels[known]
    if len(some) < len(labels):
        others = np.setdiff1d(np.arange(len(labels)), some)
        near = KNeighborsClassifier(n_neighbors=neighbours).fit(z[some], found[some])
        found[others] = near.predict(z[others])
    return np.asarray(found, dtype=np.int64)
