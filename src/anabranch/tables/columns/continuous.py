"""Columns of any real numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import numpy as np
import pyarrow as pa

from anabranch.checks import positive
from anabranch.tables.columns.column import Float64, Rows
from anabranch.tables.columns.reading import read_floats
from anabranch.tables.columns.shape import atoms_of, bent_standard, standard, standardised
from anabranch.tables.columns.smooth import Smooth, distinct_codes, float_type, listed, observed


class Continuous(Smooth):
    r"""z = (x - loc) / scale, or where tails are heavy, bent,

    .. math:: z = \operatorname{asinh}(b\, t) / b, \qquad t = (x - \texttt{loc}) / \texttt{scale}, \qquad
              \log |dz/dx| = -\log \texttt{scale} - \log\cosh(b z),

    straight near loc and like a logarithm far from it, on both sides. All of it is done in float64: a column of 1.7e9 with
    a spread of 1 keeps its digits.

    Args:
        name: of the column.
        loc, scale: in its unit.
        bend: b, 0 for none.
        type: "float", "double" or "halffloat", what `decode` gives back.
        atoms: values that have a probability.

    Raises:
        ValueError: a scale that is not positive, a bend below 0, another type.

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
    ) -> None:
        super().__init__(name, type, atoms)
        if not np.isfinite(loc):
            raise ValueError(f"loc: expected a finite number, got {loc}")
        self.loc, self.scale = float(loc), positive("scale", scale)
        self.bend = 0.0 if bend == 0 else positive("bend", bend)

    @classmethod
    def infer(cls, name: str, values: pa.Array, rows: Rows | None = None) -> Self:
        x = read_floats(name, values)
        mine = observed(x, rows)
        atoms = atoms_of(mine)
        rest = mine[~np.isin(mine, atoms)]
        if len(rest) < 2 or bool((rest == rest[0]).all()):
            rest = mine
        loc, scale, bend = bent_standard(name, rest)
        kind = float_type(values)
        column = cls(name, loc, scale, bend, kind, atoms)
        return cls(name, loc, scale, bend, kind, distinct_codes(column))

    @classmethod
    def plain(cls, name: str, values: pa.Array, rows: Rows | None = None) -> Self:
        """Standardised and nothing else: neither bent nor with atoms."""
        mine = observed(read_floats(name, values), rows)
        return cls(name, *standard(name, mine), 0.0, float_type(values))

    @property
    def description(self) -> str:
        bent = ", heavy tails" if self.bend else ""
        atoms = f", atoms at {listed(self.atoms)}" if self.atoms else ""
        return f"about {self.loc:.6g}, by {self.scale:.4g}{bent}{atoms}"

    def _line(self, x: Float64) -> Float64:
        t = standardised(x, self.loc, self.scale)
        return np.arcsinh(self.bend * t) / self.bend if self.bend else t

    def _back(self, z: Float64) -> Float64:
        t = np.sinh(self.bend * z) / self.bend if self.bend else z
        return t * self.scale + self.loc

    def _log_slope(self, z: Float64) -> Float64:
        bent = np.abs(self.bend * z)
        # log cosh y = |y| + log(1 + e^{-2|y|}) - log 2
        cosh = bent + np.log1p(np.exp(-2 * bent)) - np.log(2.0) if self.bend else 0.0
        return -np.log(self.scale) - cosh + np.zeros_like(z)
