"""By how much the layers of an affine flow may stretch a number."""

from __future__ import annotations

from collections.abc import Callable

from anabranch.checks import positive
from anabranch.transforms import Affine, UnivariateMap


def affine_maps(max_scale: float, layers: int) -> Callable[[], UnivariateMap]:
    """Affine maps that, so many after each other, stretch a number by max_scale at most."""
    if positive("max_scale", max_scale) <= 1:
        raise ValueError(f"max_scale: expected a number above 1, got {max_scale}")
    return lambda: Affine(max_scale ** (1 / layers))
