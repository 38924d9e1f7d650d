"""The classes of rows: what `y` may hold, and which of its rows have a label."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import column_or_1d

from anabranch.arrays import unmasked

_NONE = -1


def read_classes(y: Any, rows: int, remedy: str = "give one to each sample, or leave it out") -> NDArray[Any]:
    """Classes (rows), as scikit-learn reads them; the values of an array of objects may be of several types.

    Args:
        y: what was given.
        rows: how many there are to be.
        remedy: what to do about samples that have none.

    Raises:
        ValueError: of another number than the rows, or samples without one: None, NaN, NaT, masked.
    """
    values = np.asarray(column_or_1d(unmasked(y, "y"), warn=True))
    if values.dtype.kind == "f":
        bad = ~np.isfinite(values)
    elif values.dtype.kind == "M":
        bad = np.isnat(values)
    else:
        bad = (
            np.array([_is_gap(value) for value in values], dtype=bool)
            if values.dtype.kind == "O"
            else np.zeros(0, bool)
        )
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        raise ValueError(f"y: expected classes, got NaN, None or infinity ({values[row]} in row {row}); {remedy}")
    if len(values) != rows:
        raise ValueError(f"Found input variables with inconsistent numbers of samples: [{rows}, {len(values)}]")
    return values


def of_one_type(classes: NDArray[Any]) -> NDArray[Any]:
    """Classes (rows), of objects that are whole numbers, numbers or truth values as an array of such.

    Raises:
        ValueError: objects of several types, which have no order.

    Example:
        >>> import numpy as np
        >>> from anabranch.estimators.classes import of_one_type
        >>> of_one_type(np.array([1, 0], dtype=object))
        array([1, 0])
    """
    if classes.dtype.kind != "O":
        return classes
    plain = [value.item() if isinstance(value, np.generic) else value for value in classes]
    types = {type(value) for value in plain}
    if types <= {int, float} or types == {bool}:
        return np.array(plain)
    if len(types) > 1:
        names = " and ".join(sorted(kind.__name__ for kind in types))
        raise ValueError(f"y: expected classes of one type, got {names}; make them of one")
    return classes


def labelled(y: NDArray[Any]) -> NDArray[np.bool_]:
    """Which rows (rows) have a label: another one than the number -1.

    Raises:
        ValueError: the word '-1', which NumPy makes of the number in a list of words.

    Example:
        >>> import numpy as np
        >>> from anabranch.estimators.classes import labelled
        >>> labelled(np.array(["left", -1], dtype=object))
        array([ True, False])
    """
    if y.dtype.kind in "OU" and any(isinstance(value, str) and value == str(_NONE) for value in y):
        raise ValueError(
            f"y: expected the number {_NONE} where a sample has no label, got the word '{_NONE}'; "
            f"make y an array of objects, such as np.where(known, words.astype(object), {_NONE})"
        )
    if y.dtype.kind == "O":
        return np.array([not (isinstance(v, (int, float, np.number)) and v == _NONE) for v in y], dtype=bool)
    if y.dtype.kind in "USbM":
        return np.ones(len(y), dtype=bool)
    return np.asarray(y != _NONE)


def _is_gap(value: Any) -> bool:
    return (
        value is None
        or type(value).__name__ in ("NAType", "NaTType")
        or (isinstance(value, float) and math.isnan(value))
    )
