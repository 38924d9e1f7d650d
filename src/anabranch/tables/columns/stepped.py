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
from anabranch.tables.columns.column import Column, Float64, Rows
from anabranch.tables.columns.reading import refuse
from anabranch.tables.columns.shape import atoms_of, bent_standard, standardised
from anabranch.tables.columns.smooth import observed
from anabranch.tables.columns.written import read_number
from anabranch.tables.frame import TableError

Int64 = NDArray[np.int64]

# so many steps from the origin float64 tells every point from its neighbours, and with a bend so many
_FARTHEST = 2**50
_FARTHEST_BENT = 2**40
# up to so many different numbers are few
_FEW = 20
# of a step
_BEYOND = 0.25


class Stepped(Column):
    r"""Whole numbers n, every `step`-th from an origin: with m = (n - origin) / step,

    .. math:: z = (m - \texttt{loc}) / \texttt{scale}, \qquad \text{or bent, as in `Continuous`,}

    and a probability for each. The difference is taken in whole numbers, so that beyond 2^53 nothing is lost. Subclasses say
    what n is of a value, `_wholes`, and the reverse, `_values`.

    Args:
        name: of the column.
        type: the Arrow type that `decode` gives back.
        origin: some n, near the data.
        loc, scale: of m.
        bend: as in `Continuous`.
        step: between neighbours.
        low, high: the least and largest n there can be, None for none.
        atoms: n that have a probability of their own, beside what the lattice gives them.
    """

    discrete = True
    # whether low and high say something of the column, or only of its type
    _own_ends = True

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

    @property
    def atoms_encoded(self) -> Float64:
        steps = np.array([(atom - self.origin) / self.step for atom in self.atoms])
        return self._line(steps).astype(np.float32).astype(np.float64)

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
            u = np.sinh(self.bend * u) / self.bend if self.bend else u
            m = np.round(self.loc + self.scale * u)
        least, most = self._ends()
        m = np.clip(m, (least - self.origin) // self.step, (most - self.origin) // self.step)
        # in whole numbers from here on; a float64 at the very end of int64 would round beyond it
        steps = np.clip(m, -(2.0**62), 2.0**62).astype(np.int64)
        n = _shifted(steps * np.int64(self.step), self.origin, self._unsigned)
        for atom, code in zip(self.atoms, self.atoms_encoded, strict=True):
            n[z == code] = atom
        return self._values(n, gaps)

    def cut(self, value: Any, included: bool) -> tuple[float, bool]:
        place = (self._number(value) - self.origin) / self.step
        m = math.floor(place)
        n = self.origin + (m if included or m != place else m - 1) * self.step
        least, most = self._ends()
        if n < least or n >= most:
            return (-math.inf, False) if n < least else (math.inf, True)
        # between two points, nearer to this one: draws may be off a point by the rounding of their dtype
        beyond = (n - self.origin) // self.step + _BEYOND
        return float(self._line(np.array([float(beyond)]))[0]), True

    def log_det(self, z: Float64) -> Float64:
        return np.zeros_like(z)

    def family(self) -> Family:
        # the point of the lattice next to loc, so that float32 has it to the last digit
        origin = (round(self.loc) - self.loc) / self.scale
        low, high = (None if end is None else self._unit(end) for end in (self.low, self.high))
        lattice = Lattice(1 / self.scale, origin, low, high, bend=self.bend)
        codes = self.atoms_encoded
        return Atoms(lattice, codes.tolist()) if len(codes) else lattice

    @property
    def description(self) -> str:
        about = self._shown(self.origin + round(self.loc) * self.step)
        bent = ", heavy tails" if self.bend else ""
        ends = "" if self.low is None or not self._own_ends else f", from {self._shown(self.low)}"
        ends += "" if self.high is None or not self._own_ends else f", to {self._shown(self.high)}"
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
        remedy = "correct it, or fit with kinds='continuous' for it"
        if self.low is not None:
            refuse(self.name, f"nothing below {self._shown(self.low)}", values, ~gaps & (n < self.low), remedy)
        if self.high is not None:
            refuse(self.name, f"nothing above {self._shown(self.high)}", values, ~gaps & (n > self.high), remedy)
        if self.step > 1:
            off = ~gaps & (_difference(n, self.origin) % self.step != 0)
            refuse(self.name, self._steps_of, values, off, "round it, or fit to rows that have such values")

    def _steps(self, n: NDArray[np.integer]) -> Int64:
        return _difference(n, self.origin) // self.step

    def _unit(self, n: int) -> float:
        return ((n - self.origin) / self.step - self.loc) / self.scale

    def _line(self, m: Float64) -> Float64:
        t = standardised(m, self.loc, self.scale)
        return np.arcsinh(self.bend * t) / self.bend if self.bend else t


class Shape:
    """origin, loc, scale, bend and atoms of whole numbers, read off a sample.

    Args:
        name: of their column.
        n: (rows) whole numbers.
        gaps: (rows), which of them are none.
        rows: of which to take statistics.
        step: between neighbours.
        lossless: whether to refuse numbers too far apart for float64.
    """

    def __init__(
        self,
        name: str,
        n: NDArray[np.integer],
        gaps: NDArray[np.bool_],
        rows: Rows | None,
        step: int = 1,
        lossless: bool = True,
    ) -> None:
        seen = n[~gaps]
        if not len(seen):
            raise TableError(f"column {name!r} is empty, it holds gaps only; leave it out")
        self.least, self.most = int(seen.min()), int(seen.max())
        self.far = (self.most - self.least) // step
        if lossless and self.far > _FARTHEST:
            raise TableError(
                f"column {name!r} holds whole numbers spread over more than 2^50, further than float64 tells apart; if they "
                "are labels declare them (kinds=, 'categorical'), or leave it out"
            )
        middle = int(np.partition(seen, len(seen) // 2)[len(seen) // 2])
        self.origin = middle
        m = (_difference(n, middle) // step).astype(np.float64)
        m[gaps] = np.nan
        mine = observed(m, rows)
        # of a few numbers each that is frequent is one, of many those that stick out
        atoms = atoms_of(mine, 1.0 if len(np.unique(mine)) > _FEW else 0.0)
        rest = mine[~np.isin(mine, atoms)]
        if len(rest) < 2 or bool((rest == rest[0]).all()):
            rest = mine
        self.loc, self.scale, self.bend = bent_standard(name, rest)
        if self.bend and self.far > _FARTHEST_BENT:
            self.loc, self.scale, self.bend = float(rest.mean()), float(rest.std()), 0.0
        # atoms whose neighbours float32 cannot tell from them are none
        with np.errstate(all="ignore"):
            t = (np.array(atoms) - self.loc) / self.scale
            local = np.abs(t) * 1e-6 * self.scale if not self.bend else np.hypot(1, self.bend * t) * self.scale * 1e-5
        self.atoms = [middle + int(atom) * step for atom, near in zip(atoms, local, strict=True) if near < 0.5]


def within_reach(end: int, origin: int, step: int = 1) -> int | None:
    """The end of a lattice, or None if it is so far that it makes no difference."""
    return end if abs(end - origin) // step <= _FARTHEST else None


def natural_step(n: Int64, steps: Sequence[int]) -> int:
    """The largest of the steps, ascending, which divides all differences of n."""
    common = int(np.gcd.reduce(np.diff(np.unique(n)))) if len(n) > 1 else 0
    return max((step for step in steps if common % step == 0), default=1) if common else 1


def digits_of(x: Float64, most: int = 6, single: bool = False) -> int | None:
    """The fewest decimals that write all of x (n, no gaps) exactly, or None if they are more than `most`."""
    distinct = np.unique(x)
    if np.abs(distinct).max(initial=0.0) >= 2.0**53 / 10**most:
        return None
    for digits in range(most + 1):
        again = np.round(distinct * 10.0**digits) / 10.0**digits
        if bool(((again.astype(np.float32) if single else again) == distinct).all()):
            return digits
    return None


def _difference(n: NDArray[np.integer], origin: int) -> Int64:
    """n - origin; of numbers beyond int64 the difference has to be within."""
    if n.dtype == np.uint64:  # modulo 2^64, where the difference is right
        return (n - np.uint64(origin % 2**64)).view(np.int64)
    with np.errstate(over="ignore"):
        return n.astype(np.int64) - np.int64(origin)


def _shifted(n: Int64, origin: int, unsigned: bool) -> NDArray[np.integer]:
    if unsigned:
        return n.view(np.uint64) + np.uint64(origin % 2**64)
    with np.errstate(over="ignore"):
        return n + np.int64(origin)
