"""Columns of positive numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import numpy as np
import pyarrow as pa

from anabranch.checks import positive
from anabranch.tables.columns.column import Float64, Rows
from anabranch.tables.columns.reading import read_floats, refuse
from anabranch.tables.columns.shape import atoms_of, standard
from anabranch.tables.columns.smooth import Smooth, distinct_codes, float_type, listed, observed
from anabranch.tables.frame import TableError

# below the logarithm of the smallest positive float64: where an atom at zero is put
_LOG_OF_ZERO = -746.0


class Positive(Smooth):
    r"""z = (log x - loc) / scale for x > 0, with log |dz/dx| = -log scale - log x. A zero may be an atom, below all.

    Args:
        name: of the column.
        loc, scale: of the logarithm.
        type: "float", "double" or "halffloat", what `decode` gives back.
        atoms: values that have a probability, none below 0.

    Raises:
        ValueError: a scale that is not positive, an atom below 0, another type.

    Example:
        >>> import pyarrow
        >>> from anabranch.tables.columns import Positive
        >>> rain = Positive("rain", loc=0.0, scale=1.0, atoms=[0.0])
        >>> rain.decode(rain.encode(pyarrow.array([0.0, 2.5]))).to_pylist()
        [0.0, 2.5]
        >>> rain.log_det(rain.encode(pyarrow.array([0.0, 2.0]))).round(4)
        array([ 0.    , -0.6931])
    """

    kind = "positive"

    def __init__(self, name: str, loc: float, scale: float, type: str = "double", atoms: Sequence[float] = ()) -> None:
        super().__init__(name, type, atoms)
        if not np.isfinite(loc):
            raise ValueError(f"loc: expected a finite number, got {loc}")
        if any(atom < 0 for atom in self.atoms):
            raise ValueError(f"atoms: expected numbers of at least 0, got {self.atoms}")
        self.loc, self.scale = float(loc), positive("scale", scale)

    @classmethod
    def infer(cls, name: str, values: pa.Array, rows: Rows | None = None) -> Self:
        x = read_floats(name, values)
        zero = [0.0] if bool((x == 0).any()) else []
        if bool((x < 0).any()):
            refuse(name, "numbers above 0", values, x < 0, "a column of such numbers is 'continuous'")
        mine = observed(x, rows)
        atoms = sorted({*zero, *atoms_of(mine)})
        rest = mine[~np.isin(mine, atoms)]
        rest = rest if len(rest) > 1 else x[x > 0]
        if not len(rest):
            raise TableError(f"column {name!r}: expected some numbers above 0, got none; leave it out")
        loc, scale = standard(name, np.log(rest))
        kind = float_type(values)
        return cls(name, loc, scale, kind, distinct_codes(cls(name, loc, scale, kind, atoms)))

    @property
    def description(self) -> str:
        low, middle, high = (np.exp(np.clip(self.loc + k * self.scale, -700, 700)) for k in (-1, 0, 1))
        atoms = f", atoms at {listed(self.atoms)}" if self.atoms else ""
        return f"log, about {middle:.4g} ({low:.3g} to {high:.3g}){atoms}"

    def _check(self, x: Float64, values: pa.Array) -> None:
        beside = "" if 0.0 not in self.atoms else " or 0"
        refuse(
            self.name, f"numbers above 0{beside}", values, x <= 0, "correct it, or fit with kinds='continuous' for it"
        )

    def _line(self, x: Float64) -> Float64:
        return (np.where(x == 0, _LOG_OF_ZERO, np.log(x)) - self.loc) / self.scale

    def _back(self, z: Float64) -> Float64:
        return np.exp(z * self.scale + self.loc)

    def _log_slope(self, z: Float64) -> Float64:
        return -np.log(self.scale) - (z * self.scale + self.loc)
