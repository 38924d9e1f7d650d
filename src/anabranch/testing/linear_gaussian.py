"""A latent-variable model whose density is known: what a bound and an estimate are compared with."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from anabranch.densities import Normal
from anabranch.models import LatentVariable
from anabranch.networks import Network


def linear_gaussian(features: int = 2, latents: int = 1, context: int = 0) -> LatentVariable:
    r"""z ~ N(0, I), x | z ~ N(W (z, c) + b, S), with a linear guess q(z | x, c) that is not the true posterior.

    Its density is N(b + W_c c, W_z W_z^T + S): `marginal`.

    Args:
        features: of x.
        latents: of z.
        context: of c; 0 for none.

    Example:
        >>> import torch
        >>> from anabranch.testing import linear_gaussian, marginal, randomize
        >>> model = randomize(linear_gaussian())
        >>> x = torch.zeros(2)
        >>> value, error = model.estimate(x, samples=10_000, generator=0)
        >>> bool((value - marginal(model).log_prob(x)).abs() < 5 * error)
        True
    """
    return LatentVariable(
        prior=Normal.standard(latents),
        decoder=Normal(
            torch.linspace(-1, 1, features), 0.6, learnable=True, network=LinearMean(latents + context, features)
        ),
        posterior=Normal(
            torch.zeros(latents), 0.9, learnable=True, network=LinearMean(features + context, latents, 0.2)
        ),
    )


def marginal(model: LatentVariable, context: Tensor | None = None) -> Normal:
    """The density of x, at one context if the model takes one, as it is now."""
    decoder, latents = model.decoder, model.prior.event_shape[0]
    if not isinstance(decoder, Normal) or not isinstance(decoder.theta.network, LinearMean):
        raise ValueError("model: expected one of linear_gaussian(), got another")
    theta, slope = decoder.theta.constants(), decoder.theta.network.slope.detach()
    loc = theta["loc"].detach()
    if context is not None:
        loc = loc + slope[:, latents:] @ context
    noise = torch.diag_embed((2 * theta["log_scale"].detach()).exp())
    covariance = slope[:, :latents] @ slope[:, :latents].mT + noise
    return Normal(loc, scale_tril=torch.linalg.cholesky(covariance))


class LinearMean(Network):
    """The offset of a normal density's mean, linear in its context, and none of the scales: for `Parameters`.

    Args:
        features: of the context.
        outputs: of the mean.
        slope: the entries of W at first.
    """

    def __init__(self, features: int, outputs: int, slope: float = 0.8) -> None:
        super().__init__(features, 2 * outputs)
        self.slope = nn.Parameter(torch.full((outputs, features), slope))

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        mean = x @ self.slope.mT
        return torch.cat([mean, torch.zeros_like(mean)], dim=-1)
