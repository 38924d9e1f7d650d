r"""A hidden unit of a layer x + u tanh(w x + b): the factor that keeps it increasing, and its inverse."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from anabranch.transforms.root import root_between, with_derivatives

LEAST_SLOPE = 2e-3
"""The least slope 1 + tanh' a: a float32 has seven digits, of which the inverse loses three."""


def increasing_factor(a: Tensor) -> Tensor:
    r"""k(a) > 0 with :math:`k(a)\, a > -1 + \epsilon` for every a, where :math:`\epsilon` is `LEAST_SLOPE`.

    .. math:: k(a) = (1 - \epsilon) / (1 + \log(1 + e^{-a}))

    Since tanh' lies in (0, 1], the unit y + u tanh(w y + b) with :math:`u w = k(a) a` rises for every a. Proof: for a < 0,
    :math:`\log(1 + e^{-a}) > -a`, so that :math:`k(a) |a| < (1 - \epsilon) |a| / (1 + |a|)`. Every product above
    :math:`-1 + \epsilon` is reached, since k(a) a rises from there without end, and k divides by nothing that may be 0.
    """
    return (1 - LEAST_SLOPE) / (1 + functional.softplus(-a))


def log_slope(product: Tensor, t: Tensor) -> Tensor:
    r"""log(1 + u w tanh'(t)), the log-derivative of a unit, for u w > -1.

    1 - tanh^2 has no digits where tanh is 1 up to rounding, and a large product brings them back: in logarithms,
    :math:`\log \tanh'(t) = 2 (\log 2 - |t| - \log(1 + e^{-2 |t|}))`, every digit stays.
    """
    log_tanh = _log_derivative(t)
    above = product > 0
    positive = torch.where(above, product, 1.0)
    negative = torch.where(above, 0.0, product)
    return torch.where(above, functional.softplus(positive.log() + log_tanh), torch.log1p(negative * log_tanh.exp()))


def _log_derivative(t: Tensor) -> Tensor:
    """log tanh'(t)."""
    far = t.abs()
    return 2 * (math.log(2) - far - functional.softplus(-2 * far))


def unit_inverse(s: Tensor, outer: Tensor, inner: Tensor, shift: Tensor) -> Tensor:
    """The y with y + outer tanh(inner y + shift) = s, differentiable by all four; outer inner > -1.

    The tanh lies within +-1, so y within |outer| of s. The bracket is a little wider: where the tanh is 1 up to rounding the
    root lies at its end, and Newton's step to there must not leave it.
    """
    function = _unit(s, outer, inner, shift)
    middle, reach = s.detach(), outer.detach().abs()
    reach = 1.01 * reach + 4 * torch.finfo(s.dtype).eps * middle.abs()
    y = root_between(function, middle - reach, middle + reach, size=middle.abs() + reach)
    return with_derivatives(y, function)


def _unit(s: Tensor, outer: Tensor, inner: Tensor, shift: Tensor) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
    def function(y: Tensor) -> tuple[Tensor, Tensor]:
        t = inner * y + shift
        return y + outer * torch.tanh(t) - s, 1 + outer * inner * _log_derivative(t).exp()

    return function
