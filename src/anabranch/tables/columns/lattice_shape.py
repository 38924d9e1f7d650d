"""What a lattice of whole numbers is like, read off a sample: its step, its place, its map, its atoms and its ends."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from anabranch.tables.columns.apart import apart, warn_of_apart
from anabranch.tables.columns.column import Float64, Rows
from anabranch.tables.columns.ends import Ends, Round, ends_of_lattice, is_natural, roundest
from anabranch.tables.columns.shape import atoms_of, bent_standard, standardised, tails_of_line
from anabranch.tables.columns.smooth import observed
from anabranch.tables.frame import TableError

Int64 = NDArray[np.int64]

# so many steps from the origin float64 tells every point from its neighbours, and with a bend so many
_FARTHEST = 2**50
_FARTHEST_BENT = 2**40
# up to so many different numbers are few
_FEW = 20
# of floats of 32 bits, so many lie in a step of the decimals that they are taken for
_TOLD_APART = 16.0


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
        m = (difference(n, middle) // step).astype(np.float64)
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


def difference(n: NDArray[np.integer], origin: int) -> Int64:
    """n - origin; of numbers beyond int64 the difference has to be within."""
    if n.dtype == np.uint64:  # modulo 2^64, where the difference is right
        return (n - np.uint64(origin % 2**64)).view(np.int64)
    with np.errstate(over="ignore"):
        return n.astype(np.int64) - np.int64(origin)
