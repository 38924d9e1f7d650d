"""Power transforms that make columns with long tails about normal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import numpy as np
from numpy.typing import NDArray

from anabranch.described import Described

Float64 = NDArray[np.float64]

# beyond these a power turns two thirds of a column into one number
_LOWEST, _HIGHEST = -3.0, 5.0
_STEPS = 60


class Power(Described):
    r"""The power transform of Yeo and Johnson, column by column, then standardised:

    .. math:: y = \frac{(x + 1)^\lambda - 1}{\lambda} \ (x \ge 0), \qquad
              y = -\frac{(1 - x)^{2 - \lambda} - 1}{2 - \lambda} \ (x < 0),

    with logarithms at lambda 0 and 2. Increasing, from all numbers to an interval that may end.
    Source: Yeo and Johnson, 2000, "A new family of power transformations".

    Args:
        powers: lambda, (columns).
        loc, scale: (columns), of y: z = (y - loc) / scale.

    Example:
        >>> import numpy as np
        >>> from anabranch.estimators.power import Power
        >>> x = np.exp(np.random.default_rng(0).normal(size=(500, 1)))
        >>> power = Power.of(x, np.ones(500))
        >>> bool(abs((power.forward(x) ** 3).mean()) < 0.5), bool((x**3).mean() > 1)
        (True, True)
    """

    def __init__(self, powers: Sequence[float], loc: Sequence[float], scale: Sequence[float]) -> None:
        super().__init__()
        self.powers = np.asarray(powers, dtype=np.float64)
        self.loc = np.asarray(loc, dtype=np.float64)
        self.scale = np.asarray(scale, dtype=np.float64)

    @classmethod
    def of(cls, x: Float64, weights: Float64, lowest: float = _LOWEST, highest: float = _HIGHEST) -> Self:
        """The powers of largest likelihood, as if each column were normal after it; NaN is left out.

        Args:
            x: (rows, columns).
            weights: (rows).
            lowest, highest: between which powers are sought; from 0 to 2 no tail is pulled in more than by a logarithm.
        """
        powers, loc, scale = [], [], []
        for column in x.T:
            seen = ~np.isnan(column)
            power, mean, spread = _best(column[seen], weights[seen], lowest, highest)
            powers.append(power)
            loc.append(mean)
            scale.append(spread)
        return cls(powers, loc, scale)

    def forward(self, x: Float64) -> Float64:
        """z (rows, columns)."""
        return (_raised(x, self.powers) - self.loc) / self.scale

    def inverse(self, z: Float64) -> Float64:
        """x (rows, columns); beyond the end of the interval, its end."""
        y = z * self.scale + self.loc
        p, q = self.powers, 2 - self.powers
        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
            above = np.where(
                np.abs(p) < 1e-9,
                np.expm1(y),
                np.expm1(np.log1p(np.maximum(y * p, -1 + 1e-15)) / np.where(p == 0, 1, p)),
            )
            below = np.where(
                np.abs(q) < 1e-9,
                -np.expm1(-y),
                -np.expm1(np.log1p(np.maximum(-y * q, -1 + 1e-15)) / np.where(q == 0, 1, q)),
            )
        return np.where(y >= 0, above, below)


def _raised(x: Float64, powers: Float64) -> Float64:
    p, q = powers, 2 - powers
    grown = np.log1p(np.abs(x))
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        above = np.where(np.abs(p) < 1e-9, grown, np.expm1(p * grown) / np.where(p == 0, 1, p))
        below = np.where(np.abs(q) < 1e-9, grown, np.expm1(q * grown) / np.where(q == 0, 1, q))
    return np.where(x >= 0, above, -below)


def _best(x: Float64, weights: Float64, low: float, high: float) -> tuple[float, float, float]:
    """The power of a column, and mean and deviation after it, by golden-section search of the profile likelihood."""
    w = weights / weights.sum()
    slope = w @ (np.sign(x) * np.log1p(np.abs(x)))

    def moments(power: float) -> tuple[float, float]:
        y = _raised(x, np.array(power))
        mean = float(w @ y)
        return mean, float(np.sqrt(w @ (y - mean) ** 2))

    def likelihood(power: float) -> float:
        spread = moments(power)[1]
        return float((power - 1) * slope - np.log(max(spread, 1e-300)))

    golden = (np.sqrt(5) - 1) / 2
    a, b = high - golden * (high - low), low + golden * (high - low)
    of_a, of_b = likelihood(a), likelihood(b)
    for _ in range(_STEPS):
        if of_a >= of_b:
            high, b, of_b = b, a, of_a
            a = high - golden * (high - low)
            of_a = likelihood(a)
        else:
            low, a, of_a = a, b, of_b
            b = low + golden * (high - low)
            of_b = likelihood(b)
    power = (low + high) / 2
    mean, spread = moments(power)
    if not (np.isfinite(mean) and spread > 1e-12):  # as it is, which is standardised already
        return 1.0, float(w @ x), float(np.sqrt(w @ (x - w @ x) ** 2))
    return power, mean, spread
