"""Conditionals that are a density of closed form."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from anabranch.densities import Bernoulli, Categorical, Density, GaussianMixture, Independent, Normal, StudentT, Uniform
from anabranch.models import AnyOrder, Flow, Subset
from anabranch.queries.at_context import AtContext, gaussian_mixture
from anabranch.queries.closed_marginal import closed_marginal, product, reordered, split_by_parts
from anabranch.queries.columns import others
from anabranch.queries.parts import mixture_of, parts_of
from anabranch.transforms import Permutation


def closed_condition(density: Density, columns: Sequence[int], values: Tensor) -> tuple[Density, Tensor] | None:
    """p(x_rest | x_columns = values), the rest in its order, and log p(x_columns = values), of a density without a context.

    None where either is known only as an integral. The first means nothing where the second is -inf.

    Args:
        density: the density.
        columns: the observed ones, at least one and not all.
        values: (columns,).
    """
    chosen = list(columns)
    rest = others(chosen, density.event_shape[0])
    if isinstance(density, Independent):
        return _of_product(density, chosen, values)
    if isinstance(density, Flow) and isinstance(density.transform, Permutation):
        return _of_reordered(density, density.transform, chosen, values)
    apart = parts_of(density)
    if apart is not None:
        return _of_mixture(*apart, chosen, values)
    marginal = closed_marginal(density, chosen)
    if marginal is None:
        return None
    with torch.no_grad():
        log_p = marginal.log_prob(values)
    if isinstance(density, (Normal, GaussianMixture)):
        # what has no mass has no conditional either
        sound = bool(log_p > -torch.inf)
        return (gaussian_mixture(density).conditional(chosen, values) if sound else density), log_p
    if isinstance(density, (StudentT, Uniform, Bernoulli, Categorical)):
        left = closed_marginal(density, rest)
        return None if left is None else (left, log_p)
    inner = density.density if isinstance(density, AtContext) else density
    own = density.context if isinstance(density, AtContext) else None
    if isinstance(inner, AnyOrder):
        conditional = inner.conditional(chosen, values)
        return (conditional if own is None else AtContext(conditional, own)), log_p
    if isinstance(inner, Subset):
        return _of_subset(inner, own, chosen, rest, values), log_p
    return None


def _of_subset(inner: Subset, context: Tensor | None, chosen: list[int], rest: list[int], values: Tensor) -> Density:
    before = inner.values
    if before is None:
        before, context = _observed_and_own(inner, context)
    model = inner.model
    seen = [*inner.observed, *(inner.wanted[i] for i in chosen)]
    both = values if before is None else torch.cat([before, values])
    conditional = Subset(model, [inner.wanted[i] for i in rest], seen, both)
    return conditional if conditional.context_shape is None or context is None else AtContext(conditional, context)


def _observed_and_own(inner: Subset, context: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
    """The context of a subset: the observed values, followed by its model's own."""
    if context is None or not inner.observed:
        return None, context
    count = len(inner.observed)
    return context[:count], context[count:]


def _of_mixture(
    parts: Sequence[Density], log_weights: Tensor, chosen: list[int], values: Tensor
) -> tuple[Density, Tensor] | None:
    """sum_k w_k p_k(a) p_k(x | a) / sum_k w_k p_k(a): each component's conditional, weighted by how likely it made a."""
    found = [closed_condition(part, chosen, values) for part in parts]
    known = [pair for pair in found if pair is not None]
    if len(known) < len(parts):
        return None
    joint = log_weights + torch.stack([log_p.to(log_weights) for _, log_p in known])
    log_p = torch.logsumexp(joint, dim=-1)
    alive = [k for k, w in enumerate(joint.tolist()) if w > -torch.inf] or [0]
    return mixture_of([known[k][0] for k in alive], joint[alive] if bool(log_p > -torch.inf) else joint[:1] * 0), log_p


def _of_product(density: Independent, chosen: list[int], values: Tensor) -> tuple[Density, Tensor] | None:
    """Every part given what was observed of it."""
    rest = others(chosen, density.event_shape[0])
    left, log_p, start = [], values.new_zeros(()), 0
    for part, own in zip(density, split_by_parts(density, chosen), strict=True):
        size = part.event_shape[0]
        seen = values[[chosen.index(start + i) for i in own]]
        if len(own) == size:
            with torch.no_grad():
                log_p = log_p + reordered(part, own).log_prob(seen)
        elif own:
            found = closed_condition(part, own, seen)
            if found is None:
                return None
            log_p = log_p + found[1]
            left.append((found[0], [start + i for i in others(own, size)]))
        else:
            left.append((part, list(range(start, start + size))))
        start += size
    return product(left, rest), log_p


def _of_reordered(
    density: Flow, permutation: Permutation, chosen: list[int], values: Tensor
) -> tuple[Density, Tensor] | None:
    places = permutation.get_buffer("places").tolist()
    within = [places[i] for i in chosen]
    found = closed_condition(density.base, within, values)
    if found is None:
        return None
    rest = [places[i] for i in others(chosen, len(places))]
    remaining = others(within, len(places))
    return reordered(found[0], [remaining.index(i) for i in rest]), found[1]
