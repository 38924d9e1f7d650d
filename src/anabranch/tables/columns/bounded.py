"""Columns of numbers between two bounds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import numpy as np
import pyarrow as pa

from anabranch.checks import positive
from anabranch.tables.columns.column import Float64, Rows
from anabranch.tables.columns.ends import Bounds, stated
from anabranch.tables.columns.reading import read_floats, refuse
from anabranch.tables.columns.shape import atoms_of, standard
from anabranch.tables.columns.smooth import Smooth, distinct_codes, float_type, listed, observed

# beyond the logit of any float64 inside the bounds: where atoms at these are put
_LOGIT_OF_BOUND = 1500.0


class Bounded(Smooth):
    r"""z = (logit((x - low) / (high - low)) - loc) / scale for low < x < high; the bounds themselves may be atoms.

    With s = (x - low) / (high - low) it is log |dz/dx| = -log scale - log(high - low) - log s - log(1 - s).

    Args:
        name: of the column.
        low, high: the bounds.
        loc, scale: of the logit.
        type: "float", "double" or "halffloat", what `decode` gives back.
        atoms: values that have a probability, none outside the bounds.

    Raises:
        ValueError: bounds in the wrong order, a scale that is not positive, an atom outside, another type.

    Example:
        >>> import pyarrow
        >>> from anabranch.tables.columns import Bounded
        >>> share = Bounded("share", 0.0, 1.0, atoms=[1.0])
        >>> share.decode(share.encode(pyarrow.array([0.25, 1.0]))).to_pylist()
        [0.25, 1.0]
    """

    kind = "bounded"

    def __init__(
        self,
        name: str,
        low: float,
        high: float,
        loc: float = 0.0,
        scale: float = 1.0,
        type: str = "double",
        atoms: Sequence[float] = (),
    ) -> None:
        super().__init__(name, type, atoms)
        self.low, self.high = float(low), float(high)
        if not (np.isfinite([low, high, high - low, loc]).all() and self.low < self.high):
            raise ValueError(f"low, high: expected finite numbers, low below high, got {low} and {high}, loc {loc}")
        if any(not self.low <= atom <= self.high for atom in self.atoms):
            raise ValueError(f"atoms: expected numbers from {low:g} to {high:g}, got {self.atoms}")
        self.loc, self.scale = float(loc), positive("scale", scale)

    @classmethod
    def infer(cls, name: str, values: pa.Array, rows: Rows | None = None, ends: Bounds | None = None) -> Self:
        """Between these; or between 0 and 1 if the values lie there, or 0 and 100, or else the least and the largest."""
        x = read_floats(name, values)
        least, most = float(np.nanmin(x)), float(np.nanmax(x))
        low, high = least, most
        for bound in (1.0, 100.0):
            if least >= 0 and most <= bound:
                low, high = 0.0, bound
                break
        if ends is not None:
            below, above = stated(name, ends)
            low, high = low if below is None else below, high if above is None else above
            refuse(
                name,
                f"numbers from {low:g} to {high:g}",
                values,
                (x < low) | (x > high),
                "correct it, or widen the ends",
            )
        mine = observed(x, rows)
        held = [end for end in (low, high) if bool((x == end).any())]
        atoms = sorted({*held, *atoms_of(mine)})
        rest = mine[~np.isin(mine, atoms)]
        rest = rest if len(rest) > 1 else np.linspace(low, high, 12)[1:-1]
        loc, scale = standard(name, np.log((rest - low) / (high - rest)))
        kind = float_type(values)
        return cls(name, low, high, loc, scale, kind, distinct_codes(cls(name, low, high, loc, scale, kind, atoms)))

    @property
    def description(self) -> str:
        atoms = f", atoms at {listed(self.atoms)}" if self.atoms else ""
        return f"between {self.low:.6g} and {self.high:.6g}{atoms}"

    def _ends(self) -> tuple[float, float]:
        return self.low, self.high

    def _check(self, x: Float64, values: pa.Array) -> None:
        outside = (x <= self.low) | (x >= self.high)
        wanted = f"numbers between {self.low:g} and {self.high:g}"
        refuse(self.name, wanted, values, outside, "correct it, or fit with kinds='continuous' for it")

    def _line(self, x: Float64) -> Float64:
        logit = np.log((x - self.low) / (self.high - x))
        return (np.clip(logit, -_LOGIT_OF_BOUND, _LOGIT_OF_BOUND) - self.loc) / self.scale

    def _back(self, z: Float64) -> Float64:
        t = z * self.scale + self.loc
        away = (self.high - self.low) / (1 + np.exp(np.abs(t)))  # from the nearer bound
        return np.where(t < 0, self.low + away, self.high - away)

    def _log_slope(self, z: Float64) -> Float64:
        t = np.abs(z * self.scale + self.loc)
        # -log s - log(1 - s) = |t| + 2 log(1 + e^{-|t|})
        return -np.log(self.scale) - np.log(self.high - self.low) + t + 2 * np.log1p(np.exp(-t))
