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
from anabranch.tables.columns.apart import apart, warn_of_apart
from anabranch.tables.columns.column import Column, Float64, Rows
from anabranch.tables.columns.ends import Bounds, Ends, Round, checked, ends_of_lattice, is_natural, roundest
from anabranch.tables.columns.reading import refuse
from anabranch.tables.columns.shape import applied, atoms_of, bent_standard, standardised, tails_of_line
from anabranch.tables.columns.smooth import FARTHEST_END, codes_of, observed
from anabranch.tables.columns.tails import heavy
from anabranch.tables.columns.written import read_number
from anabranch.tables.frame import TableError

Int64 = NDArray[np.int64]

# so many steps from the origin float64 tells every point from its neighbours, and with a bend so many
_FARTHEST = 2**50
_FARTHEST_BENT = 2**40
# up to so many different numbers are few
_FEW = 20
# of floats of 32 bits, so many lie in a step of the decimals that they are taken for
_TOLD_APART = 16.0
# of a step
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
            off = ~gaps & (_difference(n, self.origin) % self.step != 0)
            refuse(self.name, self._steps_of, values, off, "round it, or fit to rows that have such values")

    def _steps(self, n: NDArray[np.integer]) -> Int64:
        return _difference(n, self.origin) // self.step

    def _unit(self, n: int) -> float:
        return ((n - self.origin) / self.step - self.loc) / self.scale

    def _line(self, m: Float64) -> Float64:
        t = standardised(m, self.loc, self.scale)
        return t if self.curve.straight else applied(self.curve.to, t)


