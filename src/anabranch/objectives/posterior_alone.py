"""Steps of a posterior network alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from anabranch.densities import Density
from anabranch.models import LatentVariable


@contextmanager
def posterior_alone(density: Density) -> Iterator[None]:
    """While it lasts gradients of what is computed are those of the posterior's parameters."""
    posterior = density.posterior if isinstance(density, LatentVariable) else density
    kept = {id(parameter) for parameter in posterior.parameters()}
    others = [p for p in density.parameters() if p.requires_grad and id(p) not in kept]
    for parameter in others:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in others:
            parameter.requires_grad_(True)
