"""Columns of numbers on a lattice: what whole numbers, rounded ones and times have in common."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from anabranch.checks import positive, positive_int
from anabranch.families import Atoms, Family, Lattice
from anabranch.families.curve import Tail
from anabranch.families.logistics import FAR
from anabranch.tables.columns.column import Column, Float64
from anabranch.tables.columns.ends import Bounds, Ends, checked
from anabranch.tables.columns.lattice_shape import Int64, difference
from anabranch.tables.columns.reading import refuse
from anabranch.tables.columns.shape import applied, standardised
from anabranch.tables.columns.smooth import FARTHEST_END, codes_of
from anabranch.tables.columns.tails import heavy
from anabranch.tables.columns.written import read_number

# how far beyond a point a cut between two points lies, in steps
_BEYOND = 0.25


class Stepped(Column):
    r"""Whole numbers n, every `step`-th from an origin: with m = (n - origin) / step,

    .. math:: z = f((m - \texttt{loc}) / \texttt{scale}), \qquad \text{with the curve f of `Continuous`,}

    and a probability for each. The difference is taken in whole numbers, so that beyond 2^53 nothing is lost. Subclasses say
    what n is of a value, `_wholes`, and the reverse, `_values`.

    Args:
        name: of the column.
        type: the Arrow type that `decode` gives back.
        origin: some n, near the data.
        loc, scale: of m.
        bend: as in `Continuous`.
        step: between neighbours.
        low, high: the least and largest n there can be, None for what the type holds.
        atoms: n that have a probability of their own, beside what the lattice gives them.
        low_tail, high_tail, widest: as in `Continuous`.
    """

    discrete = True

    def __init__(
        self,
        name: str,
        type: str,
        origin: int,
        loc: float,
        scale: float,
        bend: float,
        step: int,
        low: int | None,
        high: int | None,
        atoms: Sequence[int],
        low_tail: Tail | None,
        high_tail: Tail | None,
        widest: float | None,
    ) -> None:
        super().__init__(name, type)
        self.origin, self.step = int(origin), positive_int("step", step)
        self.loc, self.scale = float(loc), positive("scale", scale)
        self.bend = 0.0 if bend == 0 else positive("bend", bend)
        self.low, self.high = (None if end is None else int(end) for end in (low, high))
        if self.low is not None and self.high is not None and self.low > self.high:
            raise ValueError(f"high: expected at least low, {self.low}, got {self.high}")
        self.atoms = tuple(int(atom) for atom in atoms)
        if len(set(self.atoms)) < len(self.atoms):
            raise ValueError(f"atoms: expected whole numbers, different from each other, got {self.atoms}")
        self._tails = (low_tail, high_tail)
        self.widest = None if widest is None else positive("widest", widest)
        # where the lattice has its tails begin: between two points
        self.curve = self._lattice(None, None).curve

    @property
    def atoms_encoded(self) -> Float64:
        steps = np.array([(atom - self.origin) / self.step for atom in self.atoms])
        return codes_of(self._line(steps))

    @property
    def straight(self) -> bool:
        """Whether z is linear in n, atoms included."""
        return self.curve.straight and not bool((np.abs(self.atoms_encoded) >= FAR).any())

    def encode(self, values: pa.Array) -> Float64:
        n, gaps = self._wholes(values)
        self._check(n, gaps, values)
        m = self._steps(n)
        z = self._line(m.astype(np.float64))
        for atom, code in zip(self.atoms, self.atoms_encoded, strict=True):
            at = m == (atom - self.origin) // self.step
            z[~at & (z == code)] = np.nextafter(code, np.inf)
            z[at] = code
        z[gaps] = np.nan
        return z

    def decode(self, z: Float64) -> pa.Array:
        z = np.asarray(z, dtype=np.float64)
        gaps = np.isnan(z)
        u = np.where(gaps, self.loc, z)
        with np.errstate(over="ignore"):
            u = u if self.curve.straight else applied(self.curve.back, u)
            m = np.round(self.loc + self.scale * u)
        least, most = self._ends()
        m = np.clip(m, (least - self.origin) // self.step, (most - self.origin) // self.step)
        # in whole numbers from here on; a float64 at the very end of int64 would round beyond it
        steps = np.clip(m, -(2.0**62), 2.0**62).astype(np.int64)
        n = _shifted(steps * np.int64(self.step), self.origin, self._unsigned)
        for atom, code in zip(self.atoms, self.atoms_encoded, strict=True):
            n[z == code] = atom
        return self._values(n, gaps)

    def steps(self, values: pa.Array) -> tuple[Int64, NDArray[np.bool_]]:
        """m of every value, of any of its types, and which are gaps; TableError for a value that is on no step."""
        n, gaps = self._wholes(values)
        return self._steps(n), gaps

    def of_steps(self, m: Int64) -> pa.Array:
        """The values of m, of the column's type: the inverse of `steps`."""
        n = _shifted(m.astype(np.int64) * np.int64(self.step), self.origin, self._unsigned)
        return self._values(n, np.zeros(len(n), dtype=bool))

    def before(self, m: Int64) -> Float64:
        """z of a place between two steps, m and the one before it, nearer to that one."""
        return self._line(m.astype(np.float64) - (1 - _BEYOND))

    def cut(self, value: Any, included: bool) -> tuple[float, bool]:
        place = (self._number(value) - self.origin) / self.step
        m = math.floor(place)
        n = self.origin + (m if included or m != place else m - 1) * self.step
        least, most = self._ends()
        least, most = min(least, *self.atoms, least), max(most, *self.atoms, most)
        if n < least or n >= most:
            return (-math.inf, False) if n < least else (math.inf, True)
        # between two points, nearer to this one: draws may be off a point by the rounding of their dtype
        beyond = (n - self.origin) // self.step + _BEYOND
        return float(self._line(np.array([float(beyond)]))[0]), True

    def log_det(self, z: Float64) -> Float64:
        return np.zeros_like(z)

    def family(self) -> Family:
        low, high = (self._unit(end) for end in self._ends())
        lattice = self._lattice(None if low < -FARTHEST_END else low, None if high > FARTHEST_END else high)
        codes = self.atoms_encoded
        return Atoms(lattice, codes.tolist()) if len(codes) else lattice

    def _lattice(self, low: float | None, high: float | None) -> Lattice:
        # the point of the lattice next to loc, so that float32 has it to the last digit
        origin = (round(self.loc) - self.loc) / self.scale
        low_tail, high_tail = self._tails
        return Lattice(
            1 / self.scale,
            origin,
            low,
            high,
            bend=self.bend,
            low_tail=low_tail,
            high_tail=high_tail,
            widest=self.widest,
        )

    @property
    def description(self) -> str:
        about = self._shown(self.origin + round(self.loc) * self.step)
        bent = ", bent" if self.bend else ""
        bent += ", heavy tails" * heavy(self.curve, self.widest)
        ends = "" if self.low is None else f", from {self._shown(self.low)}"
        ends += "" if self.high is None else f", to {self._shown(self.high)}"
        shown = ", ".join(self._shown(atom) for atom in self.atoms[:5])
        more = f" and {len(self.atoms) - 5} more" if len(self.atoms) > 5 else ""
        atoms = f", atoms at {shown}{more}" if self.atoms else ""
        return f"{self._steps_of}, about {about}, by {self.scale:.4g} steps{bent}{ends}{atoms}"

    @abstractmethod
    def _wholes(self, values: pa.Array) -> tuple[NDArray[np.integer], NDArray[np.bool_]]:
        """n of every value, 0 for a gap, and which are gaps; TableError for a value that has none."""

    @abstractmethod
    def _values(self, n: NDArray[np.integer], gaps: NDArray[np.bool_]) -> pa.Array:
        """The values of n, of the column's type."""

    def _number(self, value: Any) -> Fraction:
        """n of a value as people write it, which need not be whole."""
        return read_number(self.name, value)

    @abstractmethod
    def _shown(self, n: int) -> str:
        """A value as text."""

    @property
    @abstractmethod
    def _steps_of(self) -> str:
        """What the lattice is, as text."""

    def _stated(self, ends: Bounds) -> Ends:
        """The ends that a user states, as n: the outermost whole numbers within."""
        low, high = (None if end is None else self._number(end) for end in ends)
        return checked(self.name, None if low is None else math.ceil(low), None if high is None else math.floor(high))

    @property
    def _unsigned(self) -> bool:
        return self.type_name == "uint64"

    def _limits(self) -> tuple[int, int]:
        """The least and largest n that the type holds."""
        return -(2**63), 2**63 - 1

    def _ends(self) -> tuple[int, int]:
        least, most = self._limits()
        return (least if self.low is None else max(least, self.low)), (
            most if self.high is None else min(most, self.high)
        )

    def _check(self, n: NDArray[np.integer], gaps: NDArray[np.bool_], values: pa.Array) -> None:
        remedy = f"correct it, or fit with kinds='{self.kind} ..' for it, which has no ends"
        least, most = self._ends()
        other = ~gaps & ~np.isin(n, np.array(self.atoms, dtype=n.dtype))
        refuse(self.name, f"nothing below {self._shown(least)}", values, other & (n < least), remedy)
        refuse(self.name, f"nothing above {self._shown(most)}", values, other & (n > most), remedy)
        if self.step > 1:
            off = ~gaps & (difference(n, self.origin) % self.step != 0)
            refuse(self.name, self._steps_of, values, off, "round it, or fit to rows that have such values")

    def _steps(self, n: NDArray[np.integer]) -> Int64:
        return difference(n, self.origin) // self.step

    def _unit(self, n: int) -> float:
        return ((n - self.origin) / self.step - self.loc) / self.scale

    def _line(self, m: Float64) -> Float64:
        t = standardised(m, self.loc, self.scale)
        return t if self.curve.straight else applied(self.curve.to, t)


def _shifted(n: Int64, origin: int, unsigned: bool) -> NDArray[np.integer]:
    if unsigned:
        return n.view(np.uint64) + np.uint64(origin % 2**64)
    with np.errstate(over="ignore"):
        return n + np.int64(origin)
