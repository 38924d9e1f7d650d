"""Numbers of Arrow arrays, and what is said of those that are none."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from anabranch.arrays import LARGEST_EXACT
from anabranch.tables.columns.column import Float64
from anabranch.tables.frame import TableError
from anabranch.tables.number_text import is_number as is_number_text
from anabranch.tables.types import is_number, is_text


class UnseenError(TableError):
    """Values of the right type that a column cannot hold: a new category, a number beyond a bound or of more decimals.

    Attributes:
        unseen: (rows), which values.
    """

    def __init__(self, text: str, unseen: NDArray[np.bool_]) -> None:
        super().__init__(text)
        self.unseen = np.asarray(unseen, dtype=bool)


def read_floats(name: str, values: pa.Array) -> Float64:
    """Numbers as float64, NaN for gaps.

    Raises:
        TableError: text, or an infinity; whole numbers that float64 does not hold.
    """
    check_number(name, values)
    if pa.types.is_integer(values.type) and len(values) > values.null_count:
        extremes = pc.min_max(values).as_py()
        if max(-extremes["min"], extremes["max"]) > LARGEST_EXACT:
            raise TableError(
                f"column {name!r} holds whole numbers beyond 2^53, which would lose their last digits as real numbers; "
                "declare it as what it is (kinds=, 'integer' or 'categorical'), or leave it out"
            )
    floats: Float64 = values.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False).astype(np.float64)
    infinite = np.flatnonzero(np.isinf(floats))
    if len(infinite):
        raise TableError(
            f"column {name!r}: expected finite numbers, got infinity{_where(infinite, len(floats))}; "
            "remove or fill such rows, a gap (null) means that nothing is known"
        )
    return floats


def check_number(name: str, values: pa.Array) -> None:
    """Raise TableError unless the values are numbers."""
    if is_number(values.type):
        return
    if is_text(values.type):
        row, text = first_text(values)
        raise TableError(f"column {name!r} holds text ({text!r} in row {row}), where numbers are expected; correct it")
    what = "gaps only" if pa.types.is_null(values.type) else str(values.type)
    raise TableError(f"column {name!r} holds {what}, where numbers are expected; correct it")


def first_text(values: pa.Array) -> tuple[int, str]:
    """The first value that is not the text of a number (a single stray word makes a text column of a numeric one)."""
    first: tuple[int, str] | None = None
    for row, value in enumerate(values.to_pylist()):
        if value is None:
            continue
        first = first or (row, value)
        if not is_number_text(value):
            return row, value
    return first or (0, "")


def refuse(name: str, expected: str, values: pa.Array, bad: NDArray[np.bool_], remedy: str) -> None:
    """Raise UnseenError, which says what was expected and what came in the first bad row, if there is one."""
    rows = np.flatnonzero(bad)
    if len(rows):
        value = values[int(rows[0])].as_py()
        got = str(value) if not isinstance(value, str) else repr(value)
        text = f"column {name!r}: expected {expected}, got {got}{_where(rows, len(values))}; {remedy}"
        raise UnseenError(text, bad)


def _where(bad: NDArray[np.integer[Any]], rows: int) -> str:
    if rows == 1:  # there is no other
        return ""
    count = f"{len(bad)} of {rows} rows {'holds' if len(bad) == 1 else 'hold'} one"
    return f" in row {bad[0]} (rows count from 0; {count})"
