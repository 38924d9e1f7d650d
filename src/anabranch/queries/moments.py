"""Means and covariances of closed forms."""

from __future__ import annotations

import torch
from torch import Tensor

from anabranch.densities import Bernoulli, Categorical, Density, GaussianMixture, Independent, Normal, StudentT, Uniform
from anabranch.densities.gaussian import lower_factor
from anabranch.models import AnyOrder, Flow, Subset
from anabranch.queries.at_context import AtContext, gaussian_mixture
from anabranch.queries.parts import parts_of
from anabranch.queries.univariate import family_of
from anabranch.transforms import Permutation

Moments = tuple[Tensor, Tensor | None]


def closed_moments(density: Density) -> Moments | None:
    """Mean (D) and covariance (D, D) of a density without a context, where they have a closed form; each may be missing.

    A Student t of one degree of freedom or less has no mean, NaN, and of two or less an infinite variance.
    """
    with torch.no_grad():
        if isinstance(density, (Normal, GaussianMixture)):
            return _of_gaussians(gaussian_mixture(density))
        if isinstance(density, (StudentT, Uniform, Bernoulli, Categorical)):
            return _of_independent_numbers(density)
        if isinstance(density, Independent):
            found = [closed_moments(part) for part in density]
            pieces = [pair for pair in found if pair is not None]
            if len(pieces) < len(found):
                return None
            blocks = [covariance for _, covariance in pieces if covariance is not None]
            mean = torch.cat([mean for mean, _ in pieces])
            return mean, torch.block_diag(*blocks) if len(blocks) == len(found) else None
        if isinstance(density, Flow) and isinstance(density.transform, Permutation):
            inner = closed_moments(density.base)
            if inner is None:
                return None
            places = density.transform.get_buffer("places")
            mean, covariance = inner
            return mean[places], None if covariance is None else covariance[places][:, places]
        one = density.density if isinstance(density, AtContext) else density
        closed = isinstance(one, AnyOrder) or (isinstance(one, Subset) and one.closed)
        if closed and density.event_shape[0] == 1:
            family, theta = family_of(density)
            return family.mean(theta).reshape(1), None
        apart = parts_of(density)
        return None if apart is None else _of_mixture(*apart)


def _of_gaussians(mixture: GaussianMixture) -> Moments:
    theta = mixture.theta(None)
    w, loc = torch.softmax(theta["logits"], dim=-1), theta["loc"]
    mean = w @ loc
    if "packed" in theta:
        lower = lower_factor(theta["log_scale"], theta["packed"])
        within = torch.einsum("k,kij,klj->il", w, lower, lower)
    else:
        within = torch.diag(w @ theta["log_scale"].exp().square())
    d = loc - mean
    return mean, within + torch.einsum("k,ki,kj->ij", w, d, d)


def _of_independent_numbers(density: StudentT | Uniform | Bernoulli | Categorical) -> Moments:
    theta = density.theta(None)
    if isinstance(density, StudentT):
        df, scale = theta["log_df"].exp(), theta["log_scale"].exp()
        mean = torch.where(df > 1, theta["loc"], torch.nan)
        finite = scale.square() * df / (df - 2).clamp(min=torch.finfo(df.dtype).tiny)
        variance = torch.where(df > 2, finite, torch.where(df > 1, torch.inf, torch.nan).to(finite))
        # nothing is said of two columns' covariance by the products of infinite spreads: they are independent
        covariance = torch.diag_embed(variance.nan_to_num(posinf=0.0))
        covariance.diagonal().copy_(variance)
        return mean, covariance
    if isinstance(density, Uniform):
        low, high = density.get_buffer("low"), density.get_buffer("high")
        return 0.5 * (low + high), torch.diag((high - low).square() / 12)
    if isinstance(density, Bernoulli):
        p = torch.sigmoid(theta["logits"])
        return p, torch.diag(p * (1 - p))
    p = torch.softmax(theta["logits"], dim=-1)
    levels = torch.arange(p.shape[-1], dtype=p.dtype, device=p.device)
    mean = p @ levels
    return mean, torch.diag((p * (levels - mean.unsqueeze(-1)).square()).sum(dim=-1))


def _of_mixture(parts: list[Density], log_weights: Tensor) -> Moments | None:
    found = [closed_moments(part) for part in parts]
    pieces = [pair for pair in found if pair is not None]
    if len(pieces) < len(found):
        return None
    means = torch.stack([mean for mean, _ in pieces])
    w = log_weights.exp().to(means)
    mean = w @ means
    inner = [covariance for _, covariance in pieces if covariance is not None]
    if len(inner) < len(found):
        return mean, None
    d = means - mean
    return mean, torch.einsum("k,kij->ij", w, torch.stack(inner)) + torch.einsum("k,ki,kj->ij", w, d, d)
