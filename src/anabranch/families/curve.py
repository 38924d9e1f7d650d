"""How a number line is bent, so that tails of any weight become exponential ones."""

from __future__ import annotations

import math

import torch
from torch import Tensor

# no column's numbers lie beyond e^40 of its units, and in float32 the square of e^45 overflows
_FARTHEST_EXPONENT, _FARTHEST_EXPONENT_64 = 40.0, 300.0

# how soon a light tail is straight
_KNEE = 0.3
# distances below which the two are the same to the last digit
_TINY = 1e-12

# one tail: where it begins, and its c and d
Tail = tuple[float, float, float]


class Curve:
    r"""x = f(u), rising and smooth: straight or bent in the middle, and on either side with a tail of its own,

    .. math:: f(u) = \operatorname{asinh}(b u) / b \quad \text{between the tails}, \qquad
              f(u) = f(a) \pm g(f'(a) |u - a|) \quad \text{beyond where one begins, at } a,

    .. math:: g(y) = \log(1 + c w) / c, \qquad w = y + d (\sqrt{y^2 + \tau^2} - \tau), \qquad \tau = 0.3 / (1 + d).

    f' is continuous. w is soon 1 + d times as steep as y. So an exponential tail of x with scale s is one of u that is
    generalised Pareto with index c s and a scale 1 + d times smaller; exponential for c = 0, where g(y) = w. b = 0 is a
    straight middle.

    Args:
        bend: b.
        low_tail, high_tail: (a, c, d) of either side, None for none: the middle goes on.

    Raises:
        ValueError: a negative bend, c or d, or tails that overlap.

    Example:
        >>> import torch
        >>> from anabranch.families.curve import Curve
        >>> curve = Curve(high_tail=(1.0, 0.5, 0.0))
        >>> curve.to(torch.tensor([0.5, 1.0, 3.0]))
        tensor([0.5000, 1.0000, 2.3863])
        >>> curve.back(curve.to(torch.tensor([0.5, 1.0, 3.0])))
        tensor([0.5000, 1.0000, 3.0000])
    """

    def __init__(self, bend: float = 0.0, low_tail: Tail | None = None, high_tail: Tail | None = None) -> None:
        if not (math.isfinite(bend) and bend >= 0):
            raise ValueError(f"bend: expected a number of at least 0, got {bend}")
        low_at, *low = (-math.inf, 0.0, 0.0) if low_tail is None else low_tail
        high_at, *high = (math.inf, 0.0, 0.0) if high_tail is None else high_tail
        if min(*low, *high) < 0:
            raise ValueError(f"low_tail, high_tail: expected c and d of at least 0, got {low} and {high}")
        if not low_at <= high_at:
            raise ValueError(f"low_tail, high_tail: expected one below the other, got from {low_at:g} and {high_at:g}")
        self.numbers = tuple(map(float, (bend, low_at, *low, high_at, *high)))

    @property
    def straight(self) -> bool:
        """Whether f(u) = u."""
        return self.numbers == (0.0, -math.inf, 0.0, 0.0, math.inf, 0.0, 0.0)

    def to(self, u: Tensor) -> Tensor:
        """x = f(u), of any shape."""
        return curved(u, *self._tensors(u))

    def back(self, x: Tensor) -> Tensor:
        """u with f(u) = x."""
        return straightened(x, *self._tensors(x))

    def log_slope(self, u: Tensor) -> Tensor:
        """log f'(u)."""
        return log_slope(u, *self._tensors(u))

    def _tensors(self, like: Tensor) -> tuple[Tensor, ...]:
        return torch.tensor(self.numbers, dtype=like.dtype, device=like.device).unbind()


def curved(u: Tensor, bend: Tensor, *tails: Tensor) -> Tensor:
    """f(u) of curves whose numbers broadcast against u: b, and a, c and d of the lower and of the upper tail."""
    low_at, low_c, low_d, high_at, high_c, high_d = tails
    x = _bent(torch.maximum(torch.minimum(u, high_at), low_at), bend)
    over, under = _beyond(u, high_at, bend), _beyond(-u, -low_at, bend)
    return x + stretch(over, high_c, high_d) - stretch(under, low_c, low_d)


def straightened(x: Tensor, bend: Tensor, *tails: Tensor) -> Tensor:
    """The inverse of `curved`."""
    low_at, low_c, low_d, high_at, high_c, high_d = tails
    low, high = _end(low_at, bend), _end(high_at, bend)
    u = _unbent(torch.maximum(torch.minimum(x, high), low), bend)
    over = shrink(_past(x, high), high_c, high_d) / _slope(high_at, bend)
    under = shrink(_past(-x, -low), low_c, low_d) / _slope(low_at, bend)
    return u + over - under


def log_slope(u: Tensor, bend: Tensor, *tails: Tensor) -> Tensor:
    """log f'(u) of curves whose numbers broadcast against u."""
    low_at, low_c, low_d, high_at, high_c, high_d = tails
    core = bend * torch.maximum(torch.minimum(u, high_at), low_at)
    # log sqrt(1 + v^2) = log|v| + log(1 + v^-2) / 2 where the square would overflow
    size = core.abs()
    large = size > 1e3
    safe = torch.where(large, size, 1.0)
    middle = torch.where(
        large, safe.log() + 0.5 * torch.log1p(safe.pow(-2)), 0.5 * torch.log1p(torch.where(large, 0.0, size).square())
    )
    over = log_steepness(_beyond(u, high_at, bend), high_c, high_d)
    under = log_steepness(_beyond(-u, -low_at, bend), low_c, low_d)
    return over + under - middle


