"""Where a rising function reaches a value: what inverts distribution functions that have no inverse in closed form."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

# many more than it takes: 10 to 25 for smooth functions, and at worst 3 for each bit of a step
_MOST = 200


def least_at(rising: Callable[[Tensor, Tensor], Tensor], u: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """The least x between low and high at which a rising function is at least u, up to rounding: (n).

    The root is bracketed, by inverse quadratic interpolation where that may be trusted, and by bisection elsewhere. The end
    of the bracket at which the function has reached u is given, so that steps are met from the right side. Elements that
    are done are left out of further calls.
    Source: Chandrupatla, 1997, "A new hybrid quadratic/bisection algorithm for finding the zero of a nonlinear function
    without using derivatives".

    A NaN stays one.

    Args:
        rising: gives f(x) for x (m) of the elements (m) with these numbers.
        u, low, high: (n). It is taken for granted that f(high) >= u.
    """
    result = high.clone()
    u = u.to(low.dtype)
    rows = torch.arange(len(u), device=u.device)
    eps = torch.finfo(u.dtype).eps
    # a step may be narrow beside the bracket: where x is about 0 it is as exact as by 60 bisections
    floor = (high - low) * 2.0**-60
    # a is the newest point, b the end on the other side of the root, c the one before
    a, b = low, high
    f_a, f_b = rising(low, rows) - u, rising(high, rows) - u
    result = torch.where(f_a >= 0, low, torch.where(f_a.isnan() | f_b.isnan(), torch.nan, result))
    c, f_c = b, f_b
    t = torch.full_like(u, 0.5)
    left = f_a < 0
    for _ in range(_MOST):
        tolerance = eps * torch.maximum(a.abs(), b.abs()) + floor
        left = left & ((b - a).abs() > tolerance)
        if not bool(left.all()):
            rows, u, floor, t, tolerance = rows[left], u[left], floor[left], t[left], tolerance[left]
            a, b, c, f_a, f_b, f_c = (part[left] for part in (a, b, c, f_a, f_b, f_c))
            left = left[left]
        if not len(rows):
            break
        # a root that has been met may be the end of a flat part: the smallest step tells
        least = 0.5 * tolerance / (b - a).abs()
        x = a + torch.minimum(torch.maximum(t, least), 1 - least) * (b - a)
        f = rising(x, rows) - u
        same = (f >= 0) == (f_a >= 0)
        c, f_c = torch.where(same, a, b), torch.where(same, f_a, f_b)
        b, f_b = torch.where(same, b, a), torch.where(same, f_b, f_a)
        a, f_a = x, f
        result[rows] = torch.where(f_a >= 0, a, b)
        # Chandrupatla's xi and phi: interpolation is trusted where it rises between the three points
        xi, phi = (a - b) / (c - b), (f_a - f_b) / (f_c - f_b)
        trusted = (phi.square() < xi) & ((1 - phi).square() < 1 - xi)
        inverse = f_a / (f_b - f_a) * f_c / (f_b - f_c) + (c - a) / (b - a) * f_a / (f_c - f_a) * f_b / (f_c - f_b)
        t = torch.where(trusted, inverse, 0.5).nan_to_num(nan=0.5)
    return result


def quantile_of_mixture(below: Callable[..., Tensor], u: Tensor, each: Tensor, components: Sequence[Tensor]) -> Tensor:
    """The least x with P(X <= x) >= u of a mixture, (*batch): it lies between the quantiles of its components.

    Args:
        below: P(X <= x) of x (n) and of the components' numbers, (n, K) each.
        u: (*batch).
        each: the quantiles at u of every component, (*batch, K).
        components: their numbers, which broadcast against `each`.
    """
    low, high = each.amin(dim=-1), each.amax(dim=-1)
    parts = [part.expand(each.shape).reshape(-1, each.shape[-1]) for part in components]

    def rising(x: Tensor, rows: Tensor) -> Tensor:
        return below(x, *(part[rows] for part in parts))

    found = least_at(rising, u.expand(low.shape).reshape(-1), low.reshape(-1), high.reshape(-1))
    return found.reshape(low.shape)
