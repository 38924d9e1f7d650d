"""The weights of a mixture as one gives them."""

from __future__ import annotations

import math

from numpy.typing import ArrayLike
from torch import Tensor

from anabranch.densities.gaussian import read_like


def read_weights(weights: Tensor | ArrayLike | None, of: Tensor) -> Tensor:
    """Log-weights, normalised; equal by default.

    Args:
        weights: (components,), at least 0.
        of: anything with one row for each component, of the dtype and on the device wanted.

    Raises:
        ValueError: another shape, a negative weight, or nothing but zeros.
    """
    if weights is None:
        return of.new_zeros(len(of))
    values = read_like("weights", weights, of)
    if values.shape != of.shape[:1]:
        raise ValueError(f"weights: expected shape ({len(of)},), got {tuple(values.shape)}")
    # a weight may vanish, in a conditional far from the component's mean for instance
    if not bool((values >= 0).all()) or not 0 < float(values.sum()) < math.inf:
        raise ValueError(f"weights: expected numbers of at least 0, not all 0, got {values.tolist()}")
    return (values / values.sum()).log()