def width_of_cell(point: Tensor, step: Tensor, bend: Tensor, *tails: Tensor) -> Tensor:
    """f(point + step / 2) - f(point - step / 2), to the last digit however small, where no tail begins inside the cell."""
    low_at, low_c, low_d, high_at, high_c, high_d = tails
    p, q = bend * (point + 0.5 * step), bend * (point - 0.5 * step)
    # asinh p - asinh q = asinh(p sqrt(1 + q^2) - q sqrt(1 + p^2)), in which, for p and q of one sign, the difference is
    # (p - q)(p + q) / (p sqrt(1 + q^2) + q sqrt(1 + p^2)): no digits are lost, and p - q is known
    same = p * q > 0
    big_p, big_q = (1 + p * p).sqrt(), (1 + q * q).sqrt()
    both = torch.where(same, p * big_q + q * big_p, 1.0)
    arc = torch.where(same, torch.asinh(bend * step * (p + q) / both), torch.asinh(p) - torch.asinh(q))
    flat = bend == 0
    width = torch.where(flat, step, arc / torch.where(flat, 1.0, bend))
    for u, at, c, d in ((point, high_at, high_c, high_d), (-point, -low_at, low_c, low_d)):
        nearer = _beyond(u - 0.5 * step, at, bend)
        width = torch.where(u > at, _wider(nearer, step * _slope(at, bend), c, d), width)
    return width


def _wider(y: Tensor, more: Tensor, c: Tensor, d: Tensor) -> Tensor:
    """g(y + more) - g(y)."""
    knee = _KNEE / (1 + d)
    steep = more * (1 + d * (2 * y + more) / (_hypot(y, knee) + _hypot(y + more, knee)))
    safe = torch.where(c > 0, c, 1.0)
    heavy = torch.log1p(safe * steep / (1 + safe * _steep(y, d))) / safe
    return torch.where(c > 0, heavy, steep)


def stretch(y: Tensor, c: Tensor, d: Tensor) -> Tensor:
    """g(y) for y >= 0."""
    w = _steep(y, d)
    safe = torch.where(c > 0, c, 1.0)
    return torch.where(c > 0, torch.log1p(safe * w) / safe, w)


def shrink(z: Tensor, c: Tensor, d: Tensor) -> Tensor:
    """The inverse of `stretch`."""
    safe = torch.where(c > 0, c, 1.0)
    w = torch.where(c > 0, torch.expm1((safe * z).clamp(max=_exponent(z))) / safe, z)
    # the root of (w - y + d knee)^2 = d^2 (y^2 + knee^2) that loses no digits, divided by w, whose square may overflow
    knee = _KNEE / (1 + d)
    large = torch.where(w > _TINY, w, 1.0)
    k = knee / large
    root = (w + 2 * d * knee) / (1 + d * k + d * (1 + 2 * d * k + k * k).sqrt())
    return torch.where((w > _TINY) & (d > 0), root, w)


def log_steepness(y: Tensor, c: Tensor, d: Tensor) -> Tensor:
    """log g'(y)."""
    return torch.log1p(d * y / _hypot(y, _KNEE / (1 + d))) - torch.log1p(c * _steep(y, d))


def _steep(y: Tensor, d: Tensor) -> Tensor:
    """w of y."""
    knee = _KNEE / (1 + d)
    return torch.where(d > 0, y + d * (_hypot(y, knee) - knee), y)


def _hypot(y: Tensor, knee: Tensor) -> Tensor:
    """sqrt(y^2 + knee^2), without the squares where they overflow."""
    large = y > 1e6
    safe = torch.where(large, 1.0, y)
    return torch.where(large, y, (safe * safe + knee * knee).sqrt())


def _beyond(u: Tensor, at: Tensor, bend: Tensor) -> Tensor:
    """f'(a) (u - a) where u is beyond a, 0 elsewhere; a may be infinite."""
    none = at.isinf()
    over = (u - torch.where(none, 0.0, at)).clamp(min=0)
    return torch.where(none, 0.0, over * _slope(at, bend))


def _past(x: Tensor, end: Tensor) -> Tensor:
    none = end.isinf()
    return torch.where(none, 0.0, (x - torch.where(none, 0.0, end)).clamp(min=0))


def _end(at: Tensor, bend: Tensor) -> Tensor:
    """f(a), infinite where a is."""
    none = at.isinf()
    return torch.where(none, at, _bent(torch.where(none, 0.0, at), bend))


def _slope(at: Tensor, bend: Tensor) -> Tensor:
    """f'(a); 1 where there is no tail."""
    v = bend * torch.where(at.isinf(), 0.0, at)
    return 1 / (1 + v * v).sqrt()


def _bent(u: Tensor, bend: Tensor) -> Tensor:
    flat = bend == 0
    safe = torch.where(flat, 1.0, bend)
    return torch.where(flat, u, torch.asinh(safe * u) / safe)


def _unbent(x: Tensor, bend: Tensor) -> Tensor:
    flat = bend == 0
    safe = torch.where(flat, 1.0, bend)
    most = _exponent(x)
    return torch.where(flat, x, torch.sinh((safe * x).clamp(-most, most)) / safe)


def _exponent(like: Tensor) -> float:
    return _FARTHEST_EXPONENT_64 if like.dtype == torch.float64 else _FARTHEST_EXPONENT
