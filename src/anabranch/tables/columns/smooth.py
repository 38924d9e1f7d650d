"""Columns of real numbers: what those that are continuous, positive or bounded have in common."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from anabranch.families import Atoms, Family, Logistics
from anabranch.tables.columns.column import Column, Float64
from anabranch.tables.columns.reading import read_floats
from anabranch.tables.columns.written import read_number
from anabranch.tables.frame import TableError
from anabranch.tables.types import is_number

# of a value set apart: a power of two, of which float32 holds the square
_FARTHEST_CODE = 2.0**50
# in standard deviations: an end further out makes no difference
FARTHEST_END = 40.0


class Smooth(Column):
    """Real numbers that have a density, beside atoms that have a probability.

    Subclasses map values to a line, `_line`, and back, `_back`, and say how steep that is, `_log_slope`. An atom is encoded
    as where the map takes it, rounded to float32, which is then its own number alone: a value that is no atom and would be
    encoded alike is encoded as the next float64.

    Args:
        name: of the column.
        type: "float", "double" or "halffloat", what `decode` gives back.
        atoms: values that have a probability.
    """

    def __init__(self, name: str, type: str, atoms: Sequence[float]) -> None:
        if type not in ("float", "double", "halffloat"):
            raise ValueError(f"type: expected 'float', 'double' or 'halffloat', got {type!r}")
        super().__init__(name, type)
        self.atoms = tuple(float(atom) for atom in atoms)
        if len(set(self.atoms)) < len(self.atoms) or not np.isfinite(self.atoms).all():
            raise ValueError(f"atoms: expected finite numbers, different from each other, got {self.atoms}")

    @property
    def atoms_encoded(self) -> Float64:
        with np.errstate(all="ignore"):
            return codes_of(self._line(np.array(self.atoms)))

    def encode(self, values: pa.Array) -> Float64:
        x = read_floats(self.name, values)
        return self._encoded(x, values)

    def _encoded(self, x: Float64, values: pa.Array) -> Float64:
        at = self._at(x)
        atom = at.any(axis=1)
        self._check(np.where(atom, np.nan, x), values)
        with np.errstate(all="ignore"):
            z = self._line(x)
        codes = self.atoms_encoded
        for j, code in enumerate(codes):
            z[~atom & (z == code)] = np.nextafter(code, np.inf)
            z[at[:, j]] = code
        return z

    def decode(self, z: Float64) -> pa.Array:
        z = np.asarray(z, dtype=np.float64)
        with np.errstate(all="ignore"):
            x = self._back(z)
        for atom, code in zip(self.atoms, self.atoms_encoded, strict=True):
            x[z == code] = atom
        gaps = np.isnan(z)
        # through pyarrow's own double: its half floats take no mask
        return pa.array(x, mask=gaps).cast(self.arrow_type, safe=False)

    def cut(self, value: Any, included: bool) -> tuple[float, bool]:
        one = self.read(value if isinstance(value, str) else float(value))
        low, high = self._ends()
        low, high = min(low, *self.atoms, low), max(high, *self.atoms, high)
        number = float(read_number(self.name, value))
        if number < low or (number == low and not included):
            return -np.inf, False
        if number > high or (number == high and included):
            return np.inf, True
        try:
            return self._among_atoms(float(self.encode(one)[0]), number), included
        except TableError:
            pass
        # beyond a bound: on which side of what lies between
        return (-np.inf, False) if number < self.decode(np.zeros(1))[0].as_py() else (np.inf, True)

    def _among_atoms(self, z: float, number: float) -> float:
        """z of a number, on the side of each atom on which the number is: codes of what is apart are nearer than it."""
        atoms, codes = np.array(self.atoms), self.atoms_encoded
        above, below = codes[atoms > number], codes[atoms < number]
        if len(above) and z >= above.min():
            z = float(np.nextafter(np.float32(above.min()), np.float32(-np.inf)))
        if len(below) and z <= below.max():
            z = float(np.nextafter(np.float32(below.max()), np.float32(np.inf)))
        return z

    @property
    def span(self) -> tuple[float, float]:
        """The ends of the values that have a density: infinite where there is none, and not always values themselves."""
        return self._ends()

    def place(self, x: Float64) -> Float64:
        """z of numbers that need not be values: where the map takes them, atoms too, and beyond an end the end's."""
        with np.errstate(all="ignore"):
            return self._line(np.clip(np.asarray(x, dtype=np.float64), *self._ends()))

    def log_det(self, z: Float64) -> Float64:
        with np.errstate(all="ignore"):
            slope = self._log_slope(z)
        probability = np.isnan(z) | np.isin(z, self.atoms_encoded)
        return np.where(probability, 0.0, slope)

    def family(self) -> Family:
        codes = self.atoms_encoded
        return Atoms(Logistics(), codes.tolist()) if len(codes) else Logistics()

    @property
    def unit(self) -> str:
        beside = f" (at {listed(self.atoms)} a probability)" if self.atoms else ""
        return f"density in {self.name}{beside}"

    def _mixture(self, low: float | None, high: float | None, widest: float | None) -> Family:
        """Logistics between these ends, beside the atoms."""
        with np.errstate(all="ignore"):
            under, over = (None if end is None else float(self._line(np.array([end]))[0]) for end in (low, high))
        smooth = Logistics(
            low=None if under is None or under < -FARTHEST_END else under,
            high=None if over is None or over > FARTHEST_END else over,
            widest=widest,
        )
        codes = self.atoms_encoded
        return Atoms(smooth, codes.tolist()) if len(codes) else smooth

    def _ends(self) -> tuple[float, float]:
        """The least and largest value, both possible; infinite where there is none."""
        return -np.inf, np.inf

    def _at(self, x: Float64) -> NDArray[np.bool_]:
        return x[:, None] == np.array(self.atoms)[None, :]

    @abstractmethod
    def _line(self, x: Float64) -> Float64: ...

    @abstractmethod
    def _back(self, z: Float64) -> Float64: ...

    @abstractmethod
    def _log_slope(self, z: Float64) -> Float64: ...

    def _check(self, x: Float64, values: pa.Array) -> None:
        """Raise TableError for a value that cannot be; atoms are NaN here, as gaps are."""


