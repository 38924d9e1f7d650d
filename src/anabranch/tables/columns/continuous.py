"""Columns of any real numbers."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, Self

import numpy as np
import pyarrow as pa

from anabranch.checks import positive
from anabranch.families import Curve, Family
from anabranch.families.curve import Tail
from anabranch.families.logistics import FAR
from anabranch.tables.columns.apart import apart, warn_of_apart
from anabranch.tables.columns.column import Float64, Rows
from anabranch.tables.columns.ends import Bounds, ends_beside, stated, within
from anabranch.tables.columns.reading import read_floats, refuse
from anabranch.tables.columns.shape import applied, atoms_of, bent_standard, standard, standardised, tails_of_line
from anabranch.tables.columns.smooth import Smooth, distinct_codes, float_type, listed, observed
from anabranch.tables.columns.tails import heavy


class Continuous(Smooth):
    r"""z = f((x - loc) / scale) with f a `Curve`: straight, or bent where the values are skewed, with a tail on each side,

    .. math:: \log |dz/dx| = -\log \texttt{scale} + \log f'.

    All of it is done in float64: a column of 1.7e9 with a spread of 1 keeps its digits.

    Args:
        name: of the column.
        loc, scale: in its unit.
        bend: of the curve, 0 for none.
        type: "float", "double" or "halffloat", what `decode` gives back.
        atoms: values that have a probability.
        low, high: the ends, beyond which nothing can be but atoms, None for none.
        low_tail, high_tail: of the curve, None for none.
        widest: the scale that mixtures of z stay below, None for none; see `Logistics`.

    Raises:
        ValueError: a scale that is not positive, a bend below 0, ends in the wrong order, another type.

    Example:
        >>> import pyarrow
        >>> from anabranch.tables.columns import Continuous
        >>> height = Continuous("height", loc=170.0, scale=10.0)
        >>> z = height.encode(pyarrow.array([180.0, None]))
        >>> z
        array([ 1., nan])
        >>> height.decode(z).to_pylist()
        [180.0, None]
    """

    kind = "continuous"

    def __init__(
        self,
        name: str,
        loc: float,
        scale: float,
        bend: float = 0.0,
        type: str = "double",
        atoms: Sequence[float] = (),
        low: float | None = None,
        high: float | None = None,
        low_tail: Tail | None = None,
        high_tail: Tail | None = None,
        widest: float | None = None,
    ) -> None:
        super().__init__(name, type, atoms)
        if not np.isfinite(loc):
            raise ValueError(f"loc: expected a finite number, got {loc}")
        self.loc, self.scale = float(loc), positive("scale", scale)
        self.bend = 0.0 if bend == 0 else positive("bend", bend)
        self.curve = Curve(self.bend, low_tail, high_tail)
        self.low, self.high = (None if end is None else float(end) for end in (low, high))
        least, most = self._ends()
        if not least < most:
            raise ValueError(f"high: expected more than low, {least:g}, got {most:g}")
        self.widest = None if widest is None else positive("widest", widest)

    @classmethod
    def infer(cls, name: str, values: pa.Array, rows: Rows | None = None, ends: Bounds | None = None) -> Self:
        """With the ends that the values show, or these."""
        x = read_floats(name, values)
        seen = x[~np.isnan(x)]
        far = apart(seen)
        warn_of_apart(name, values, x, far)
        near = np.where(np.isin(x, far), np.nan, x)
        mine = observed(near, rows)
        single = atoms_of(mine)
        atoms = sorted({*single, *far.tolist()})
        rest = mine[~np.isin(mine, single)]
        if len(rest) < 2 or bool((rest == rest[0]).all()):
            rest = mine
        loc, scale, bend = bent_standard(name, rest)
        kind = float_type(values)
        low, high = ends_beside(near[~np.isnan(near)], single, kind) if ends is None else stated(name, ends)
        # what is apart may lie beyond the ends that the others show, but not beyond those that are told
        atoms = atoms if ends is None else [atom for atom in atoms if within(atom, low, high)]
        tails = tails_of_line(standardised(rest, loc, scale), bend, low is None, high is None)

        made = partial(cls, name, loc, scale, bend, kind)
        options: dict[str, Any] = {
            "low": low,
            "high": high,
            "low_tail": tails.low,
            "high_tail": tails.high,
            "widest": tails.widest,
        }
        return made(distinct_codes(made(atoms, **options)), **options)

    @classmethod
    def plain(cls, name: str, values: pa.Array, rows: Rows | None = None) -> Self:
        """Standardised and nothing else: neither bent nor with atoms, ends or tails."""
        mine = observed(read_floats(name, values), rows)
        return cls(name, *standard(name, mine), 0.0, float_type(values))

    @property
    def straight(self) -> bool:
        """Whether z is linear in x, atoms included."""
        return self.curve.straight and not bool((np.abs(self.atoms_encoded) >= FAR).any())

    @property
    def description(self) -> str:
        bent = ", bent" if self.bend else ""
        tails = ", heavy tails" * heavy(self.curve, self.widest)
        atoms = f", atoms at {listed(self.atoms)}" if self.atoms else ""
        ends = "" if self.low is None else f", from {self.low:.6g}"
        ends += "" if self.high is None else f", to {self.high:.6g}"
        return f"about {self.loc:.6g}, by {self.scale:.4g}{bent}{tails}{ends}{atoms}"

    def family(self) -> Family:
        return self._mixture(self.low, self.high, self.widest)

    def _ends(self) -> tuple[float, float]:
        return -np.inf if self.low is None else self.low, np.inf if self.high is None else self.high

    def _check(self, x: Float64, values: pa.Array) -> None:
        low, high = self._ends()
        remedy = "correct it, or fit with kinds='continuous ..' for it, which has no ends"
        refuse(self.name, f"nothing below {low:.15g}", values, x < low, remedy)
        refuse(self.name, f"nothing above {high:.15g}", values, x > high, remedy)

    def _line(self, x: Float64) -> Float64:
        t = standardised(x, self.loc, self.scale)
        return t if self.curve.straight else applied(self.curve.to, t)

    def _back(self, z: Float64) -> Float64:
        t = z if self.curve.straight else applied(self.curve.back, z)
        return np.clip(t * self.scale + self.loc, *self._ends())

    def _log_slope(self, z: Float64) -> Float64:
        slope = 0.0 if self.curve.straight else applied(self.curve.log_slope, applied(self.curve.back, z))
        return -np.log(self.scale) + slope + np.zeros_like(z)
