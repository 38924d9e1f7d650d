"""Heavy tails as a univariate map: from generalised Pareto tails of data to normal ones of noise."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from anabranch.transforms.univariate import UnivariateMap

# the tail index of parameters 0, and the largest
_START, _MOST = 0.1, 5.0
# the least index: 0 divides by itself, and this is a normal tail to all digits
_LEAST = 1e-6
_SLOPE = math.sqrt(2 / math.pi)  # of -log erfc(z / sqrt 2) at 0
# Newton's steps without gradients, of which each squares an error that is at most 0.8 at first; one more has gradients
_STEPS = 4
# limits of |log scale| and |log rho|
_FURTHEST_SCALE, _FURTHEST_RATIO = 30.0, math.log(8)
_START_LOGIT = math.log(_START / (_MOST - _START))


class ParetoTails(UnivariateMap):
    r"""A map from x of generalised Pareto tails to z of normal tails, with an index and a scale for either side:

    .. math:: \operatorname{erfc}(|z| / \sqrt 2) = (1 + \lambda c\, v)^{-1 / \lambda}, \qquad
              v = |t| + (\rho - 1) \big( \sqrt{t^2 + 1} - 1 \big), \qquad t = (x - \mu) e^{a}, \quad c = \sqrt{2 / \pi},

    and z has the sign of t. Each side has its index lambda in (0, 5) and its ratio rho in (1/8, 8). If z is standard normal,
    P(|X| > x) falls like x^{-1/lambda}: 1/lambda is the number of degrees of freedom of a Student t, and the alpha of a
    Pareto distribution. Moments of order 1/lambda and above are infinite. The slope dz/dx is e^a at mu. Far out, v is rho
    e^a |x - mu| up to a constant, so that rho e^a takes the place of e^a there. With parameters 0, mu = a = 0, rho = 1, and
    both indices are 0.1.

    The code computes y = -log erfc(|z| / sqrt 2) and never the probability of the tail, so that a float32 holds x = 1e6,
    1e12 and beyond. From x to z it inverts y by five steps of Newton's method, which reach the precision of a double. From z
    to x there is a formula.

    Source: Hickling and Prangle, 2024, "Flexible tails for normalizing flows", arXiv:2406.16971 (the "tail transform flow");
    Laszkiewicz et al., 2022, arXiv:2206.10311, for why a flow of linear tails keeps the tails of its base. The
    ratio rho is not in the paper: with one scale for the middle and the tail, a Student t of 2 degrees shows an index of
    0.42 instead of 0.5.

    Example:
        >>> import torch
        >>> from anabranch.transforms import ParetoTails
        >>> g = ParetoTails()
        >>> heavy = torch.tensor([0.0, 0.0, 0.0, 0.0, 2.3, 2.3])
        >>> z, _ = g(torch.tensor([0.0, 1.0, 1e6]), heavy)
        >>> z
        tensor([0.0000, 0.6076, 5.2818])
    """

    def __init__(self) -> None:
        super().__init__(size=6)

    def indices(self, parameters: Tensor) -> Tensor:
        """lambda of the lower and of the upper side, (..., 2)."""
        _, _, _, indices = _read(parameters)
        return torch.stack(indices, dim=-1)

    def forward(self, x: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        loc, log_scale, extras, indices = _read(parameters)
        t = (x - loc) * log_scale.exp()
        upper = t >= 0
        extra, index = (torch.where(upper, high, low) for low, high in (extras, indices))
        # no absolute value, whose derivative at 0 is 0
        t = torch.where(upper, t, -t)
        root = torch.hypot(t, torch.ones_like(t))
        # sqrt(t^2 + 1) - 1 without the difference, which for a small t would have no digits
        v = t + extra * t * (t / (root + 1))
        log_factor = torch.log1p(index * _SLOPE * v)
        size = _deviations(log_factor / index)
        _, log_slope = _surprise(size)
        log_derivative = log_scale + torch.log1p(extra * (t / root)) + math.log(_SLOPE) - log_factor - log_slope
        return torch.where(upper, size, -size), log_derivative

    def inverse(self, z: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        loc, log_scale, extras, indices = _read(parameters)
        upper = z >= 0
        extra, index = (torch.where(upper, high, low) for low, high in (extras, indices))
        y, log_slope = _surprise(torch.where(upper, z, -z))
        t = _before(torch.expm1(index * y) / (index * _SLOPE), extra)
        steepness = torch.log1p(extra * (t / torch.hypot(t, torch.ones_like(t))))
        x = torch.addcmul(loc, torch.where(upper, t, -t), (-log_scale).exp())
        return x, index * y + log_slope - math.log(_SLOPE) - steepness - log_scale


def raw_index(index: Tensor) -> Tensor:
    """The raw parameter of a tail index, which lies within (0, 5)."""
    return torch.logit((index - _LEAST) / _MOST) - _START_LOGIT


def raw_scale(log_scale: Tensor) -> Tensor:
    """The raw parameter of an a, which lies within (-30, 30); the nearest one of an a outside."""
    return _FURTHEST_SCALE * torch.atanh((log_scale / _FURTHEST_SCALE).clamp(-0.999, 0.999))


def raw_ratio(ratio: Tensor) -> Tensor:
    """The raw parameter of a rho, which lies within (1/8, 8)."""
    return _FURTHEST_RATIO * torch.atanh(ratio.log() / _FURTHEST_RATIO)


def _read(parameters: Tensor) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """mu, a, and for the lower and the upper side rho - 1 and lambda."""
    loc, scale, *raw = parameters.unbind(-1)
    log_scale = _FURTHEST_SCALE * torch.tanh(scale / _FURTHEST_SCALE)
    low, high = (torch.expm1(_FURTHEST_RATIO * torch.tanh(ratio / _FURTHEST_RATIO)) for ratio in raw[:2])
    index_low, index_high = (_LEAST + _MOST * torch.sigmoid(index + _START_LOGIT) for index in raw[2:])
    return loc, log_scale, (low, high), (index_low, index_high)


def _before(v: Tensor, extra: Tensor) -> Tensor:
    """The t >= 0 with v = t + k (sqrt(t^2 + 1) - 1), k = rho - 1: (1 - k^2) t^2 - 2 (v + k) t + v (v + 2 k) = 0."""
    # sqrt(v^2 + 2 k v + 1), in units of the larger of v and 1, whose square does not overflow
    unit = v.clamp(min=1.0)
    part, rest = v / unit, 1 / unit
    root = unit * (part.square() + 2 * extra * part * rest + rest.square()).sqrt()
    # of two forms of the root each keeps its digits for one sign of k
    positive, negative = extra.clamp(min=0.0), extra.clamp(max=0.0)
    of_positive = v * ((v + 2 * positive) / (v + positive * (1 + root)).clamp(min=torch.finfo(v.dtype).tiny))
    of_negative = v * ((1 - negative * ((v + 2 * negative) / (1 + root))) / (1 - negative.square()))
    return torch.where(extra >= 0, of_positive, of_negative)


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
