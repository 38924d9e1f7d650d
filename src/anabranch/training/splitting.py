"""Which rows are fitted, which say when to stop, and which are held out."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def split_rows(rows: int, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Training, validation and test rows: 80, 10 and 10 % of a seeded shuffle."""
    order = np.random.default_rng(seed).permutation(rows)
    tenth = max(1, round(rows / 10))
    return order[2 * tenth :], order[:tenth], order[tenth : 2 * tenth]
