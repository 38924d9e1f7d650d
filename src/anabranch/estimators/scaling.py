"""Columns of any units as a density sees them: standardised, those that never change left out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from anabranch.estimators.encoding import Encoding, Float64
from anabranch.estimators.power import Power
from anabranch.families import Family
from anabranch.queries.impute_any_order import Middle

# quartiles of a normal are so far apart, in deviations
_QUARTILES = 1.349
# as good as none, in deviations: a column that mostly has one value
_NARROW = 1e-9


class Scaling(Encoding):
    r"""z_i = g_i((x_i - loc_i) / scale_i) for the columns that change, with g_i the identity or a power transform.

    A column of one value has no density: it is left out, and comes back as that value.

    Args:
        loc: (columns), what is taken off.
        scale: (columns), what is divided by; 0 for a column that is left out.
        power: the power transforms of the columns that are not; None for none.

    Example:
        >>> import numpy as np
        >>> from anabranch.estimators.scaling import Scaling
        >>> scaling = Scaling.of(np.array([[1.0, 5.0], [3.0, 5.0]]))
        >>> scaling.encode(np.array([[1.0, 5.0]]))
        array([[-1.]])
        >>> scaling.decode(np.array([[1.0]]))
        array([[3., 5.]])
    """

    def __init__(self, loc: Sequence[float], scale: Sequence[float], power: Power | None = None) -> None:
        super().__init__()
        self.loc = np.asarray(loc, dtype=np.float64)
        self.scale = np.asarray(scale, dtype=np.float64)
        self.kept = np.flatnonzero(self.scale > 0)
        self.power = power

    @classmethod
    def of(cls, x: Float64, weights: Float64 | None = None, power: bool = False) -> Self:
        """The scaling that gives rows (rows, columns; NaN for gaps) mean 0 and deviation 1 in every column that changes.

        Args:
            x: the rows, some value in every column.
            weights: (rows), above 0.
            power: whether to add power transforms, no stronger than logarithms. Median and quartiles then stand for mean
                and deviation before them, so that a few values far out are not what sets the unit.

        Raises:
            ValueError: no column changes.
        """
        w = np.ones(len(x)) if weights is None else weights
        seen = ~np.isnan(x)
        low, high = np.nanmin(x, axis=0), np.nanmax(x, axis=0)
        # in units of the largest value of a column: no sum or square overflows
        unit = np.maximum(np.maximum(np.abs(low), np.abs(high)), np.finfo(np.float64).tiny)
        total = w @ seen
        scaled = np.where(seen, x, 0.0) / unit
        mean = (w @ scaled) / total
        spread = np.sqrt((w @ np.where(seen, scaled - mean, 0.0) ** 2) / total)
        changes = (high / unit - low / unit > 8 * np.finfo(np.float64).eps) & (spread > 0)
        if not changes.any():
            raise ValueError(f"X: expected a column that changes, got one and the same row in all {len(x)} samples")
        loc = np.where(changes, mean * unit, low)
        scale = np.where(changes, spread * unit, 0.0)
        if not power:
            return cls(loc.tolist(), scale.tolist())
        for j in np.flatnonzero(changes):
            middle, width = _quartiles(scaled[seen[:, j], j], w[seen[:, j]])
            loc[j] = middle * unit[j]
            if width > _NARROW * spread[j]:
                scale[j] = width * unit[j]
        found = cls(loc.tolist(), scale.tolist())
        return cls(loc.tolist(), scale.tolist(), Power.of(found.encode(x), w, lowest=0.0, highest=2.0))

    def read(self, rows: Any) -> Float64:
        """rows, which are numbers already (`Estimator` checks them as scikit-learn does)."""
        return np.asarray(rows, dtype=np.float64)

    def write(self, x: Float64, like: Any = None, gaps: NDArray[np.bool_] | None = None) -> Float64:
        """x: rows are numbers, and a frame's names are for `set_output` to give."""
        return x

    def encode(self, x: Float64) -> Float64:
        """z (rows, columns that change) of x (rows, columns)."""
        loc, scale = self.loc[self.kept], self.scale[self.kept]
        # halved before the difference, which could overflow; what does so yet, of a narrow column, is as far as can be
        with np.errstate(over="ignore"):
            z = (x[:, self.kept] / 2 - loc / 2) / scale * 2
        return z if self.power is None else self.power.forward(z)

    def log_det(self, z: Float64) -> Float64:
        """log |dz/dx| of the division alone, (rows), over the columns that a row has: not of the power."""
        return np.asarray(-np.where(np.isnan(z), 0.0, np.log(self.scale[self.kept])).sum(axis=1))

    def decode(self, z: Float64) -> Float64:
        """x (rows, columns) of z (rows, columns that change)."""
        x = np.tile(self.loc, (len(z), 1))
        inner = z if self.power is None else self.power.inverse(z)
        x[:, self.kept] = self.loc[self.kept] + inner * self.scale[self.kept]
        return x

    def off_constant(self, x: Float64) -> NDArray[np.bool_]:
        """Which rows (rows) have another value in a column that never changed; a gap is none."""
        left_out = self.scale == 0
        other = ~np.isclose(x[:, left_out], self.loc[left_out], rtol=1e-12, atol=0.0) & ~np.isnan(x[:, left_out])
        return other.any(axis=1)

    def unit(self, names: Sequence[str]) -> str:
        """A density in the columns that change."""
        return f"nats per row; density in {', '.join(names[int(i)] for i in self.kept)}"

    def families(self) -> list[Family] | None:
        """None: real numbers of about mean 0 and deviation 1."""
        return None

    def middles(self, strategy: str) -> list[Middle | None] | None:
        """Those of z, which a division does not move."""
        del strategy
        return None


def _quartiles(values: Float64, weights: Float64) -> tuple[float, float]:
    """The median, and the deviation of a normal with these quartiles."""
    order = np.argsort(values)
    total = np.cumsum(weights[order])
    places = np.searchsorted(total, np.array([0.25, 0.5, 0.75]) * total[-1] * (1 - 1e-12))
    low, middle, high = values[order[places]]
    return float(middle), float((high - low) / _QUARTILES)
