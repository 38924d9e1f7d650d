"""Roots of increasing functions of one number, for inverses without a formula."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Increasing = Callable[[Tensor], tuple[Tensor, Tensor]]
"""Gives g(t) and its derivative g'(t) > 0, elementwise."""

# how many roundings of its terms a g of 0 may be off
_ROUNDINGS = 64


def root_between(
    function: Increasing, low: Tensor, high: Tensor, size: Tensor | None = None, steps: int = 32
) -> Tensor:
    r"""The t between low and high at which an increasing function is 0, elementwise, without gradients.

    The search takes steps of Newton's method within a bracket, which every evaluation narrows. If a step leaves the bracket,
    or is longer than half of the step before the last, a bisection takes its place. The number of steps is fixed, since
    nothing branches on a value.

    If g(t) is not 0 up to rounding at the end, the root is NaN and never a wrong number. That happens if the bracket holds
    no root, a number is not finite, or there were too few steps.

    Source: Press et al., 2007, "Numerical recipes", 3rd edition, section 9.4, `rtsafe`.

    Args:
        function: g and g'.
        low, high: with g(low) <= 0 <= g(high).
        size: the size of the numbers whose difference is g, which determines its rounding; by default 1.
        steps: number of evaluations of g. Of a million brackets of `DeepSigmoid`, `BernsteinPolynomial` and `tanh_unit`,
            with parameters of up to 300, none needed more than 23. With parameters of about 1, 99 % needed at most 8.

    Example:
        >>> import torch
        >>> from anabranch.transforms.root import root_between
        >>> root_between(lambda t: (t.exp() - 2, t.exp()), torch.tensor(0.0), torch.tensor(5.0))
        tensor(0.6931)
    """
    with torch.no_grad():
        eps = torch.finfo(low.dtype).eps
        t = low + (high - low) / 2
        last = before = high - low
        nearest, least, slope_there = t, torch.full_like(t, torch.inf), torch.ones_like(t)
        for k in range(steps):
            g, slope = function(t)
            # at the root all steps are rounding, none is half of another, and bisections lead away from it again
            nearer = g.abs() < least
            pairs = ((t, nearest), (g.abs(), least), (slope, slope_there))
            nearest, least, slope_there = (torch.where(nearer, new, old) for new, old in pairs)
            if k == steps - 1:
                break
            low, high = torch.where(g < 0, t, low), torch.where(g < 0, high, t)
            newton, middle = t - g / slope, low + (high - low) / 2
            trusted = (newton >= low) & (newton <= high) & (2 * (newton - t).abs() <= before)
            t_next = torch.where(trusted, newton, middle)
            before, last = last, (t_next - t).abs()
            t = t_next
        rounding = _ROUNDINGS * eps * (1 + slope_there * nearest.abs() + (0 if size is None else size))
        return torch.where(least <= rounding, nearest, torch.nan)


def with_derivatives(t: Tensor, function: Increasing) -> Tensor:
    """A root found without gradients, after one step of Newton's method, which adds the derivatives."""
    g, slope = function(t)
    return t - g / slope.detach()
