"""A density with a context, seen over many contexts: the aggregated posterior of a latent-variable model above all."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from anabranch.densities.density import Density

# pairs of an event and a context that are scored at a time
_PAIRS = 2**16
# contexts whose moments are asked for at a time
_CONTEXTS = 1024
# of an estimated variance between contexts, in units of that within
_SCATTER = 1e-3


def aggregated_log_prob(density: Density, z: Tensor, contexts: Tensor) -> Tensor:
    r"""log q(z) = log 1/N \sum_n q(z | c_n), exactly, nats: (events) of z (events, *event), at contexts (N, *context)."""
    at_once = max(1, _PAIRS // len(contexts))
    pieces = [
        density.log_prob(some.unsqueeze(1), contexts).logsumexp(dim=-1) - math.log(len(contexts))
        for some in z.split(at_once)
    ]
    return torch.cat(pieces)


def information_of(density: Density, contexts: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    r"""What one draw of z for each of N contexts says: z (N, *event), log q(z | c_n) and log q(z), nats, (N) each.

    The mean of the difference of the last two estimates the mutual information of z and the contexts, each taken with
    probability 1/N, which is at most log N.
    """
    z, log_q = density._sample_and_log_prob(torch.Size(), contexts)
    return z, log_q, aggregated_log_prob(density, z, contexts)


def shares_between(density: Density, contexts: Tensor, samples: int) -> Tensor:
    r"""The share of the variance of each number of z that lies between contexts, Var_c(E[z | c]) / Var(z): (numbers).

    By moments of vectors where they are known. Else by draws, S of each context c_n: with V the mean of the variances within
    contexts, and B the variance of the S draws' means, B - V / S is an unbiased estimate of the variance between, which
    scatters by about V / S sqrt(2 / (N - 1)). S is so large that this is a thousandth of V at most. A number that is
    constant has a share of 0.
    Source: Burda et al., 2016, arXiv:1509.00519, section 2 (active units, whose variance between exceeds 0.01).

    Args:
        density: of z given c.
        contexts: (N, *context), 2 at least.
        samples: S at least, and 2 at least.
    """
    known = _moments(density, contexts)
    if known is None:
        count = max(samples, math.ceil(math.sqrt(2 / (len(contexts) - 1)) / _SCATTER))
        z = density._sample(torch.Size([count]), contexts).double().flatten(2)
        within = z.var(dim=0).mean(dim=0)
        between = (z.mean(dim=0).var(dim=0) - within / count).clamp(min=0)
    else:
        within, between = known[1].mean(dim=0), known[0].var(dim=0)
    total = between + within
    return torch.where(total > 0, between / total.clamp(min=torch.finfo(total.dtype).tiny), 0.0)


def _moments(density: Density, contexts: Tensor) -> tuple[Tensor, Tensor] | None:
    """Means and variances of vectors at contexts, (N, numbers) each, where both are known."""
    if len(density.event_shape) != 1:
        return None
    pieces = []
    for some in contexts.split(_CONTEXTS):  # a covariance each
        moments = density._moments(some)
        if moments is None or moments.covariance is None:
            return None
        pieces.append((moments.mean.double(), moments.covariance.diagonal(dim1=-2, dim2=-1).double()))
    means, variances = (torch.cat(part) for part in zip(*pieces, strict=True))
    return means, variances
