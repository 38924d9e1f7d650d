"""Modes of Gaussian mixtures."""

from __future__ import annotations

import torch
from torch import Tensor

from anabranch.densities.gaussian import gaussian_log_prob, lower_factor

_FIXED_POINTS = 500


def from_means(logits: Tensor, loc: Tensor, log_scale: Tensor, packed: Tensor | None = None) -> Tensor:
    r"""Where the fixed-point iteration comes to from each mean of a Gaussian mixture of constants: (components, D).

    .. math:: x \leftarrow \Big(\sum_k r_k(x) \Sigma_k^{-1}\Big)^{-1} \sum_k r_k(x) \Sigma_k^{-1} \mu_k

    It never goes down. Source: Carreira-Perpiñán, 2000, "Mode-finding for mixtures of Gaussian distributions", equation 8.

    Args:
        logits: unnormalised log-weights, (components).
        loc, log_scale: (components, D).
        packed: what is below the factors' diagonals; None for diagonal covariances.
    """
    if packed is None:
        precision = torch.diag_embed((-2 * log_scale).exp())
    else:
        precision = torch.cholesky_inverse(lower_factor(log_scale, packed))
    pulled = (precision @ loc.unsqueeze(-1)).squeeze(-1)
    x = loc.clone()
    for _ in range(_FIXED_POINTS):
        r = (gaussian_log_prob(x.unsqueeze(-2) - loc, log_scale, packed) + logits).softmax(dim=-1)
        moved = torch.linalg.solve(torch.einsum("nk,kij->nij", r, precision), r @ pulled)
        still = bool(((moved - x).abs() <= 1e-10 * (1 + x.abs())).all())
        x = moved
        if still:
            break
    return x
