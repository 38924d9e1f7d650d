"""Rows set apart from a fit: those with wild values, which it would otherwise be decided by."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from anabranch.described import Described
from anabranch.estimators.distinct import Distinct
from anabranch.tables import TableWarning
from anabranch.tables.wild import Usual, warning_of

Float64 = NDArray[np.float64]


class Apart(Described):
    r"""Rows with wild values (`tables.wild.Usual`) are not fitted; behind f, the density of the others, stands a broad one:

    .. math:: p(z) = (1 - s)\, f(z) + s \prod_j \frac{1}{\pi (1 + z_j^2)},

    s the share of such rows, the product over the columns that a row has. So a wild row has a log p that is low and finite,
    and one of an ordinary row is lowered by -log(1 - s). Without wild values s is 0 and p is f.

    Args:
        low, high: (columns), beyond which a value is wild; infinite in columns where none was.
        least, most: (columns), the ends of the values that are not; likewise.
        share: s.

    Example:
        >>> import numpy as np
        >>> from anabranch.estimators.apart import Apart
        >>> apart = Apart([-np.inf, -50.0], [np.inf, 50.0], [-np.inf, -4.0], [np.inf, 4.0], share=0.01)
        >>> apart.ordinary(np.array([[1e9, 2.0], [0.0, 999.0]]))
        array([ True, False])
        >>> apart.clipped(np.array([[0.0, 999.0]]))
        array([[0., 4.]])
    """

    def __init__(
        self,
        low: Sequence[float] | Float64,
        high: Sequence[float] | Float64,
        least: Sequence[float] | Float64,
        most: Sequence[float] | Float64,
        share: float,
    ) -> None:
        super().__init__()
        self.low = np.asarray(low, dtype=np.float64)
        self.high = np.asarray(high, dtype=np.float64)
        self.least = np.asarray(least, dtype=np.float64)
        self.most = np.asarray(most, dtype=np.float64)
        self.share = float(share)

    @classmethod
    def of(cls, rows: Distinct, names: Sequence[str]) -> Self:
        """What is wild among the rows of a fit, whose columns have these names.

        Warns:
            TableWarning: if some value is, once: column, row and value.
        """
        usual = Usual.of(rows.x, rows.weights)
        wild = usual.wild(rows.x)
        if not wild.any():
            return cls.none(rows.x.shape[1])
        found, first = np.unique(rows.inverse, return_index=True)
        numbers = first[len(found) - len(rows) :].astype(np.int64)
        text = warning_of(names, rows.x, wild, numbers, "they are set apart from the fit")
        warnings.warn(f"X: {text}", TableWarning, stacklevel=4)
        share = float(rows.weights[wild.any(axis=1)].sum() / rows.weights.sum())
        some, seen = np.isfinite(usual.low), np.where(wild, np.nan, rows.x)
        least = np.where(some, np.nanmin(seen, axis=0), -np.inf)
        most = np.where(some, np.nanmax(seen, axis=0), np.inf)
        return cls(usual.low, usual.high, least, most, share)

    @classmethod
    def none(cls, columns: int) -> Self:
        """No value of so many columns is wild."""
        low, high = np.full(columns, -np.inf), np.full(columns, np.inf)
        return cls(low, high, low, high, 0.0)

    def wild(self, x: Float64) -> NDArray[np.bool_]:
        """Which values (rows, columns) are."""
        return Usual(self.low, self.high).wild(x)

    def ordinary(self, x: Float64) -> NDArray[np.bool_]:
        """Which rows (rows) have no wild value."""
        return np.asarray(~self.wild(x).any(axis=1))

    def without(self, rows: Distinct, keep: NDArray[np.bool_] | None = None) -> Distinct:
        """The ordinary ones of different rows, and those to keep (rows) nevertheless, at the ends of what is usual."""
        some = self.ordinary(rows.x) if keep is None else self.ordinary(rows.x) | keep
        return rows.take(some, self.clipped(rows.x))

    def as_gaps(self, x: Float64) -> Float64:
        """x (rows, columns) with gaps for wild values, of which nothing is to be concluded."""
        return np.where(self.wild(x), np.nan, x)

    def clipped(self, x: Float64) -> Float64:
        """x (rows, columns) with the nearest value that is not wild for wild ones."""
        return np.where(self.wild(x), np.clip(x, self.least, self.most), x)

    def with_gaps(self, rows: Distinct) -> Distinct:
        """Different rows with gaps for their wild values: what else they have is fitted."""
        return replace(rows, x=self.as_gaps(rows.x))

    def log_prob(self, log_f: Float64, z: Float64) -> Float64:
        """log p (rows), nats, of rows z (rows, columns; NaN for gaps), by log f (rows)."""
        if self.share == 0:
            return log_f
        return np.logaddexp(np.log1p(-self.share) + log_f, np.log(self.share) + broad(z).sum(axis=1))


def broad(z: Float64) -> Float64:
    """log of Cauchy's density at each of z (rows, columns), nats; 0 for a gap."""
    size = np.abs(np.where(np.isnan(z), 0.0, z))
    # the square of a large number overflows, and is all there is
    far = 2 * np.log(np.maximum(size, 1e8))
    return np.where(np.isnan(z), 0.0, -np.log(np.pi) - np.where(size > 1e8, far, np.log1p(np.minimum(size, 1e8) ** 2)))
