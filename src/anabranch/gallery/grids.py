"""Densities of two features on a grid."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from anabranch.checks import positive_int, reference_tensor
from anabranch.densities import Density, Mixture
from anabranch.draws import drawing

Numbers = NDArray[np.float64]
Extent = tuple[float, float, float, float]
"""Left, right, bottom, top: the limits of a panel in data units."""

_ROWS = 20_000  # at which a density is evaluated at once


def density_grid(density: Density, extent: Extent, size: int = 150) -> Numbers:
    """The density at the middle of each cell of a grid: (size, size), row by row from the bottom.

    In evaluation mode and without gradients; the state of the random generators is left as it was.

    Args:
        density: of two features, without a context.
        extent: the limits of the grid.
        size: cells along each side.

    Raises:
        ValueError: a density of other than two features, or with a context.

    Example:
        >>> import torch
        >>> import anabranch as ab
        >>> from anabranch.gallery.grids import density_grid
        >>> grid = density_grid(ab.densities.Normal(torch.zeros(2)), (-5, 5, -5, 5), size=50)
        >>> grid.shape, round(float(grid.sum() * 0.2**2), 3)
        ((50, 50), 1.0)
    """
    with evaluating(density):
        return in_batches(density.log_prob, _middles(extent, size), density, np.exp).reshape(size, size)


def square_around(x: Tensor | ArrayLike, margin: float = 0.08) -> Extent:
    """The smallest square around all rows (rows, 2), and so large a part of its side more on each side."""
    points = read_array("x", x, 2)
    low, high = points.min(axis=0), points.max(axis=0)
    (middle_x, middle_y), half = (low + high) / 2, float((high - low).max()) * (0.5 + margin) or 1.0
    return float(middle_x - half), float(middle_x + half), float(middle_y - half), float(middle_y + half)


@contextmanager
def evaluating(density: Density) -> Iterator[None]:
    """In evaluation mode, without gradients, and with random generators of its own, seeded."""
    if density.event_shape != (2,) or density.context_shape is not None:
        raise ValueError(
            "density: expected one of two features and no context, "
            f"got event_shape {tuple(density.event_shape)} and context_shape {density.context_shape}"
        )
    was_training = density.training
    density.eval()
    try:
        with drawing(0), torch.no_grad():
            yield
    finally:
        density.train(was_training)


def density_and_components(density: Density, extent: Extent, size: int) -> tuple[Numbers, NDArray[np.int64]]:
    """The density, or a bound of it, and of a mixture the most probable component, on a grid; one pass gives both."""
    points = _middles(extent, size)
    if not isinstance(density, Mixture) or density.likelihood != "exact":
        score = density.log_prob if density.likelihood == "exact" else density.lower_bound
        grid = in_batches(score, points, density, np.exp)
        return grid.reshape(size, size), np.zeros((size, size), dtype=np.int64)
    joint = in_batches(density.joint_log_prob, points, density)
    # of those that are the same up to rounding the first, so that no noise is drawn
    winners = (joint >= joint.max(axis=-1, keepdims=True) - 1e-4).argmax(axis=-1)
    return np.exp(np.logaddexp.reduce(joint, axis=-1)).reshape(size, size), winners.reshape(size, size)


def in_batches(
    function: Callable[[Tensor], Tensor],
    points: Numbers,
    density: Density,
    after: Callable[[Numbers], Numbers] = np.asarray,
) -> Numbers:
    """What a function says of points (rows, 2), a part at a time."""
    like = reference_tensor(density)
    dtype, device = (torch.get_default_dtype(), None) if like is None else (like.dtype, like.device)
    parts = torch.as_tensor(points).to(dtype=dtype, device=device).split(_ROWS)
    return after(torch.cat([function(part).cpu() for part in parts]).double().numpy())


def _middles(extent: Extent, size: int) -> Numbers:
    left, right, bottom, top = extent
    steps = (np.arange(positive_int("size", size)) + 0.5) / size
    across, up = np.meshgrid(left + (right - left) * steps, bottom + (top - bottom) * steps)
    return np.stack([across.ravel(), up.ravel()], axis=-1)


def read_array(name: str, value: Any, dimensions: int) -> Numbers:
    """A tensor or array in double precision, checked."""
    array = np.asarray(value.detach().cpu() if isinstance(value, Tensor) else value, dtype=np.float64)
    if array.ndim != dimensions or array.size == 0:
        raise ValueError(f"{name}: expected {dimensions} dimensions, none of them empty, got shape {array.shape}")
    return array
