"""A warning about images of whole numbers that are fitted by a density of real ones."""

from __future__ import annotations

import warnings

from anabranch.densities import Density
from anabranch.training.part import Part

_ROWS = 256  # that are looked at


class LatticeWarning(UserWarning):
    """Images hold whole numbers, and the density is one of real numbers: its likelihood has no bound, and means little."""


def warn_of_lattice(density: Density, training: Part) -> None:
    """Warn where images hold whole numbers and the density is one of real numbers."""
    if len(density.event_shape) != 3 or density.support.is_discrete:
        return
    x = training.first(_ROWS).x
    if not len(x) or not bool((x == x.round()).all()):
        return
    warnings.warn(
        f"x: images of whole numbers from {float(x.min()):g} to {float(x.max()):g}, and {type(density).__name__} is a "
        "density of real numbers, whose likelihood of a lattice has no bound; put it into densities.Dequantized, or fit "
        "with noise=",
        LatticeWarning,
        stacklevel=4,
    )
