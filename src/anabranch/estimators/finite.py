"""Numbers that are none, found where they come in: infinities, gaps where none are taken, columns of gaps alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]


def refuse_other_than_finite(x: Float64, names: Sequence[str] | None, gaps: bool, remedy: str) -> None:
    """Raise ValueError, with the first row and column, for infinities, and for NaN where there may be no gaps.

    Args:
        x: (rows, columns).
        names: of the columns, if they have some.
        gaps: whether NaN is a gap.
        remedy: what to do about gaps.

    Example:
        >>> import numpy as np
        >>> from anabranch.estimators.finite import refuse_other_than_finite
        >>> refuse_other_than_finite(np.array([[1.0], [np.nan]]), ["carat"], False, "fill it")
        Traceback (most recent call last):
        ...
        ValueError: X: expected finite numbers, got NaN in row 1, column 'carat' (1 of 2 rows holds one); fill it
    """
    bad = np.isinf(x) if gaps else ~np.isfinite(x)
    if not bad.any():
        return
    row, column = (int(number) for number in np.argwhere(bad)[0])
    gap = bool(np.isnan(x[row, column]))
    count = int((np.isnan(x) if gap else np.isinf(x)).any(axis=1).sum())
    raise ValueError(
        f"X: expected finite numbers, got {'NaN' if gap else 'infinity'} in row {row}, {_called(column, names)} ({count} of "
        f"{len(x)} rows {'holds' if count == 1 else 'hold'} one); {remedy if gap else 'remove or correct such rows'}"
    )


def refuse_columns_of_gaps(x: Float64, names: Sequence[str] | None) -> None:
    """Raise ValueError for the first column (rows, columns) without any value."""
    empty = np.flatnonzero(np.isnan(x).all(axis=0))
    if len(empty):
        raise ValueError(
            f"X: expected some value in every column, got gaps alone in {_called(int(empty[0]), names)}; leave it out"
        )


def _called(column: int, names: Sequence[str] | None) -> str:
    return f"column {column}" if names is None else f"column {str(names[column])!r}"
