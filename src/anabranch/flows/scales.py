"""The limit of stretching that the layers of an affine flow share."""

from __future__ import annotations

from collections.abc import Callable

from anabranch.checks import positive
from anabranch.transforms import Affine, UnivariateMap


def affine_maps(max_scale: float, layers: int) -> Callable[[], UnivariateMap]:
    """A function that makes affine maps: so many of them in a row stretch a number by at most max_scale."""
    if positive("max_scale", max_scale) <= 1:
        raise ValueError(f"max_scale: expected a number above 1, got {max_scale}")
    return lambda: Affine(max_scale ** (1 / layers))
