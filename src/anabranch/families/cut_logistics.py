"""Logistic distributions cut at two ends: their densities, probabilities, quantiles and means, to the last digit."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid, softplus

# in scales: beyond that a logistic has nothing
_NO_END = 1e8
# the coefficients of y^2, y^4, ... in log(sinh(y) / y)
_LOG_SINHC = (1 / 6, -1 / 180, 1 / 2835, -1 / 37800, 1 / 467775, -691 / 3831077250, 2 / 127702575)


def log_density_between(x: Tensor, loc: Tensor, inverse: Tensor, low: Tensor, high: Tensor) -> Tensor:
    r"""log s p(x), (*batch, components), of each logistic cut at the ends, for x (*batch) between them.

    Args:
        x: (*batch).
        loc, inverse: (*batch, components), means and reciprocal scales 1 / s.
        low, high: the ends, which broadcast against x; they may be infinite.
    """
    x, low, high = x.unsqueeze(-1), low.unsqueeze(-1), high.unsqueeze(-1)
    t = (x - loc) * inverse
    a, b = _in_units(low, loc, inverse), _in_units(high, loc, inverse)
    # l(t) / (F(b) - F(a)) = sigma(t) / sigma(b) * sigma(-t) / sigma(-a) / (1 - e^{a - b})
    cut = _softplus_gap(t, a, x - low, inverse) + _softplus_gap(-t, -b, high - x, inverse)
    return -cut - _log_gap(high - low, inverse)


def log_between(
    low: Tensor,
    high: Tensor,
    width: Tensor,
    loc: Tensor,
    inverse: Tensor,
    least: Tensor | None = None,
    largest: Tensor | None = None,
) -> Tensor:
    """log P(low < X <= high), (*batch, components), of each logistic, cut at the ends if there are any."""
    low, high, width = low.unsqueeze(-1), high.unsqueeze(-1), width.unsqueeze(-1)
    right, left = _in_units(high, loc, inverse), _in_units(low, loc, inverse)
    # sigma(a) - sigma(b) = sigma(a) sigma(-b) (1 - e^{b - a})
    gap = _log_gap(width, inverse)
    if least is None or largest is None:
        return logsigmoid(right) + logsigmoid(-left) + gap
    least, largest = least.unsqueeze(-1), largest.unsqueeze(-1)
    a, b = _in_units(least, loc, inverse), _in_units(largest, loc, inverse)
    cut = _softplus_gap(left, a, low - least, inverse) + _softplus_gap(-right, -b, largest - high, inverse)
    return gap - cut - _log_gap(largest - least, inverse)


def quantile_between(u: Tensor, loc: Tensor, s: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """The numbers below which logistics, cut at low and high, have probability u."""
    a, b = _in_units(low, loc, 1 / s), _in_units(high, loc, 1 / s)
    # from the side on which its tail lies between the ends: there F is small, and keeps its digits
    flip = a + b > 0
    near, far = torch.where(flip, -b, a), torch.where(flip, -a, b)
    share = torch.where(flip, 1 - u, u)
    log_near, log_far = logsigmoid(near), logsigmoid(far)
    # F = F(near) + share (F(far) - F(near))
    log_p = torch.logaddexp(log_near, log_far + share.log() + (-torch.expm1(log_near - log_far)).log())
    t = log_p - (-torch.expm1(log_p)).log()
    t = torch.minimum(torch.maximum(t, near), far)
    x = loc + s * torch.where(flip, -t, t)
    return torch.maximum(torch.minimum(x, high), low)


def mean_between(loc: Tensor, s: Tensor, low: float, high: float) -> Tensor:
    """The mean of logistics cut at low and high, in float64."""
    a = torch.full_like(loc, low).sub(loc).div(s).clamp(-_NO_END, _NO_END)
    b = torch.full_like(loc, high).sub(loc).div(s).clamp(-_NO_END, _NO_END)
    # mirrored so that most lies to the left of the middle, then E(X - low) = s int_a^b (F(b) - F(t)) dt / (F(b) - F(a))
    flip = a + b > 0
    near, far = torch.where(flip, -b, a), torch.where(flip, -a, b)
    width = far - near
    top = far.sigmoid()
    come = (width * top - (softplus(far) - softplus(near))) / (top * (-near).sigmoid() * -torch.expm1(-width))
    # far to the left it is an exponential distribution that ends at `far`, between narrow ends nearly an even one
    come = torch.where(far < -30, width / -torch.expm1(-width) - 1, come)
    even = 0.5 * width - width.square() / 12 * (0.25 * (near + far)).tanh()
    come = torch.where(width < 1e-2, even, come)
    t = near + come
    return loc + s * torch.where(flip, -t, t)


def _in_units(x: Tensor, loc: Tensor, inverse: Tensor) -> Tensor:
    """(x - loc) / s; far away on either side where x is infinite, without the gradient of infinity times nothing."""
    none = x.isinf()
    t = (torch.where(none, 0.0, x) - loc) * inverse
    return torch.where(none, x.sign() * _NO_END, t)


def _log_gap(width: Tensor, inverse: Tensor) -> Tensor:
    """log(1 - e^{-width / s}), 0 for an infinite width."""
    none = width.isinf()
    gap = (-torch.where(none, 1.0, width) * inverse).clamp(max=-torch.finfo(inverse.dtype).tiny)
    steep = gap < -math.log(2)
    # the second of two forms where no digits are lost; not log(-expm1(gap)), which compiled by torch.compile is -inf for
    # cells that are narrow enough for 1 - e^gap to be rounded to 0 (PyTorch 2.13, on CPUs)
    log_gap = torch.where(
        steep, torch.log1p(-gap.exp().clamp(max=0.6)), log_one_minus_exp(torch.where(steep, -0.5, gap))
    )
    return torch.where(none, 0.0, log_gap)


def _softplus_gap(t: Tensor, a: Tensor, distance: Tensor, inverse: Tensor) -> Tensor:
    """softplus(t) - softplus(a) for t - a = distance / s: no digits are lost where both are large."""
    far = (a > 0) & ~distance.isinf()
    gap = torch.where(far, distance, 0.0) * inverse
    return torch.where(far, gap + softplus(-t) - softplus(-a), softplus(t) - softplus(a))


def log_one_minus_exp(x: Tensor) -> Tensor:
    r"""log(1 - e^x), (*batch), for -log 2 <= x < 0, however small.

    With y = -x / 2, by 1 - e^x = -x e^{x / 2} sinh(y) / y, and the series of log(sinh(y) / y) about 0, which converges for
    |y| < pi; what is left out is below 1e-16 here.
    """
    square = 0.25 * x * x
    series = torch.zeros_like(x)
    for coefficient in _LOG_SINHC[::-1]:
        series = (series + coefficient) * square
    return (-x).log() + 0.5 * x + series
