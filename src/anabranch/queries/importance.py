"""Integrals over hidden columns by importance sampling."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from anabranch.densities import Density
from anabranch.draws import drawing
from anabranch.queries.estimate import Estimate
from anabranch.queries.student_mixture import StudentMixture

_EVENTS = 2**16


@dataclass(frozen=True)
class Joint:
    """log p(x_O = a, x_H) of a density as a function of x_H.

    Attributes:
        density: without a context.
        observed, hidden: O and H, all columns between them.
    """

    density: Density
    observed: list[int]
    hidden: list[int]

    def rows(self, values: Tensor, x: Tensor) -> Tensor:
        """Whole rows (*batch, D), of what was observed (*batch or less, O) and x_H (*batch, H)."""
        full = x.new_empty(*x.shape[:-1], len(self.observed) + len(self.hidden))
        full[..., self.observed] = values.expand(*x.shape[:-1], -1)
        full[..., self.hidden] = x
        return full

    def log_prob(self, values: Tensor, x: Tensor) -> Tensor:
        """log p of those rows: (*batch)."""
        full = self.rows(values, x)
        pieces = [self.density.log_prob(some) for some in full.reshape(-1, full.shape[-1]).split(_EVENTS)]
        return torch.cat(pieces).reshape(x.shape[:-1]) if pieces else x.new_zeros(x.shape[:-1])


def log_marginal(joint: Joint, mixture: StudentMixture, values: Tensor, samples: int, seed: int) -> Estimate:
    r"""log p(x_O) at rows of values (n, O): the logarithm of the mean of w = p(x_O, x_H) / q(x_H | x_O) over draws of q.

    The draws come from the same random numbers for all rows, so a row has the same answer whichever others come with it,
    and errors of different rows go together. Differentiable by the values, by Fisher's identity: the draws are held.
    The standard error is that of the mean of w relative to it, the effective sample size (sum w)^2 / sum w^2.
    """
    finite = values.isfinite().all(dim=-1)
    safe = torch.where(finite.unsqueeze(-1), values, 0.0)
    found = []
    for some in safe.split(max(1, _EVENTS // samples)):
        with drawing(seed), torch.no_grad():
            q = mixture.given(joint.observed, some)
            x = q.draw(samples, shared=True)
            log_q = q.log_prob(x)
        found.append(mean_weight(joint.log_prob(some, x) - log_q))
    log_p, error, effective = (
        (torch.cat(column) for column in zip(*found, strict=True)) if found else (values[:, 0],) * 3
    )
    nowhere = torch.where(values.isnan().any(dim=-1), torch.nan, -torch.inf).to(log_p)
    return Estimate(torch.where(finite, log_p, nowhere), torch.where(finite, error, 0.0), effective, exact=False)


def mean_weight(log_w: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """log of the mean weight, its standard error and the effective sample size: (n) each, for log-weights (count, n)."""
    count = len(log_w)
    log_mean = torch.logsumexp(log_w, dim=0) - math.log(count)
    fixed = log_w.detach()
    share = torch.softmax(fixed, dim=0)
    squares = share.square().sum(dim=0)
    # the variance of w / mean(w) is count * sum(share^2) - 1
    error = ((count * squares - 1).clamp(min=0) / max(1, count - 1)).sqrt()
    nothing = fixed.isneginf().all(dim=0)
    return log_mean, torch.where(nothing, 0.0, error), torch.where(nothing, 0.0, 1 / squares)


def poor(effective: Tensor, least: float) -> Tensor:
    """Which estimates rest on too few draws; not those that none of the draws made possible."""
    return (effective > 0) & (effective < least)
