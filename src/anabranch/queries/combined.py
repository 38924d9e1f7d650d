"""Estimates combined: sums, logarithms, and how far those of several orders are apart."""

from __future__ import annotations

import math
from dataclasses import replace

import torch

from anabranch.queries.estimate import Estimate


def logarithm(found: Estimate) -> Estimate:
    """Of a probability: its logarithm, with a relative error."""
    value = found.value.log()
    error = torch.where(found.value > 0, found.standard_error / found.value, torch.inf)
    return Estimate(value, torch.where(found.standard_error > 0, error, 0.0), found.effective_samples, found.exact)


def exponential(found: Estimate) -> Estimate:
    """Of a logarithm: the probability, with an absolute error."""
    value = found.value.exp()
    error = torch.where(value > 0, value * found.standard_error, 0.0)
    return Estimate(value, error, found.effective_samples, found.exact, found.between_orders)


def total(pieces: list[tuple[Estimate, float]]) -> Estimate:
    """The probability that signed ones of disjoint events make, their errors as if independent."""
    found = signed_sum(pieces)
    orders = [one.between_orders.double() for one, _ in pieces if one.between_orders is not None]
    between = torch.stack(orders).square().sum(dim=0).sqrt() if orders else None
    return replace(found, value=found.value.clamp(0, 1), between_orders=between)


def signed_sum(pieces: list[tuple[Estimate, float]]) -> Estimate:
    """Of independent estimates with signs."""
    value = sum((sign * found.value for found, sign in pieces), torch.zeros((), dtype=torch.float64))
    error = sum((found.standard_error.square() for found, _ in pieces), torch.zeros((), dtype=torch.float64)).sqrt()
    effective = torch.stack([found.effective_samples.double() for found, _ in pieces]).min()
    return Estimate(value, error, effective, exact=all(found.exact for found, _ in pieces))


def with_orders(found: Estimate, others: list[Estimate], of_logarithms: bool = False) -> Estimate:
    r"""The estimate with its deviation between orders: of d_k, the differences of other orders from it,

    .. math:: \max(0, \tfrac12\, \text{mean}_k (d_k^2 - s_k^2 - s_0^2))^{1/2}, \qquad s \text{ the errors of the draws.}
    """
    own = exponential(found) if of_logarithms else found
    squares = []
    for other in others:
        one = exponential(other) if of_logarithms else other
        squares.append((one.value - own.value).square() - one.standard_error.square() - own.standard_error.square())
    if not squares:
        return found
    spread = (0.5 * torch.stack(squares).nan_to_num(posinf=math.inf).mean(dim=0)).clamp(min=0).sqrt()
    # nothing but rounding
    spread = torch.where(spread > 1e-6 * own.value.abs(), spread, 0.0)
    return replace(found, between_orders=spread)
