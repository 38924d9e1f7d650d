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

# one tail: where it begins, on the straight side, and its bend
Tail = tuple[float, float]


class Curve:
    r"""x = f(u), rising and smooth: straight or bent in the middle, and on either side with a tail of its own,

    .. math:: f(u) = \operatorname{asinh}(b u) / b \quad \text{between the tails}, \qquad
              f(u) = f(a) \pm g(f'(a) |u - a|) \quad \text{beyond where one begins, at } a,

    .. math:: g(y) = \log(1 + c y) / c \;\; (c > 0), \qquad g(y) = y + |c| (\sqrt{y^2 + \tau^2} - \tau) \;\; (c \le 0),

    with tau = 0.3 / (1 + |c|). f' is continuous. An exponential tail of x with scale s is one of u that is generalised
    Pareto with index c s where c > 0, and otherwise soon exponential, with a scale that is 1 + |c| times smaller. b = 0 is a
    straight middle.

    Args:
        bend: b.
        low_tail, high_tail: (a, c) of either side, None for none: the middle goes on.

    Raises:
        ValueError: a negative bend, or tails that overlap.

    Example:
        >>> import torch
        >>> from anabranch.families.curve import Curve
        >>> curve = Curve(high_tail=(1.0, 0.5))
        >>> curve.to(torch.tensor([0.5, 1.0, 3.0]))
        tensor([0.5000, 1.0000, 2.3863])
        >>> curve.back(curve.to(torch.tensor([0.5, 1.0, 3.0])))
        tensor([0.5000, 1.0000, 3.0000])
    """

    def __init__(self, bend: float = 0.0, low_tail: Tail | None = None, high_tail: Tail | None = None) -> None:
        if not (math.isfinite(bend) and bend >= 0):
            raise ValueError(f"bend: expected a number of at least 0, got {bend}")
        low_at, low_bend = (-math.inf, 0.0) if low_tail is None else low_tail
        high_at, high_bend = (math.inf, 0.0) if high_tail is None else high_tail
        if not low_at <= high_at:
            raise ValueError(f"low_tail, high_tail: expected one below the other, got from {low_at:g} and {high_at:g}")
        self.numbers = tuple(map(float, (bend, low_at, low_bend, high_at, high_bend)))

    @property
    def straight(self) -> bool:
        """Whether f(u) = u."""
        return self.numbers == (0.0, -math.inf, 0.0, math.inf, 0.0)

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


def curved(u: Tensor, bend: Tensor, low_at: Tensor, low_bend: Tensor, high_at: Tensor, high_bend: Tensor) -> Tensor:
    """f(u) of curves whose numbers broadcast against u."""
    x = _bent(torch.maximum(torch.minimum(u, high_at), low_at), bend)
    return x + stretch(_beyond(u, high_at, bend), high_bend) - stretch(_beyond(-u, -low_at, bend), low_bend)


def straightened(
    x: Tensor, bend: Tensor, low_at: Tensor, low_bend: Tensor, high_at: Tensor, high_bend: Tensor
) -> Tensor:
    """The inverse of `curved`."""
    low, high = _end(low_at, bend), _end(high_at, bend)
    u = _unbent(torch.maximum(torch.minimum(x, high), low), bend)
    over = shrink(_past(x, high), high_bend) / _slope(high_at, bend)
    under = shrink(_past(-x, -low), low_bend) / _slope(low_at, bend)
    return u + over - under


def log_slope(u: Tensor, bend: Tensor, low_at: Tensor, low_bend: Tensor, high_at: Tensor, high_bend: Tensor) -> Tensor:
    """log f'(u) of curves whose numbers broadcast against u."""
    core = bend * torch.maximum(torch.minimum(u, high_at), low_at)
    # log sqrt(1 + v^2) = log|v| + log(1 + v^-2) / 2 where the square would overflow
    size = core.abs()
    large = size > 1e3
    safe = torch.where(large, size, 1.0)
    middle = torch.where(
        large, safe.log() + 0.5 * torch.log1p(safe.pow(-2)), 0.5 * torch.log1p(torch.where(large, 0.0, size).square())
    )
    tails = [(_beyond(u, high_at, bend), high_bend), (_beyond(-u, -low_at, bend), low_bend)]
    return sum((log_steepness(y, c) for y, c in tails), -middle)


def width_of_cell(
    point: Tensor,
    step: Tensor,
    bend: Tensor,
    low_at: Tensor,
    low_bend: Tensor,
    high_at: Tensor,
    high_bend: Tensor,
) -> Tensor:
    """f(point + step / 2) - f(point - step / 2), to the last digit however small, where no tail begins inside the cell."""
    p, q = bend * (point + 0.5 * step), bend * (point - 0.5 * step)
    # asinh p - asinh q = asinh(p sqrt(1 + q^2) - q sqrt(1 + p^2)), in which, for p and q of one sign, the difference is
    # (p - q)(p + q) / (p sqrt(1 + q^2) + q sqrt(1 + p^2)): no digits are lost, and p - q is known
    same = p * q > 0
    big_p, big_q = (1 + p * p).sqrt(), (1 + q * q).sqrt()
    both = torch.where(same, p * big_q + q * big_p, 1.0)
    arc = torch.where(same, torch.asinh(bend * step * (p + q) / both), torch.asinh(p) - torch.asinh(q))
    flat = bend == 0
    width = torch.where(flat, step, arc / torch.where(flat, 1.0, bend))
    for u, at, c in ((point, high_at, high_bend), (-point, -low_at, low_bend)):
        nearer = _beyond(u - 0.5 * step, at, bend)
        width = torch.where(u > at, _wider(nearer, step * _slope(at, bend), c), width)
    return width


def _wider(y: Tensor, more: Tensor, c: Tensor) -> Tensor:
    """g(y + more) - g(y)."""
    safe = torch.where(c > 0, c, 1.0)
    heavy = torch.log1p(safe * more / (1 + safe * y)) / safe
    b, knee = _knee(c)
    light = more * (1 + b * (2 * y + more) / (_hypot(y, knee) + _hypot(y + more, knee)))
    return torch.where(c > 0, heavy, light)


def stretch(y: Tensor, c: Tensor) -> Tensor:
    """g(y) for y >= 0."""
    safe = torch.where(c > 0, c, 1.0)
    b, knee = _knee(c)
    return torch.where(c > 0, torch.log1p(safe * y) / safe, y + b * (_hypot(y, knee) - knee))


def shrink(z: Tensor, c: Tensor) -> Tensor:
    """The inverse of `stretch`."""
    safe = torch.where(c > 0, c, 1.0)
    heavy = torch.expm1((safe * z).clamp(max=_exponent(z))) / safe
    b, knee = _knee(c)
    # the root of (z - y + b knee)^2 = b^2 (y^2 + knee^2) that loses no digits, divided by z, whose square may overflow
    large = torch.where(z > _TINY, z, 1.0)
    k = knee / large
    light = (z + 2 * b * knee) / (1 + b * k + b * (1 + 2 * b * k + k * k).sqrt())
    return torch.where(c > 0, heavy, torch.where(z > _TINY, light, z))


def log_steepness(y: Tensor, c: Tensor) -> Tensor:
    """log g'(y)."""
    b, knee = _knee(c)
    return torch.where(c > 0, -torch.log1p(c.clamp(min=0) * y), torch.log1p(b * y / _hypot(y, knee)))


def _knee(c: Tensor) -> tuple[Tensor, Tensor]:
    b = (-c).clamp(min=0)
    return b, _KNEE / (1 + b)


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