def float_type(values: pa.Array) -> str:
    """The type that a smooth column of these values gives back: their own if they are floats, or double."""
    return str(values.type) if is_number(values.type) and pa.types.is_floating(values.type) else "double"


def codes_of(z: Float64) -> Float64:
    """Encoded atoms as float32 holds them; those further out than anything else at distances that its square takes too."""
    codes = z.astype(np.float32).astype(np.float64)
    far = np.flatnonzero(~(np.abs(codes) < _FARTHEST_CODE))
    # in their order, so far apart that float32 tells them from each other
    for way in (-1, 1):
        side = far[np.sign(codes[far]) == way]
        rank = np.argsort(np.argsort(np.abs(z[side]), kind="stable"))
        codes[side] = way * _FARTHEST_CODE * (1 + rank * 2.0**-20)
    return codes


def distinct_codes(column: Smooth) -> list[float]:
    """The atoms that float32 tells apart once encoded, each where nothing else is."""
    seen: dict[float, float] = {}
    for atom, code in zip(column.atoms, column.atoms_encoded, strict=True):
        if np.isfinite(code):
            seen.setdefault(float(code), atom)
    return sorted(seen.values())


def listed(numbers: Sequence[float], most: int = 5) -> str:
    """Numbers in a few words."""
    shown = ", ".join(f"{number:.6g}" for number in numbers[:most])
    return shown + (f" and {len(numbers) - most} more" if len(numbers) > most else "")


def observed(x: NDArray[np.float64], rows: NDArray[np.integer] | None) -> Float64:
    """The values among `rows` that are no gaps; those of all rows, where these hold less than two different ones."""
    mine = x if rows is None else x[rows]
    mine = mine[~np.isnan(mine)]
    if rows is not None and (len(mine) == 0 or bool((mine == mine[0]).all())):
        return x[~np.isnan(x)]
    return mine
