"""Diffusions whose density is known: what bounds, estimates and solvers are compared with."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from anabranch.densities import Normal
from anabranch.models import Diffusion, EarlierStarts, FlowMixture, LatentDepthMixture, LinearSchedule
from anabranch.models.denoising import signal_and_noise
from anabranch.networks import Network


class LinearDenoiser(Network):
    r"""W z + t V z + U c + b: whatever it says, the density of the chain is normal."""

    def __init__(self, features: int, context: int = 0) -> None:
        super().__init__(features, features, 1 + context)
        self.weight = nn.Parameter(torch.zeros(features, features))
        self.weight_of_time = nn.Parameter(torch.zeros(features, features))
        self.bias = nn.Parameter(torch.zeros(features))
        self.of_context = nn.Parameter(torch.zeros(features, context))

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        if context is None:
            raise ValueError("context: expected the time, got None")
        y = x @ self.weight.mT + context[..., :1] * (x @ self.weight_of_time.mT) + self.bias
        return y + context[..., 1:] @ self.of_context.mT


class ExactDenoiser(Network):
    r"""The noise in z of y ~ N(mu, C), exactly: sigma (alpha^2 C + sigma^2)^{-1} (z - alpha mu).

    Args:
        mean: mu.
        covariance: C.
        low: gamma at time 0.
        high: gamma at time 1.
    """

    def __init__(self, mean: Tensor, covariance: Tensor, low: float, high: float) -> None:
        super().__init__(len(mean), len(mean), 1)
        self.low, self.high = low, high
        self.register_buffer("mean", mean.clone())
        values, vectors = torch.linalg.eigh(covariance)
        self.register_buffer("values", values)
        self.register_buffer("vectors", vectors)

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        if context is None:
            raise ValueError("context: expected the time, got None")
        mean, values, vectors = (self.get_buffer(name) for name in ("mean", "values", "vectors"))
        alpha, sigma = signal_and_noise(self.low + (self.high - self.low) * context[..., :1])
        along = sigma * ((x - alpha * mean) @ vectors) / (alpha.square() * values + sigma.square())
        return along @ vectors.mT


def linear_diffusion(features: int = 2, context: int = 0, steps: int = 3) -> Diffusion:
    """A diffusion of real numbers whose network is linear in z, so that its density is normal: `diffusion_marginal`.

    Args:
        features: of x.
        context: of c; 0 for none.
        steps: of the chain.

    Example:
        >>> import torch
        >>> from anabranch.testing import diffusion_marginal, linear_diffusion, randomize
        >>> model = randomize(linear_diffusion())
        >>> x = torch.zeros(2)
        >>> value, error = model.estimate(x, samples=10_000, generator=0)
        >>> bool((value - diffusion_marginal(model).log_prob(x)).abs() < 5 * error)
        True
    """
    return Diffusion(LinearDenoiser(features, context), schedule=LinearSchedule(-2.0, 3.0, learnable=True), steps=steps)


def diffusion_marginal(model: Diffusion, context: Tensor | None = None) -> Normal:
    """The density of x of a diffusion without decoder, with a normal prior and a network affine in z, as it is now.

    Each step is an affine map of z and independent normal noise; the map is read off the network at 0 and the unit vectors.

    Args:
        model: it.
        context: one context, if it takes one.
    """
    with torch.no_grad():
        levels = model._levels()
        size = model.denoiser.features
        points = torch.cat([levels.new_zeros(1, size), torch.eye(size).to(levels)])
        moments = model.prior._moments(context)
        if moments is None or moments.covariance is None:
            raise ValueError(f"model: expected a normal prior, got a {type(model.prior).__name__}")
        mean, covariance = moments.mean, moments.covariance
        for gamma, before in pairwise(levels):
            (alpha, sigma), (alpha_before, sigma_before) = signal_and_noise(gamma), signal_and_noise(before)
            share = -(before - gamma).expm1()
            moved = alpha_before / alpha * (points - share * sigma * model._noise(points, gamma, context))
            offset, matrix = moved[0], (moved[1:] - moved[0]).mT
            mean = matrix @ mean + offset
            covariance = matrix @ covariance @ matrix.mT + sigma_before.square() * share * points[1:]
        alpha = signal_and_noise(levels[-1])[0]
        covariance = covariance / alpha.square() + levels[-1].exp() * points[1:]
        return Normal(mean / alpha, scale_tril=torch.linalg.cholesky(covariance))


def diffusion_depths(model: LatentDepthMixture) -> FlowMixture:
    """The mixture of the normal densities of the chains of `EarlierStarts`, as it is now.

    Args:
        model: over a diffusion without decoder whose network is affine in z, with normal priors, without a context.
    """
    depths = model.depths
    if not isinstance(depths, EarlierStarts):
        raise ValueError(f"model: expected one of EarlierStarts, got one of {type(depths).__name__}")
    weights = model.weights().detach()
    return FlowMixture([diffusion_marginal(chain) for chain in depths.chains], weights=weights.tolist()).to(weights)