class Shape:
    """What a lattice of whole numbers is like, read off a sample: its place, its map, its atoms and its ends.

    Args:
        name: of their column.
        n: (rows) whole numbers.
        gaps: (rows), which of them are none.
        rows: of which to take statistics.
        step: between neighbours.
        lossless: whether to refuse numbers too far apart for float64.
        ends: the least and largest n; by default those that the numbers show.
        unit: what 1 is of the values, in which ends are round numbers; None for values without round numbers.
        values: the column, to name those that are far from all others.
    """

    def __init__(
        self,
        name: str,
        n: NDArray[np.integer],
        gaps: NDArray[np.bool_],
        rows: Rows | None,
        step: int = 1,
        lossless: bool = True,
        ends: Ends | None = None,
        unit: float | None = 1.0,
        round_to: Round | None = None,
        values: pa.Array | None = None,
    ) -> None:
        seen = n[~gaps]
        if not len(seen):
            raise TableError(f"column {name!r} is empty, it holds gaps only; leave it out")
        self.least, self.most = int(seen.min()), int(seen.max())
        span = (self.most - self.least) // step
        if lossless and span > _FARTHEST:
            raise TableError(
                f"column {name!r} holds whole numbers spread over more than 2^50, further than float64 tells apart; if they "
                "are labels declare them (kinds=, 'categorical'), or leave it out"
            )
        middle = int(np.partition(seen, len(seen) // 2)[len(seen) // 2])
        self.origin = middle
        m = (_difference(n, middle) // step).astype(np.float64)
        m[gaps] = np.nan
        far = apart(m[~gaps])
        if values is not None:
            warn_of_apart(name, values, m, far)
        near = np.where(np.isin(m, far), np.nan, m)
        mine = observed(near, rows)
        few = len(np.unique(mine)) <= _FEW
        # of a few numbers each that is frequent is an atom, and says how they are spread too; of many, those that stick out
        atoms = atoms_of(mine, 0.0 if few else 1.0)
        rest = mine if few else mine[~np.isin(mine, atoms)]
        if len(rest) < 2 or bool((rest == rest[0]).all()):
            rest = mine
        spread = _spread(rest)
        self.loc, self.scale, self.bend = bent_standard(name, spread)
        if self.bend and np.nanmax(near) - np.nanmin(near) > _FARTHEST_BENT:
            self.loc, self.scale, self.bend = float(rest.mean()), float(rest.std()), 0.0
        seen_near = near[~np.isnan(near)]
        self.low, self.high = (
            _ends_in_steps(ends, middle, step) if ends is not None else self._ends_of(seen_near, unit, round_to, step)
        )
        low, high = ((None if end is None else (end - middle) / step) for end in (self.low, self.high))
        inside = (spread >= (-np.inf if low is None else low - 0.5)) & (
            spread <= (np.inf if high is None else high + 0.5)
        )
        t = standardised(spread[inside] if inside.sum() > 1 else spread, self.loc, self.scale)
        self.tails = tails_of_line(t, self.bend, low is None, high is None)
        # atoms whose neighbours float32 cannot tell from them are none, but for those that have no neighbours
        with np.errstate(all="ignore"):
            u = (np.array(atoms) - self.loc) / self.scale
            # the last digits of z, in steps
            z = np.abs(np.arcsinh(self.bend * u) / self.bend if self.bend else u)
            local = 1e-6 * z * np.hypot(1, self.bend * u) * self.scale
        single = [atom for atom, digit in zip(atoms, local, strict=True) if digit < 0.5]
        every = [middle + int(atom) * step for atom in sorted({*single, *far.tolist()})]
        # what is apart may lie beyond the ends that the others show, but not beyond those that are told
        least, most = (
            (-np.inf, np.inf)
            if ends is None
            else (
                -np.inf if self.low is None else self.low,
                np.inf if self.high is None else self.high,
            )
        )
        self.atoms = [n for n in every if least <= n <= most]

    @property
    def options(self) -> dict[str, Any]:
        """Arguments of a `Stepped` column."""
        low_tail, high_tail, widest = self.tails
        return {
            "origin": self.origin,
            "loc": self.loc,
            "scale": self.scale,
            "bend": self.bend,
            "low": self.low,
            "high": self.high,
            "atoms": self.atoms,
            "low_tail": low_tail,
            "high_tail": high_tail,
            "widest": widest,
        }

    def _ends_of(
        self, near: Float64, unit: float | None, round_to: Round | None, step: int
    ) -> tuple[int | None, int | None]:
        """The ends that numbers (n) show, as whole numbers; never below 0 if none of them is and 0 means something."""

        def value(m: float) -> float:
            return (self.origin + m * step) * (1.0 if unit is None else unit)

        def natural(m: float) -> bool:
            return unit is not None and is_natural(value(m))

        def rounded(a: float, b: float) -> float:
            if round_to is not None:
                return round_to(a, b)
            end = a if unit is None else round((roundest(value(a), value(b)) / unit - self.origin) / step)
            return min(max(end, min(a, b)), max(a, b))

        zero = -np.inf if unit is None else -self.origin / step
        found = ends_of_lattice(near, natural, rounded, _spread(near), zero)
        low, high = (None if end is None else self.origin + round(end) * step for end in found)
        least, most = (self.origin + int(end) * step for end in (near.min(), near.max()))
        # where 0 is further away than the numbers are from each other it makes no difference
        low = 0 if low is None and unit is not None and 0 <= least <= most - least else low
        return low, high


def _spread(m: Float64) -> Float64:
    """Points of a lattice of step 1 spread evenly over their cells, in order, whatever order they came in."""
    ordered = np.sort(m)
    _, first, counts = np.unique(ordered, return_index=True, return_counts=True)
    place = np.arange(len(ordered)) - np.repeat(first, counts)
    return ordered + (place + 0.5) / np.repeat(counts, counts) - 0.5


def _ends_in_steps(ends: Ends, origin: int, step: int) -> tuple[int | None, int | None]:
    """The outermost points of the lattice within ends."""
    low = None if ends.low is None else origin - int((origin - ends.low) // step) * step
    high = None if ends.high is None else origin + int((ends.high - origin) // step) * step
    return low, high


def natural_step(n: Int64, steps: Sequence[int]) -> int:
    """The largest of the steps, ascending, which divides all differences of n."""
    common = int(np.gcd.reduce(np.diff(np.unique(n)))) if len(n) > 1 else 0
    return max((step for step in steps if common % step == 0), default=1) if common else 1


def digits_of(x: Float64, most: int = 6, single: bool = False) -> int | None:
    """The fewest decimals that write all of x (n, no gaps) exactly, or None if they are more than `most`.

    Of floats of 32 bits (`single`) no more than they tell apart, many times over: each is the nearest to one of 8 decimals.
    """
    distinct = np.unique(x)
    largest = float(np.abs(distinct).max(initial=0.0))
    if largest >= 2.0**53 / 10**most:
        return None
    while single and most > 0 and _TOLD_APART * largest * 2.0**-24 > 10.0**-most:
        most -= 1
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
