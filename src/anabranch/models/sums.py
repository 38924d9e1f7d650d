"""What a sum of densities says in closed form, by what each of them says."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from anabranch.densities import Density, DistributionFunction, Moments, at_context
from anabranch.densities.moments import of_sum
from anabranch.densities.weighted_completion import of_one_component
from anabranch.draws import drawing

# of a hidden variable, where log p of a value is estimated
_DRAWS = 4096

Told = tuple[Density, Tensor | None]
"""A density, and the context at which it is meant."""


def living(parts: Sequence[Told], log_weights: Tensor) -> tuple[list[Told], Tensor]:
    """The components that have a weight, and the logarithms of their weights, (living)."""
    alive = [k for k, w in enumerate(log_weights.tolist()) if w > float("-inf")]
    return [parts[k] for k in alive], log_weights[alive].detach().log_softmax(dim=-1)


def settled(parts: Sequence[Told], log_weights: Tensor) -> tuple[list[Density], Tensor]:
    """The living components as densities without a context, and the logarithms of their weights."""
    alive, log_w = living(parts, log_weights)
    return [at_context(part, None if context is None else context.detach()) for part, context in alive], log_w


def moments(parts: Sequence[Told], log_weights: Tensor) -> Moments | None:
    """Those of the sum; None if some component's are not known."""
    alive, log_w = living(parts, log_weights)
    found = [part._moments(context) for part, context in alive]
    known = [one for one in found if one is not None]
    return of_sum(log_w, known) if len(known) == len(found) else None


def distribution_function(parts: Sequence[Told], log_weights: Tensor) -> DistributionFunction | None:
    """That of the sum; None if some component's is not known."""
    alive, log_w = living(parts, log_weights)
    found = [part._distribution_function(context) for part, context in alive]
    known = [one for one in found if one is not None]
    return DistributionFunction.of_sum(log_w, known) if len(known) == len(found) else None


def weighted_completion(parts: Sequence[Told], log_weights: Tensor, x: Tensor) -> tuple[Tensor, Tensor] | None:
    """That of one of them, drawn by their weights at what was observed; None if some component completes no rows."""
    alive, log_w = living(parts, log_weights)
    found = [part.weighted_completion(x, context) for part, context in alive]
    known = [one for one in found if one is not None]
    return of_one_component(known, log_w) if len(known) == len(found) else None


def log_probs(parts: Sequence[Density], values: Tensor) -> Tensor:
    """log p(values) of each, (parts), estimated with a fixed seed where it is not known."""
    with torch.no_grad(), drawing(0):
        found = [
            part.log_prob(values) if part.likelihood == "exact" else part.estimate(values, samples=_DRAWS)[0]
            for part in parts
        ]
    return torch.stack(found)
