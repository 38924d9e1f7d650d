"""Latent-variable models with classes whose density is known."""

from __future__ import annotations

import torch
from torch import Tensor

from anabranch.densities import GaussianMixture
from anabranch.models import Embedded, FlowMixture, LatentMixture, LatentVariable
from anabranch.networks import MLP
from anabranch.testing.linear_gaussian import linear_gaussian, marginal


def linear_gaussian_m2(features: int = 2, classes: int = 3) -> FlowMixture:
    r"""y, z ~ N(0, 1), x | z, y ~ N(W (z, e_y) + b, S), with guesses q(y | x) and q(z | x, y): `m2_marginal` is its density.

    Args:
        features: of x.
        classes: values of y.

    Example:
        >>> from anabranch.testing import linear_gaussian_m2, m2_marginal
        >>> m2_marginal(linear_gaussian_m2(classes=2)).components
        2
    """
    told = linear_gaussian(features, context=2)
    return FlowMixture(
        Embedded(told, classes), weights=_weights(classes), posterior=MLP(features, classes, hidden=(8,))
    )


def m2_marginal(mixture: FlowMixture) -> GaussianMixture:
    """The density of x of a `linear_gaussian_m2`, as it is now: its joint is that of the classes."""
    components = mixture.component_densities
    if not isinstance(components, Embedded) or not isinstance(components.density, LatentVariable):
        raise ValueError("mixture: expected one of linear_gaussian_m2(), got another")
    each = [marginal(components.density, vector) for vector in components.embeddings.detach()]
    factors = torch.stack([torch.linalg.cholesky(one._moments(None).covariance) for one in each])
    loc = torch.stack([one._moments(None).mean for one in each])
    return GaussianMixture(loc, scale_tril=factors, weights=mixture.weights().detach())


def linear_gaussian_classes(features: int = 2, classes: int = 3) -> LatentMixture:
    r"""z of a mixture of normal densities, x | z ~ N(W z + b, S), as a mixture over y: `classes_marginal` is its density.

    Args:
        features: of x.
        classes: values of y.

    Example:
        >>> from anabranch.testing import classes_marginal, linear_gaussian_classes
        >>> classes_marginal(linear_gaussian_classes(classes=2)).components
        2
    """
    parts = linear_gaussian(features)
    means = torch.linspace(-1, 1, classes).unsqueeze(-1)
    prior = GaussianMixture(means, scale=torch.full_like(means, 0.7), weights=_weights(classes), learnable=True)
    return LatentMixture(LatentVariable(prior, parts.decoder, parts.posterior))


def classes_marginal(mixture: LatentMixture) -> GaussianMixture:
    """The density of x of a `linear_gaussian_classes`, as it is now: its joint is that of the classes."""
    prior, decoder = mixture.model.prior, mixture.model.decoder
    if not isinstance(prior, GaussianMixture):
        raise ValueError(f"mixture: expected one of linear_gaussian_classes(), got a prior of {type(prior).__name__}")
    theta = {name: value.detach() for name, value in prior.theta(None).items()}
    # x | z = W z + b + noise: the moments of x for z = 0 and z = 1 tell b and W
    with torch.no_grad():
        at_zero, at_one = (decoder._moments(theta["loc"].new_full((1,), z)) for z in (0.0, 1.0))
    if at_zero is None or at_one is None:
        raise ValueError("mixture: expected one of linear_gaussian_classes(), got another decoder")
    slope = at_one.mean - at_zero.mean
    covariances = at_zero.covariance + (2 * theta["log_scale"]).exp().unsqueeze(-1) * torch.outer(slope, slope)
    loc = at_zero.mean + theta["loc"] * slope
    return GaussianMixture(loc, scale_tril=torch.linalg.cholesky(covariances), weights=prior.weights().detach())


def _weights(classes: int) -> Tensor:
    """Of which no two are alike."""
    return torch.arange(1.0, classes + 1)
