"""Steps of a posterior network alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from anabranch.models import LatentVariable


@contextmanager
def posterior_alone(density: LatentVariable) -> Iterator[None]:
    """While it lasts gradients of what is computed are those of the posterior's parameters.

    A prior that shares them (`VampPrior`) moves with the posterior, and its density is differentiated by them too.
    """
    kept = {id(parameter) for parameter in density.posterior.parameters()}
    others = [p for p in density.parameters() if p.requires_grad and id(p) not in kept]
    for parameter in others:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in others:
            parameter.requires_grad_(True)
