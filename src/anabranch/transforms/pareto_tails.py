"""Heavy tails as a univariate map: from generalised Pareto tails of data to normal ones of noise."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from anabranch.transforms.univariate import UnivariateMap

# the tail index of parameters 0, and the largest
_START, _MOST = 0.1, 5.0
_SLOPE = math.sqrt(2 / math.pi)  # of -log erfc(z / sqrt 2) at 0
# Newton's steps without gradients; each squares an error that starts at 0.8
_STEPS = 4
_FURTHEST_SCALE = 30.0


class ParetoTails(UnivariateMap):
    r"""z of normal tails, of an x whose tails are generalised Pareto with indices of their own on either side:

    .. math:: \operatorname{erfc}(|z| / \sqrt 2) = (1 + \lambda c\, |t|)^{-1 / \lambda}, \quad
              t = (x - \mu) e^{a}, \quad \operatorname{sign} z = \operatorname{sign} t, \quad c = \sqrt{2 / \pi},

    with lambda = lambda_+ where t > 0 and lambda_- where t < 0, both in (0, 5). If z is standard normal, then P(|X| > x)
    falls like x^{-1/lambda}: 1/lambda degrees of freedom of Student's t, the alpha of a Pareto distribution. Moments of
    order 1/lambda and above are infinite. The slope is e^a at mu, whatever the indices, and log dz/dx falls like -log |t|.
    With parameters 0, mu = a = 0 and both indices are 0.1.

    The other way x = mu + e^{-a} sign(z) (e^{\lambda y} - 1) / (\lambda c), y = -log erfc(|z| / sqrt 2): what is computed is
    y, and never the tail's probability, so that a float32 holds x = 1e6, 1e12 and beyond. From x to z, y is inverted by
    Newton's method in as many steps as a double takes.

    Source: Hickling and Prangle, 2024, "Flexible tails for normalizing flows", arXiv:2406.16971, equation 6 (the "tail
    transform flow"); Laszkiewicz et al., 2022, arXiv:2206.10311, for why a flow of linear tails keeps the tails of its base.

    Example:
        >>> import torch
        >>> from anabranch.transforms import ParetoTails
        >>> g = ParetoTails()
        >>> heavy = torch.tensor([0.0, 0.0, 2.3, 2.3])
        >>> z, _ = g(torch.tensor([0.0, 1.0, 1e6]), heavy)
        >>> z
        tensor([0.0000, 0.6076, 5.2818])
    """

    def __init__(self) -> None:
        super().__init__(size=4)

    def indices(self, parameters: Tensor) -> Tensor:
        """lambda_- and lambda_+, (..., 2)."""
        return torch.stack(_read(parameters)[2:], dim=-1)

    def forward(self, x: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        loc, log_scale, index_low, index_high = _read(parameters)
        t = (x - loc) * log_scale.exp()
        index = torch.where(t >= 0, index_high, index_low)
        # and no absolute value, whose derivative at 0 is 0
        log_factor = torch.log1p(index * _SLOPE * torch.where(t >= 0, t, -t))
        size = _deviations(log_factor / index)
        _, log_slope = _surprise(size)
        z = torch.where(t >= 0, size, -size)
        return z, log_scale + math.log(_SLOPE) - log_factor - log_slope

    def inverse(self, z: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        loc, log_scale, index_low, index_high = _read(parameters)
        index = torch.where(z >= 0, index_high, index_low)
        y, log_slope = _surprise(torch.where(z >= 0, z, -z))
        size = torch.expm1(index * y) / (index * _SLOPE)
        t = torch.where(z >= 0, size, -size)
        return torch.addcmul(loc, t, (-log_scale).exp()), index * y + log_slope - math.log(_SLOPE) - log_scale


def raw_index(index: Tensor) -> Tensor:
    """The raw parameter of a tail index, which lies within (0, 5)."""
    return torch.logit(index / _MOST) - _START_LOGIT


_START_LOGIT = math.log(_START / (_MOST - _START))


def _read(parameters: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """mu, a, lambda_- and lambda_+."""
    loc, scale, low, high = parameters.unbind(-1)
    log_scale = _FURTHEST_SCALE * torch.tanh(scale / _FURTHEST_SCALE)
    index_low, index_high = (_MOST * torch.sigmoid(raw + _START_LOGIT) for raw in (low, high))
    return loc, log_scale, index_low, index_high


def _surprise(z: Tensor) -> tuple[Tensor, Tensor]:
    """y = -log erfc(z / sqrt 2) for z >= 0, and log dy/dz."""
    scaled = torch.special.erfcx(z * math.sqrt(0.5))
    # near 0, where y is about z, all digits of a small z; the clamp keeps infinities out of the part that is not taken
    near = -torch.log1p(-torch.erf(z.clamp(max=1.0) * math.sqrt(0.5)))
    log_scaled = scaled.log()
    return torch.where(z < 1, near, 0.5 * z.square() - log_scaled), math.log(_SLOPE) - log_scaled


def _deviations(y: Tensor) -> Tensor:
    """The z >= 0 of a y. Since y is convex in z, Newton's steps pass the root once at most, and then come down on it."""
    with torch.no_grad():
        # the root of z^2 / 2 + sqrt(2 / pi) z = y, in a form of positive terms alone
        z = 2 * y / ((2 * y + _SLOPE**2).sqrt() + _SLOPE)
        for _ in range(_STEPS):
            at, log_slope = _surprise(z)
            z = z - (at - y) * (-log_slope).exp()
    z = z.detach()
    at, log_slope = _surprise(z)
    return z - (at - y) * (-log_slope.detach()).exp()
