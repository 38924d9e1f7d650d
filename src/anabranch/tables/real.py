"""Columns of real numbers without gaps: what a density of real vectors takes."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from anabranch.arrays import LARGEST_EXACT
from anabranch.tables.columns import Continuous, TableWarning
from anabranch.tables.columns.column import Float64
from anabranch.tables.columns.reading import first_text
from anabranch.tables.frame import TableError
from anabranch.tables.types import flat, is_number, is_text
from anabranch.tables.wild import Usual

# a value in more rows than this is an atom: no density is finite there
_ATOM_FRACTION = 0.05
_ATOM_ROWS = 10


def real_column(
    name: str, values: pa.ChunkedArray, rows: NDArray[np.integer[Any]] | None, modelled: bool
) -> Continuous:
    """A column as z = (x - mean) / standard deviation of some rows, those with a wild value (`wild.Usual`) left out.

    Args:
        name: of the column.
        values: its numbers, or truth values.
        rows: (n,), those that give mean and standard deviation; all by default.
        modelled: whether it will have a density.

    Raises:
        TableError: gaps, NaN, infinite values, or one value only.

    Warns:
        TableWarning: one value fills more than a twentieth of a modelled column.
    """
    flattened = flat(values)
    flattened = flattened.cast(pa.int8()) if pa.types.is_boolean(flattened.type) else flattened
    x = _finite(name, flattened)
    usual = Usual.of(x[:, None])
    # a wild value is no part of what the column usually holds, neither of its mean nor of its deviation
    ordinary = np.flatnonzero(~usual.wild(x[:, None])[:, 0])
    if not usual.everything:
        rows = ordinary if rows is None else rows[np.isin(rows, ordinary)]
    mine = x if rows is None else x[rows]
    if bool((mine == mine[0]).all()):
        where = "every row" if rows is None else "every training row"
        raise TableError(f"column {name!r} is constant, it holds {mine[0]:g} in {where}; leave it out")
    if modelled:
        _warn_of_atoms(name, mine)
    return Continuous.plain(name, flattened, rows)


def check_real(table: pa.Table, name: str, truth: bool) -> None:
    """Raise TableError if a column is none of numbers, or if `truth` of truth values, and say which columns are.

    Args:
        table: with the column.
        name: of it.
        truth: whether true and false will do, as 1 and 0.
    """
    kind = table.schema.field(name).type
    if is_number(kind) or (truth and pa.types.is_boolean(kind)):
        return
    if pa.types.is_null(kind):
        raise TableError(f"column {name!r} is empty, it holds gaps only; leave it out")
    if pa.types.is_boolean(kind):
        what = "holds true and false, which have no density"
    elif is_text(kind) or pa.types.is_dictionary(kind):
        row, text = first_text(flat(table.column(name)))
        what = f"holds text ({text!r} in row {row})"
    else:
        what = f"holds no numbers but {kind}"
    numeric = [field.name for field in table.schema if is_number(field.type)]
    if not numeric:
        raise TableError(f"column {name!r} {what}, and no column of the table holds numbers; model it with 'any-order'")
    listed = ",".join(numeric[:20]) + (",..." if len(numeric) > 20 else "")
    raise TableError(
        f"column {name!r} {what}, which only the model 'any-order' takes; choose that, or choose among the numeric columns "
        f"with --columns (columns=): {listed}"
    )


def not_finite(name: str, what: str, bad: NDArray[np.integer[Any]], rows: int) -> str:
    """What is wrong with a column that holds a gap, NaN or infinity in the rows `bad` of so many."""
    count = f"{len(bad)} of {rows} rows {'holds' if len(bad) == 1 else 'hold'} one"
    return (
        f"column {name!r}: expected finite numbers, got {what} in row {bad[0]} (rows count from 0; {count}); "
        "remove or fill such rows"
    )


def _finite(name: str, values: pa.Array) -> Float64:
    """A column as finite float64 numbers (rows,)."""
    if values.null_count:
        raise TableError(not_finite(name, "a gap", np.flatnonzero(values.is_null().to_numpy(False)), len(values)))
    if pa.types.is_integer(values.type):
        extremes = pc.min_max(values).as_py()
        if max(-extremes["min"], extremes["max"]) > LARGEST_EXACT:
            raise TableError(
                f"column {name!r} holds whole numbers beyond 2^53, which would lose their last digits; subtract an offset "
                "from it, or leave it out"
            )
    x: Float64 = values.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    bad = np.flatnonzero(~np.isfinite(x))
    if len(bad):
        raise TableError(not_finite(name, "NaN" if np.isnan(x[bad[0]]) else "infinity", bad, len(x)))
    return x


def _warn_of_atoms(name: str, values: Float64) -> None:
    distinct, counts = np.unique(values, return_counts=True)
    most = int(counts.argmax())
    if counts[most] >= _ATOM_ROWS and counts[most] > _ATOM_FRACTION * len(values):
        share = 100 * counts[most] / len(values)
        warnings.warn(
            f"column {name!r} holds the value {distinct[most]:g} in {share:.0f}% of its rows; a density can grow there "
            "without bound, so its log-likelihood means little: leave the column out, take it as given, or model it with "
            "'any-order', for which such a value has a probability",
            TableWarning,
            stacklevel=5,
        )
