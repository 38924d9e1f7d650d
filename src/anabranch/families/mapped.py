"""Distributions of one number that a monotone map makes of a normal one."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import softplus
from torch.special import ndtri

from anabranch.checks import instance_of, positive_int
from anabranch.families.family import Family, quantiles_of
from anabranch.normal_cdf import normal_cdf
from anabranch.transforms.domain import is_everything
from anabranch.transforms.univariate import UnivariateMap

_HALF_LOG_TAU = 0.5 * math.log(2 * math.pi)
# between minus this and this the logarithms of scales stay, and so sharply they turn there
_LARGEST_LOG_SCALE, _BEND = 30.0, 4.0
# the mean is that of so many draws, evenly spread over the quantiles
_POINTS = 1024


class Mapped(Family):
    r"""x = g^{-1}(z; theta) with z standard normal, for any monotone g such as a spline:

    .. math:: p(x \mid \theta) = N(y; 0, 1)\, g'((x - m) / s; \theta) / s, \qquad y = g((x - m) / s; \theta).

    theta holds m, a number r and the parameters of the map: log s is r, which turns where it comes near -30 or 30 and stays
    between, so that what a position draws does not overflow in the ones after it. The mean is a sum over even quantiles,
    right to about 1e-3 deviations.

    Args:
        map: g, of the transforms' univariate maps, defined for all numbers and reaching all.

    Raises:
        ValueError: a map of numbers from or to an interval alone, such as `CircularSpline`.

    Example:
        >>> import torch
        >>> from anabranch.families import Mapped
        >>> from anabranch.transforms import RationalQuadraticSpline
        >>> family = Mapped(RationalQuadraticSpline(bins=4))
        >>> theta = torch.zeros(family.parameters_of_one)  # a standard normal
        >>> family.log_prob(torch.tensor(0.0), theta)
        tensor(-0.9189)
    """

    reparameterized = True

    def __init__(self, map: UnivariateMap) -> None:
        instance_of("map", map, UnivariateMap)
        if not (is_everything(map.domain) and is_everything(map.codomain)):
            raise ValueError(
                f"map: expected one from all numbers to all, since what it makes of x is normal, got {type(map).__name__}, "
                f"from {map.domain} to {map.codomain}"
            )
        positive_int("map.size", map.size)
        super().__init__(2 + map.size, inputs=1)
        self.map = map

    def log_prob(self, x: Tensor, theta: Tensor) -> Tensor:
        z, log_derivative = self._noise(x, theta)
        return log_derivative - 0.5 * z.square() - _HALF_LOG_TAU

    def sample(self, theta: Tensor) -> Tensor:
        return self._at(torch.randn_like(theta[..., 0]), theta)

    def below(self, x: Tensor, theta: Tensor) -> tuple[Tensor, Tensor]:
        finite = torch.where(x.isinf(), 0.0, x)
        p = normal_cdf(self._noise(finite, theta)[0])
        p = torch.where(x.isinf(), (x > 0).to(p), p)
        return p, p

    def quantile(self, u: Tensor, theta: Tensor) -> Tensor:
        return self._at(ndtri(u), theta)

    def mean(self, theta: Tensor) -> Tensor:
        u = (torch.arange(_POINTS, dtype=theta.dtype, device=theta.device) + 0.5) / _POINTS
        return self.quantile(u.expand(*theta.shape[:-1], _POINTS), theta.unsqueeze(-2)).mean(dim=-1)

    def features(self, x: Tensor) -> Tensor:
        return x.unsqueeze(-1)

    def start(self, x: Tensor) -> Tensor:
        low, middle, high = quantiles_of(x, torch.tensor([0.16, 0.5, 0.84], device=x.device))
        scale = (0.5 * (high - low)).clamp(min=torch.finfo(x.dtype).eps * (1 + middle.abs()))
        return torch.cat([torch.stack([middle, scale.log()]), x.new_zeros(self.map.size)])

    def _noise(self, x: Tensor, theta: Tensor) -> tuple[Tensor, Tensor]:
        loc, log_s, parameters = _read(theta)
        x = (x - loc) * (-log_s).exp()
        z, log_derivative = self.map(x, parameters.expand(*x.shape, self.map.size))
        return z, log_derivative - log_s

    def _at(self, z: Tensor, theta: Tensor) -> Tensor:
        loc, log_s, parameters = _read(theta)
        batch = torch.broadcast_shapes(z.shape, loc.shape)
        x, _ = self.map.inverse(z.expand(batch), parameters.expand(*batch, self.map.size))
        return loc + log_s.exp() * x


def _read(theta: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """m, log s and the parameters of the map."""
    r = theta[..., 1]
    over, under = softplus(r - _LARGEST_LOG_SCALE, beta=_BEND), softplus(-_LARGEST_LOG_SCALE - r, beta=_BEND)
    return theta[..., 0], r - over + under, theta[..., 2:]
