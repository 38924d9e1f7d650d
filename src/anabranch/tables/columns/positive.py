"""Columns of positive numbers."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, Self

import numpy as np
import pyarrow as pa
import torch

from anabranch.checks import positive
from anabranch.families import Curve, Family
from anabranch.families.curve import Tail, log_steepness, shrink, stretch
from anabranch.tables.columns.apart import apart, warn_of_apart
from anabranch.tables.columns.column import Float64, Rows
from anabranch.tables.columns.ends import Bounds, ends_beside, stated, within
from anabranch.tables.columns.reading import read_floats, refuse
from anabranch.tables.columns.shape import applied, atoms_of, standard
from anabranch.tables.columns.smooth import Smooth, distinct_codes, float_type, listed, observed
from anabranch.tables.columns.tails import Tails, begins, heavy, side_of, tails_of
from anabranch.tables.frame import TableError

# below the logarithm of the smallest positive float64: where an atom at zero is put
_LOG_OF_ZERO = -746.0


class Positive(Smooth):
    r"""z = (log x - loc) / scale for x > 0, with log |dz/dx| = -log scale - log x. A zero may be an atom, below all.

    Exponential tails of a logarithm are power tails of x, often heavier than its own. So above where `high_tail` begins, at
    t = a in units of the standardised logarithm,

    .. math:: z = a + g(y), \qquad y = \frac{x / x_a - 1}{\texttt{scale}}, \qquad g(y) = \log(1 + c y) / c,

    of which c = scale is the logarithm going on, and a smaller c a lighter tail (with d as in `Curve`). Below where
    `low_tail` begins the logarithm itself goes on by such a g.

    Args:
        name: of the column.
        loc, scale: of the logarithm.
        type: "float", "double" or "halffloat", what `decode` gives back.
        atoms: values that have a probability, none below 0.
        low, high: the ends, beyond which nothing can be but atoms, None for none: above 0.
        low_tail, high_tail: (a, c, d) of each side, None for the logarithm.
        widest: the scale that mixtures of z stay below, None for none; see `Logistics`.

    Raises:
        ValueError: a scale that is not positive, an atom below 0, ends in the wrong order or not above 0, another type.

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

    def __init__(
        self,
        name: str,
        loc: float,
        scale: float,
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
        if any(atom < 0 for atom in self.atoms):
            raise ValueError(f"atoms: expected numbers of at least 0, got {self.atoms}")
        self.loc, self.scale = float(loc), positive("scale", scale)
        self.low, self.high = (None if end is None else positive("low, high", end) for end in (low, high))
        least, most = self._ends()
        if not least < most:
            raise ValueError(f"high: expected more than low, {least:g}, got {most:g}")
        self.curve = Curve(0.0, low_tail, high_tail)
        # the lower side alone: above, the tail is of x and not of its logarithm
        self._lower = Curve(0.0, low_tail)
        self._above, *above = (np.inf, 0.0, 0.0) if high_tail is None else map(float, high_tail)
        self._beyond = torch.tensor(above, dtype=torch.float64).unbind()
        self.widest = None if widest is None else positive("widest", widest)

    @classmethod
    def infer(cls, name: str, values: pa.Array, rows: Rows | None = None, ends: Bounds | None = None) -> Self:
        """With the ends that the values show, or these; a least value of 0 is none."""
        x = read_floats(name, values)
        zero = [0.0] if bool((x == 0).any()) else []
        if bool((x < 0).any()):
            refuse(name, "numbers above 0", values, x < 0, "a column of such numbers is 'continuous'")
        far = apart(x[~np.isnan(x)])
        far = far[far > 0]
        warn_of_apart(name, values, x, far)
        near = np.where(np.isin(x, far), np.nan, x)
        mine = observed(near, rows)
        single = sorted({*zero, *atoms_of(mine)})
        atoms = sorted({*single, *far.tolist()})
        rest = mine[~np.isin(mine, single)]
        rest = rest if len(rest) > 1 else x[x > 0]
        if not len(rest):
            raise TableError(f"column {name!r}: expected some numbers above 0, got none; leave it out")
        loc, scale = standard(name, np.log(rest))
        kind = float_type(values)
        low, high = ends_beside(near[near > 0], single, kind) if ends is None else stated(name, ends)
        low = None if low is None or low <= 0 else low
        atoms = atoms if ends is None else [atom for atom in atoms if atom == 0 or within(atom, low, high)]
        tails = _tails((np.log(rest) - loc) / scale, scale, low is None, high is None)
        made = partial(cls, name, loc, scale, kind)
        options: dict[str, Any] = {
            "low": low,
            "high": high,
            "low_tail": tails.low,
            "high_tail": tails.high,
            "widest": tails.widest,
        }
        return made(distinct_codes(made(atoms, **options)), **options)

    @property
    def description(self) -> str:
        low, middle, high = (np.exp(np.clip(self.loc + k * self.scale, -700, 700)) for k in (-1, 0, 1))
        tail = ", heavy tail" * heavy(self.curve, self.widest)
        atoms = f", atoms at {listed(self.atoms)}" if self.atoms else ""
        ends = "" if self.low is None else f", from {self.low:.6g}"
        ends += "" if self.high is None else f", to {self.high:.6g}"
        return f"log, about {middle:.4g} ({low:.3g} to {high:.3g}){tail}{ends}{atoms}"

    def family(self) -> Family:
        return self._mixture(self.low, self.high, self.widest)

    def _ends(self) -> tuple[float, float]:
        return 0.0 if self.low is None else self.low, np.inf if self.high is None else self.high

    def _check(self, x: Float64, values: pa.Array) -> None:
        low, high = self._ends()
        remedy = "correct it, or fit with kinds='positive ..' for it, which has no ends"
        refuse(self.name, f"nothing below {low:.15g}", values, (x > 0) & (x < low), remedy)
        refuse(self.name, f"nothing above {high:.15g}", values, x > high, remedy)
        beside = "" if 0.0 not in self.atoms else " or 0"
        refuse(
            self.name, f"numbers above 0{beside}", values, x <= 0, "correct it, or fit with kinds='continuous' for it"
        )

    def _line(self, x: Float64) -> Float64:
        t = (np.where(x == 0, _LOG_OF_ZERO, np.log(x)) - self.loc) / self.scale
        z = applied(self._lower.to, np.minimum(t, self._above))
        beyond = t > self._above
        y = np.expm1(self.scale * np.where(beyond, t - self._above, 0.0)) / self.scale
        return z + applied(lambda y: stretch(y, *self._beyond), y)

    def _back(self, z: Float64) -> Float64:
        t = applied(self._lower.back, np.minimum(z, self._above))
        y = applied(
            lambda over: shrink(over, *self._beyond),
            np.maximum(z - self._above, 0.0) if np.isfinite(self._above) else np.zeros_like(z),
        )
        return np.clip(np.exp(t * self.scale + self.loc) * (1 + self.scale * y), *self._ends())

    def _log_slope(self, z: Float64) -> Float64:
        # dz/dx = g'(y) / (scale x_a) above, and below that of the logarithm of x, by the lower curve
        t = applied(self._lower.back, np.minimum(z, self._above))
        slope = applied(self._lower.log_slope, t) - np.log(self.scale) - (t * self.scale + self.loc)
        over = np.maximum(z - self._above, 0.0) if np.isfinite(self._above) else np.zeros_like(z)
        y = applied(lambda over: shrink(over, *self._beyond), over)
        return slope + applied(lambda y: log_steepness(y, *self._beyond), y)


def _tails(t: Float64, scale: float, open_low: bool, open_high: bool) -> Tails:
    """The tails of standardised logarithms: of these below, and of the values themselves above."""
    under, below = begins(-t)
    over, above = begins(t)
    low = side_of(under, below - under)
    # whose heaviness says nothing of moments: the logarithm goes on
    low = None if low is None else low._replace(scale=float((below - under).mean()), heaviness=0.0)
    return tails_of(low, side_of(over, np.expm1(scale * (above - over)) / scale), open_low, open_high)
