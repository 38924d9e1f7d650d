"""Arrays as every door reads them: masked cells are gaps, and whole numbers that floats do not hold are refused."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

# float64 holds every whole number up to here
LARGEST_EXACT = 2**53


def unmasked(value: Any, name: str = "x") -> Any:
    """`value`, of a masked NumPy array one in which masked cells are gaps: NaN in numbers, NaT in times, else None.

    Raises:
        ValueError: masked cells beside whole numbers beyond 2^53, which have no NaN.

    Example:
        >>> import numpy as np
        >>> from anabranch.arrays import unmasked
        >>> unmasked(np.ma.masked_equal([1, -9999], -9999))
        array([ 1., nan])
    """
    if not isinstance(value, np.ma.MaskedArray):
        return value
    mask = np.ma.getmaskarray(value)
    data = np.asarray(value.data)
    if not mask.any():
        return data
    if data.dtype.kind in "fc":
        return np.where(mask, np.asarray(np.nan, dtype=data.dtype), data)
    if data.dtype.kind in "iub":
        refuse_inexact(name, np.where(mask, 0, data))
        return np.where(mask, np.nan, data.astype(np.float64))
    if data.dtype.kind in "mM":
        return np.where(mask, np.array("NaT", dtype=data.dtype), data)
    objects = data.astype(object)
    objects[mask] = None
    return objects


def refuse_inexact(name: str, values: NDArray[Any], columns: Sequence[str] | None = None) -> None:
    """Raise ValueError for a whole number beyond 2^53, with its row and column: as a float it would lose its last digits.

    Args:
        name: of the array.
        values: (rows, ...), of any type.
        columns: names of the columns, if they have some.

    Example:
        >>> import numpy as np
        >>> from anabranch.arrays import refuse_inexact
        >>> refuse_inexact("x", np.array([2**53 + 1]))
        Traceback (most recent call last):
        ...
        ValueError: x: expected whole numbers up to 2^53, got 9007199254740993 in row 0; subtract an offset, or leave it out
    """
    if values.dtype.kind in "iu":
        # no array of truth values beside a large one that has none
        within = not values.size or (values.min() >= -LARGEST_EXACT and values.max() <= LARGEST_EXACT)
        if values.dtype.itemsize < 8 or within:
            return
        bad = (values > LARGEST_EXACT) | (values < -LARGEST_EXACT)
    elif values.dtype.kind == "O":
        bad = np.array([_inexact(value) for value in values.ravel()], dtype=bool).reshape(values.shape)
    else:
        return
    if not bad.any():
        return
    first = tuple(int(place) for place in np.argwhere(bad)[0])
    row = f" in row {first[0]}" if first else ""
    column = "" if len(first) < 2 else f", column {first[1] if columns is None else repr(str(columns[first[1]]))}"
    raise ValueError(
        f"{name}: expected whole numbers up to 2^53, got {values[first]}{row}{column}; subtract an offset, or leave it out"
    )


def _inexact(value: Any) -> bool:
    return isinstance(value, (int, np.integer)) and not -LARGEST_EXACT <= int(value) <= LARGEST_EXACT
