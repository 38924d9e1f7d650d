"""Columns of any real numbers."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Self

import numpy as np
import pyarrow as pa

from anabranch.checks import positive
from anabranch.families import Atoms, Curve, Family, Logistics
from anabranch.families.curve import Tail
from anabranch.families.logistics import FAR
from anabranch.tables.columns.apart import apart, warn_of_apart
from anabranch.tables.columns.column import Float64, Rows
from anabranch.tables.columns.ends import Bounds, Ends, checked, ends_of
from anabranch.tables.columns.reading import read_floats, refuse
from anabranch.tables.columns.shape import applied, atoms_of, bent_standard, standard, standardised, tails_of_line
from anabranch.tables.columns.smooth import Smooth, distinct_codes, float_type, listed, observed
from anabranch.tables.columns.written import read_number

# in standard deviations from the nearest tail: an end further out makes no difference
_FARTHEST_END = 40.0


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
        found = cls._ends_of(near[~np.isnan(near)], single, kind) if ends is None else told(name, ends)
        # what is apart may lie beyond the ends that the others show, but not beyond those that are told
        atoms = atoms if ends is None else [atom for atom in atoms if _inside(atom, found)]
        tails = tails_of_line(standardised(rest, loc, scale), bend, found.low is None, found.high is None)
        low, high = found

        made = partial(cls, name, loc, scale, bend, kind)
        options = {"low": low, "high": high, "low_tail": tails.low, "high_tail": tails.high, "widest": tails.widest}
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
        heavy = ", heavy tails" * any(self.curve.numbers[at] > 0 for at in (2, 4))
        atoms = f", atoms at {listed(self.atoms)}" if self.atoms else ""
        ends = "" if self.low is None else f", from {self.low:.6g}"
        ends += "" if self.high is None else f", to {self.high:.6g}"
        return f"about {self.loc:.6g}, by {self.scale:.4g}{bent}{heavy}{ends}{atoms}"

    def family(self) -> Family:
        low, high = (None if end is None else float(self._line(np.array([end]))[0]) for end in (self.low, self.high))
        low = None if low is None or low < -_FARTHEST_END else low
        high = None if high is None or high > _FARTHEST_END else high
        smooth = Logistics(low=low, high=high, widest=self.widest)
        codes = self.atoms_encoded
        return Atoms(smooth, codes.tolist()) if len(codes) else smooth

    @staticmethod
    def _ends_of(near: Float64, atoms: Sequence[float], kind: str) -> Ends:
        """The ends of values, as their type holds them: an atom at the extreme is a cap, otherwise where the others end."""
        low, high = ends_of(near[~np.isin(near, atoms)]) if bool((~np.isin(near, atoms)).any()) else Ends()
        least, most = float(near.min()), float(near.max())
        low, high = least if least in atoms else low, most if most in atoms else high
        # an atom may lie beyond the edge of the others
        low, high = None if low is None else min(low, least), None if high is None else max(high, most)
        held = {"float": "f4", "halffloat": "f2"}.get(kind, "f8")
        low, high = (None if end is None else float(np.array(end, dtype=held)) for end in (low, high))
        return Ends(low, high) if low is None or high is None or low < high else Ends()

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


def told(name: str, ends: Bounds) -> Ends:
    """The ends that a user states."""
    low, high = (None if end is None else float(read_number(name, end)) for end in ends)
    return checked(name, low, high)


def _inside(value: float, ends: Ends) -> bool:
    return (ends.low is None or ends.low <= value) and (ends.high is None or value <= ends.high)
