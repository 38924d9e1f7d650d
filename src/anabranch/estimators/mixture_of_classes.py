"""Mixtures whose components are classes, as a fit with few labels starts from them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from anabranch import vaes
from anabranch.densities import Mixture
from anabranch.draws import drawing
from anabranch.estimators.estimator import copied
from anabranch.estimators.shaped_mixture import shaped_mixture
from anabranch.families import Gaussians
from anabranch.models import FlowMixture, LatentMixture
from anabranch.networks import MLP
from anabranch.training import start_from

Float64 = NDArray[np.float64]

NAMES = ("flow", "m2", "mixture prior")
# of columns of deviation 1: what a decoder may be sure of without a limit it will be
_FLOOR = 0.05
_HIDDEN = (64, 64)
_MOST_LATENT = 8
# rows times draws that an estimate scores at a time: networks' numbers stay in the cache
_EVENTS = 2**13


def read_density(density: Any) -> str | Mixture:
    """The name of a density, or a mixture.

    Raises:
        ValueError: neither, or a mixture that tells classes by a draw, so that it tells a row now one class, now another.
    """
    if not isinstance(density, Mixture) and (not isinstance(density, str) or density not in NAMES):
        raise ValueError(f"density: expected {', '.join(map(repr, NAMES))} or a Mixture, got {density!r}")
    if isinstance(density, Mixture) and not density.variational and density.likelihood != "exact":
        raise ValueError(
            f"density: expected a Mixture that tells classes exactly or by a network, got a {type(density).__name__} of "
            "which bounds are known, without a network; give it a posterior, q(y | x)"
        )
    return density


def mixture_of_classes(density: str | Mixture, columns: int, classes: int, seed: int) -> Mixture:
    """A mixture to fit, float32: a component for each class.

    Args:
        density: "flow", normals behind a flow that they share (`shaped_mixture`); "m2", class and numbers hidden
            (`vaes.m2`); "mixture prior", an autoencoder whose prior is a mixture of normals, one for each class
            (`models.LatentMixture`); or a mixture, which is copied.
        columns: of a row.
        classes: how many.
        seed: of the initial weights.

    Raises:
        ValueError: a mixture of other rows, or of another number of components; fewer classes than "m2" takes.

    Example:
        >>> from anabranch.estimators.mixture_of_classes import mixture_of_classes
        >>> mixture_of_classes("m2", columns=4, classes=3, seed=0).components
        3
    """
    if isinstance(density, Mixture):
        if density.components != classes:
            raise ValueError(
                f"density: expected a Mixture of {classes} components, one for each class, got {density.components}"
            )
        return cast(Mixture, copied(density, columns))
    if density == "flow":
        return shaped_mixture(columns, classes, seed)
    family, latent = Gaussians(1, floor=_FLOOR), min(columns, _MOST_LATENT)
    with drawing(seed):
        if density == "m2":
            # the class says a part of what there is to say
            return vaes.m2(columns, family, classes, max(1, latent // 2), hidden=_HIDDEN).float()
        prior = vaes.priors.gaussian_mixture(latent, classes)
        guess = MLP(columns, classes, hidden=_HIDDEN)
        return LatentMixture(vaes.vae(columns, family, latent, prior, hidden=_HIDDEN), guess).float()


def start(mixture: Mixture, density: str | Mixture, x: Tensor, labels: Tensor, seed: int, epochs: int) -> None:
    """Give the components of "flow" the places of their classes, or of clusters where few rows have a label (-1 for none).

    Others start with random weights, or with those that they came with.
    """
    if density != "flow" or not isinstance(mixture, FlowMixture):
        return
    if bool((labels >= 0).all()):
        start_from(mixture, x, labels, seed=seed, epochs=epochs)
    else:
        start_from(mixture, x, "k-means", labels=labels, seed=seed, epochs=epochs)


def estimate(mixture: Mixture, z: Float64, samples: int, seed: int) -> tuple[Float64, Float64]:
    """log p and its standard error (rows), nats, of a mixture in float64; -inf where p is too small for a float.

    Every row has the same draws, as if it were scored by itself: what a row is worth does not depend on those it comes with.
    """

    def of_one(row: Tensor) -> tuple[Tensor, Tensor]:
        return mixture.estimate(row, samples=samples, generator=seed)

    at_once = max(1, _EVENTS // samples)
    parts = [_of_each(of_one, some) for some in torch.from_numpy(np.ascontiguousarray(z)).split(at_once)]
    values, errors = (torch.cat(each).numpy() for each in zip(*parts, strict=True))
    lost = ~np.isfinite(values)
    return np.where(lost, -np.inf, values), np.where(lost, 0.0, errors)


def _of_each(of_one: Callable[[Tensor], tuple[Tensor, Tensor]], rows: Tensor) -> tuple[Tensor, Tensor]:
    """of_one of all rows in one pass, each with the draws that it has alone; one after the other where that cannot be."""
    if len(rows) > 1:
        # a search that ends when it has found, say, takes no rows together; what is wrong with rows is said below
        with suppress(RuntimeError, ValueError):
            return torch.vmap(of_one, randomness="same")(rows)
    values, errors = zip(*map(of_one, rows), strict=True)
    return torch.stack(values), torch.stack(errors)
