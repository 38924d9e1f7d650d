"""Mixtures taken apart, and put together again."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from anabranch.checks import reference_tensor
from anabranch.densities import Density
from anabranch.models import Ensemble, FlowMixture
from anabranch.models.components import Embedded, Separate
from anabranch.queries.at_context import AtContext, settled


def parts_of(density: Density) -> tuple[list[Density], Tensor] | None:
    """The components of a mixture of separate densities, and the logarithms of their weights; None of anything else.

    Components that share a trunk or stand behind heads are not separate. Those of weight 0 are left out.
    """
    context = density.context if isinstance(density, AtContext) else None
    mixture = density.density if isinstance(density, AtContext) else density
    if isinstance(mixture, Ensemble):
        parts = mixture.members
        like = reference_tensor(mixture)
        equal = (torch.zeros(()) if like is None else like.detach()).new_full((len(parts),), -math.log(len(parts)))
        log_weights = equal if mixture.log_weights is None else mixture.log_weights
        contexts = [context if part.context_shape is not None else None for part in parts]
    elif isinstance(mixture, FlowMixture) and mixture.trunk is None and mixture.heads is None:
        log_weights = mixture.weights().detach().log()
        if isinstance(mixture.component_densities, Embedded):
            parts = [mixture.component_densities.density] * mixture.component_densities.count
            own = mixture.component_densities.embeddings.detach()
            contexts = [e if context is None else torch.cat([e, context]) for e in own]
        elif isinstance(mixture.component_densities, Separate):
            parts = [part for part in mixture.component_densities.densities if isinstance(part, Density)]
            contexts = [context if part.context_shape is not None else None for part in parts]
        else:
            return None
    else:
        return None
    alive = [k for k, w in enumerate(log_weights.tolist()) if w > -torch.inf]
    return [settled(parts[k], contexts[k]) for k in alive], log_weights[alive].log_softmax(dim=-1)


def mixture_of(parts: Sequence[Density], log_weights: Tensor) -> Density:
    """sum_k w_k p_k(x), of densities that are shared, not copied; of one alone, that one."""
    if len(parts) == 1:
        return parts[0]
    normalised = log_weights.detach().log_softmax(dim=-1)
    mixture = Ensemble(parts, weights=normalised.exp())
    mixture.log_weights = normalised  # weights, as an ensemble reads them, may vanish
    return mixture
