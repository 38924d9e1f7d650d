"""Values that a model cannot hold, as plain JSON, and back."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa

from anabranch.tables.types import is_time, plain_type


def kept(values: pa.Array) -> list[Any]:
    """Values without gaps as JSON writes them: text, numbers, truth values; times as ticks, decimals as text.

    Example:
        >>> import pyarrow
        >>> from anabranch.compression.kept import kept, restored
        >>> dates = pyarrow.array([1, 20_000], pyarrow.date32())
        >>> kept(dates), restored(kept(dates), pyarrow.date32()).equals(dates)
        ([1, 20000], True)
    """
    if is_time(values.type):
        return values.view(_ticks(values.type)).to_pylist()
    if pa.types.is_decimal(values.type):
        return [str(value) for value in values.to_pylist()]
    return [value.item() if isinstance(value, np.generic) else value for value in values.to_pylist()]


def restored(values: list[Any], kind: pa.DataType) -> pa.Array:
    """The inverse of `kept`, for the type of a column.

    Raises:
        ValueError, pyarrow.ArrowException: values of another type.
    """
    kind = plain_type(kind)
    if is_time(kind):
        return pa.array(values, _ticks(kind)).view(kind)
    if pa.types.is_decimal(kind):
        return pa.array([Decimal(value) for value in values], kind)
    if pa.types.is_floating(kind):
        return pa.array(values, pa.float64()).cast(kind, safe=False)
    return pa.array(values, kind)


def _ticks(kind: pa.DataType) -> pa.DataType:
    return pa.int32() if pa.types.is_date32(kind) or pa.types.is_time32(kind) else pa.int64()
