"""Marginals that are a density of closed form."""

from __future__ import annotations

from collections.abc import Sequence

from anabranch.densities import Bernoulli, Categorical, Density, GaussianMixture, Independent, Normal, StudentT, Uniform
from anabranch.models import AnyOrder, Flow, Subset
from anabranch.queries.at_context import AtContext, columns_of_closed_form, gaussian_mixture
from anabranch.queries.parts import mixture_of, parts_of
from anabranch.transforms import Permutation


def closed_marginal(density: Density, columns: Sequence[int]) -> Density | None:
    """p(x_columns), in this order, of a density without a context; None where it is known only as an integral."""
    chosen = list(columns)
    features = density.event_shape[0]
    if chosen == list(range(features)):
        return density
    if isinstance(density, (Normal, GaussianMixture)):
        return gaussian_mixture(density).marginal(chosen)
    if isinstance(density, (StudentT, Uniform, Bernoulli, Categorical)):
        return columns_of_closed_form(density, chosen)
    if isinstance(density, Independent):
        return _of_product(density, chosen)
    if len(chosen) == features:
        return reordered(density, chosen)
    if isinstance(density, Flow) and isinstance(density.transform, Permutation):
        places = density.transform.get_buffer("places").tolist()
        return closed_marginal(density.base, [places[i] for i in chosen])
    inner = density.density if isinstance(density, AtContext) else density
    if isinstance(inner, AnyOrder):
        return _at_same(density, inner.marginal(chosen))
    if isinstance(inner, Subset):
        wanted = [inner.wanted[i] for i in chosen]
        return _at_same(density, Subset(inner.model, wanted, inner.observed, inner.values))
    apart = parts_of(density)
    if apart is None:
        return None
    parts, log_weights = apart
    marginals = [closed_marginal(part, chosen) for part in parts]
    known = [part for part in marginals if part is not None]
    return mixture_of(known, log_weights) if len(known) == len(parts) else None


def reordered(density: Density, columns: Sequence[int]) -> Density:
    """The same density of the columns in another order."""
    chosen = list(columns)
    if chosen == list(range(len(chosen))):
        return density
    return Flow(Permutation([chosen.index(i) for i in range(len(chosen))]), density)


def split_by_parts(density: Independent, columns: Sequence[int]) -> list[list[int]]:
    """For each part of a product, which of the columns are its own, by their place within it and in their order."""
    starts, total = [], 0
    for part in density:
        starts.append(total)
        total += part.event_shape[0]
    ends = [*starts[1:], total]
    return [[i - start for i in columns if start <= i < end] for start, end in zip(starts, ends, strict=True)]


def product(parts: Sequence[tuple[Density, Sequence[int]]], columns: Sequence[int]) -> Density:
    """The product of what is left of a product's parts, its columns put in order.

    Args:
        parts: for each part of the product of which something is left, that, and which columns of the whole these are.
        columns: those columns in the order wanted.
    """
    joined = [i for _, own in parts for i in own]
    pieces = [part for part, _ in parts]
    whole = pieces[0] if len(pieces) == 1 else Independent(pieces)
    return reordered(whole, [joined.index(i) for i in columns])


def _of_product(density: Independent, columns: list[int]) -> Density | None:
    left, start = [], 0
    for part, own in zip(density, split_by_parts(density, columns), strict=True):
        if own:
            marginal = closed_marginal(part, own)
            if marginal is None:
                return None
            left.append((marginal, [start + i for i in own]))
        start += part.event_shape[0]
    return product(left, columns)


def _at_same(density: Density, derived: Density) -> Density:
    """What was derived from a density at a context, at that context."""
    if isinstance(density, AtContext) and derived.context_shape is not None:
        return AtContext(derived, density.context)
    return derived
