"""What kind of column some values are."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from anabranch.checks import one_of
from anabranch.tables.columns import (
    Angle,
    Boolean,
    Bounded,
    Categorical,
    Column,
    Continuous,
    Integer,
    Ordinal,
    Positive,
    Rounded,
    Time,
)
from anabranch.tables.columns.apart import apart
from anabranch.tables.columns.column import Float64, Rows
from anabranch.tables.columns.lattice_shape import digits_of
from anabranch.tables.columns.reading import first_text, read_floats
from anabranch.tables.columns.shape import atoms_of, margin, normal_score, some_of, standard, standardised
from anabranch.tables.columns.written import read_number
from anabranch.tables.frame import TableError
from anabranch.tables.number_text import NUMBERS_SHARE
from anabranch.tables.number_text import is_number as is_number_text
from anabranch.tables.types import flat, is_number, is_text, is_time

KINDS: dict[str, type[Column]] = {
    kind.kind: kind
    for kind in (Continuous, Positive, Bounded, Integer, Ordinal, Rounded, Categorical, Boolean, Time, Angle)
}
_WITH_ENDS = (Continuous, Positive, Integer, Rounded, Time, Bounded)

# so few different numbers, each in ten rows on average, are levels
_FEW, _ROWS_OF_ONE = 20, 10
# but not if they are whole and the least or largest of them has a smaller share than this
_RARE = 0.01
# text of more different values than this, and more than half as many as rows, names the rows
_NAMES, _NAMES_SHARE = 1000, 0.5
# a share of rows above which numbers that share their value were rounded, not drawn twice
_TIES = 0.05


def infer_column(name: str, column: Any, rows: Rows | None = None, kind: str | Column | None = None) -> Column:
    """The column that some values are, or of the kind that is asked for.

    - truth values: `Boolean`; text, and categories of pandas and polars: `Categorical`; dates and times: `Time`
    - at most 20 different numbers, in ten rows each on average: `Ordinal`; not if they are whole and the least or the
      largest is in less than one row of a hundred, since there may be others beyond
    - whole numbers: `Integer`; decimals, and floats of at most 6 decimals of which one in twenty repeats another: `Rounded`
    - other floats: `Positive` or `Bounded` (between 0 and 1) where a normal distribution fits their logarithm, or logit,
      clearly better than themselves, or better at all and an atom lies at the bound; otherwise `Continuous`, with heavy
      tails bent if that is better

    and with atoms where values repeat more than those around them, with ends where they pile up to one or stop at a
    natural one (`columns.ends`), and with tails as heavy as they show (`columns.tails`). Values far from all others are set
    apart and named in a warning (`columns.apart`). An `Angle` is never inferred: nothing tells numbers that come around
    from others.

    Args:
        name: of the column.
        column: its values, an Arrow array.
        rows: of which to take statistics; what can be is read off all.
        kind: the word for a kind; with ends, "integer 0..23", "continuous 0..", "time 2020-01-01..2024-12-31", or
            "rounded .." for none; with a period, "angle 24", which is 360 by itself; or a `Column`, which is taken as it is.

    Raises:
        TableError: values that are no column of any kind, or not of this one: mixed, all gaps, all the same, names of rows.
        ValueError: words that are no kind.

    Warns:
        TableWarning: a rare value that is far from all others.
    """
    if isinstance(kind, Column):
        return kind
    values = flat(column)
    if pa.types.is_null(values.type) or values.null_count == len(values):
        raise TableError(f"column {name!r} is empty, it holds gaps only; leave it out")
    if kind is not None:
        _check_constant(name, values)
        return _of_words(name, values, rows, kind)
    if is_text(values.type):
        _check_words(name, values)
        return Categorical.infer(name, values, rows)
    if pa.types.is_boolean(values.type):
        _check_constant(name, values)
        return Boolean.infer(name, values, rows)
    if is_time(values.type):
        _check_constant(name, values)
        return Time.infer(name, values, rows)
    if not is_number(values.type):
        raise TableError(
            f"column {name!r} holds {values.type}, which is no kind of column; leave it out, or make numbers or text of it"
        )
    return _of_numbers(name, values, rows)


def _of_words(name: str, values: pa.Array, rows: Rows | None, text: str) -> Column:
    """The column of a kind in words, with what it is told besides: "integer 0..23", "continuous 0..", "angle 24"."""
    first, _, rest = text.strip().partition(" ")
    word, rest = one_of(f"kinds[{name!r}]", first, tuple(KINDS)), rest.strip()
    kind = KINDS[word]
    if issubclass(kind, Angle):
        return kind.infer(name, values, rows, period=float(read_number(name, rest)) if rest else 360.0)
    if not rest:
        return kind.infer(name, values, rows)
    low, dots, high = (part.strip() for part in rest.partition(".."))
    if not (issubclass(kind, _WITH_ENDS) and dots):
        ended = ", ".join(one.kind for one in _WITH_ENDS)
        raise ValueError(
            f"kinds[{name!r}]: expected a kind, or one of {ended} with its ends, such as '{_WITH_ENDS[0].kind} 0..100', "
            f"'{_WITH_ENDS[0].kind} 0..' or '{_WITH_ENDS[0].kind} ..', got {text!r}"
        )
    return kind.infer(name, values, rows, ends=(low or None, high or None))


def _of_numbers(name: str, values: pa.Array, rows: Rows | None) -> Column:
    if not pa.types.is_integer(values.type):
        read_floats(name, values)  # no infinities
    _check_constant(name, values)
    seen = values.drop_null()
    if pa.types.is_floating(values.type):
        seen = pc.filter(seen, pc.invert(pc.is_nan(seen)))
    few = len(pc.unique(seen.slice(0, 10_000))) <= _FEW
    distinct = len(seen.unique()) if few else _FEW + 1
    if distinct <= _FEW and len(seen) >= _ROWS_OF_ONE * distinct and not _has_a_tail(seen):
        return Ordinal.infer(name, values, rows)
    if pa.types.is_integer(values.type):
        return Integer.infer(name, values, rows)
    if pa.types.is_decimal(values.type):
        return Rounded.infer(name, values, rows)
    x: Float64 = seen.cast(pa.float64()).to_numpy(zero_copy_only=False)
    if bool((x == np.round(x)).all()) and np.abs(x).max() <= 2.0**50:
        return Integer.infer(name, values, rows)
    x = x[~np.isin(x, apart(x))]
    atoms = atoms_of(x)
    rest = x[~np.isin(x, atoms)]
    if 1 - len(np.unique(x)) / len(x) > _TIES and _is_rounded(x, rest, values.type):
        return Rounded.infer(name, values, rows)
    return _best_map(name, rest if len(rest) > 1 else x, atoms).infer(name, values, rows)


def _has_a_tail(seen: pa.Array) -> bool:
    """Whether numbers are counts, whole and their least or largest rare, so that there may be others beyond."""
    x = seen.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    ends = [float((x == end).mean()) for end in (x.min(), x.max())]
    return bool((x == np.round(x)).all()) and min(ends) < _RARE


def _is_rounded(x: Float64, rest: Float64, kind: pa.DataType) -> bool:
    """Whether the numbers were rounded: they have few decimals, and those that are no atoms repeat too."""
    ties = 1 - len(np.unique(rest)) / max(1, len(rest))
    # where all are atoms nothing but the decimals tells
    return (ties > _TIES or len(rest) < len(x) / 2) and digits_of(x, single=pa.types.is_float32(kind)) is not None


def _best_map(name: str, x: Float64, atoms: list[float]) -> type[Column]:
    """The kind of real numbers whose map makes these most like normal ones."""
    x = some_of(x)
    loc, scale = standard(name, x)
    t = standardised(x, loc, scale)
    bent = Continuous.infer(name, pa.array(x))
    z = bent.encode(pa.array(x))
    clear = margin(len(x))
    best, kind = max(normal_score(t, np.full_like(t, -np.log(scale))), normal_score(z, bent.log_det(z))), Continuous
    # each with the bounds at which an atom speaks for it, so that no clear gain is needed
    candidates: list[tuple[type[Column], Float64, Float64, set[float]]] = []
    if float(x.min()) > 0 and all(atom >= 0 for atom in atoms):
        candidates.append((Positive, np.log(x), -np.log(x), {0.0}))
    if float(x.min()) > 0 and float(x.max()) < 1 and all(0 <= atom <= 1 for atom in atoms):
        candidates.append((Bounded, np.log(x) - np.log1p(-x), -np.log(x) - np.log1p(-x), {0.0, 1.0}))
    chosen: type[Column] = kind
    for candidate, y, log_slope, bounds in candidates:
        score = normal_score(y, log_slope)
        if score > best + (0.0 if bounds & set(atoms) else clear):
            best, chosen = score, candidate
    return chosen


def _check_constant(name: str, values: pa.Array) -> None:
    seen = values.drop_null()
    if pa.types.is_floating(seen.type):
        seen = pc.filter(seen, pc.invert(pc.is_nan(seen)))
    if not len(seen):
        raise TableError(f"column {name!r} is empty, it holds gaps only; leave it out")
    distinct = seen.slice(0, 1000).unique()
    if len(distinct) == 1 and len(seen.unique()) == 1:
        value = distinct[0].as_py()
        number = f"{value:g}" if isinstance(value, float) else repr(value) if isinstance(value, str) else str(value)
        raise TableError(f"column {name!r} is constant, it holds {number} in every row; leave it out")


def _check_words(name: str, values: pa.Array) -> None:
    """Text that is categories: neither names of the rows nor numbers with a stray word."""
    _check_constant(name, values)
    distinct = values.unique().drop_null().to_pylist()
    numbers = sum(is_number_text(word) for word in distinct)
    if len(distinct) > 2 and NUMBERS_SHARE * len(distinct) < numbers < len(distinct):
        row, text = first_text(values)
        raise TableError(
            f"column {name!r} holds text ({text!r} in row {row}) among numbers; correct or remove that, or declare the "
            "column's kind, 'categorical' (kinds=)"
        )
    seen = len(values) - values.null_count
    if len(distinct) > _NAMES and len(distinct) > _NAMES_SHARE * seen:
        raise TableError(
            f"column {name!r} holds {len(distinct):,} different texts in {seen:,} rows, which name the rows and tell "
            "nothing of others; leave it out, or declare its kind, 'categorical' (kinds=)"
        )
