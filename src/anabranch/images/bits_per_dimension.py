"""Bits per dimension: a log-likelihood in bits for each number of an image, of levels by any density of them."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from anabranch.checks import instance_of, positive_int, reference_tensor
from anabranch.densities import Density
from anabranch.densities.events import whole_rows
from anabranch.draws import drawing

_AT_ONCE = 256  # images


def bits_per_dimension(
    density: Density,
    x: Tensor | ArrayLike,
    context: Tensor | ArrayLike | None = None,
    samples: int = 50,
    generator: torch.Generator | int | None = None,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    r"""-log2 P(x | c) / D of levels x with D numbers each, and its standard error: (n,) each.

    P is a probability of whole numbers, so that models of levels and dequantised flows compare. If only a bound of log P is
    known, the function takes `estimate`, by importance weighting. The bits are then too many in the mean, by about half the
    squared error of log P, divided by D log 2.

    Source: Theis et al., 2016, arXiv:1511.01844, section 3.1.

    Args:
        density: of levels: `Dequantized`, an `Autoregressive` over levels, ...
        x: (n, *event), whole numbers.
        context: (n, *context), if the density takes one.
        samples: number of draws for each image, if only a bound is known.
        generator: of the draws, as of `Density.sample`.

    Raises:
        ValueError: a density of real numbers, whose nats depend on the unit of x; an x with numbers that are no levels.

    Example:
        >>> import torch
        >>> from anabranch.densities import Categorical
        >>> from anabranch.images import bits_per_dimension
        >>> bits_per_dimension(Categorical(torch.zeros(2, 2, 4)), torch.zeros(3, 2, 2, dtype=torch.uint8))[0].round(3)
        array([2., 2., 2.])
    """
    instance_of("density", density, Density)
    if not density.support.is_discrete:
        raise ValueError(
            f"density: expected one of levels, got a {type(density).__name__} of real numbers, whose nats depend on their "
            "unit; put it into densities.Dequantized"
        )
    samples = positive_int("samples", samples, least=2)
    like = reference_tensor(density)
    rows, given = density._checked(x, context)
    if rows.dim() != len(density.event_shape) + 1:
        raise ValueError(f"x: expected shape (n, {', '.join(map(str, density.event_shape))}), got {tuple(rows.shape)}")
    if len(rows) == 0:
        raise ValueError(f"x: expected at least one image, got none (shape {tuple(rows.shape)})")
    whole_rows("x", rows, density, like)
    was_training = density.training
    density.eval()
    try:
        with drawing(generator):
            parts = [
                density.estimate(rows[i : i + _AT_ONCE], None if given is None else given[i : i + _AT_ONCE], samples)
                for i in range(0, len(rows), _AT_ONCE)
            ]
    finally:
        density.train(was_training)
    log_p, error = (torch.cat(each).double().cpu().numpy() for each in zip(*parts, strict=True))
    dimensions = density.event_shape.numel()
    return np.asarray(as_bits_per_dimension(log_p, dimensions)), np.asarray(as_bits_per_dimension(-error, dimensions))


def as_bits_per_dimension(log_p: NDArray[np.float64] | float, dimensions: int) -> NDArray[np.float64] | float:
    """-log p / (dimensions log 2), of log p in nats."""
    return -log_p / (dimensions * math.log(2))
