"""Types of Arrow columns as words that a file can hold, and back."""

from __future__ import annotations

import re
from typing import Any

import pyarrow as pa

_TIMESTAMP = re.compile(r"timestamp\[(s|ms|us|ns)(?:, tz=(.+))?\]")
_DECIMAL = re.compile(r"decimal(32|64|128|256)\((\d+), (-?\d+)\)")
# Arrow's own names of types that its aliases do not know
_NAMES = {"date32[day]": "date32", "date64[ms]": "date64"}


def type_under(kind: pa.DataType) -> pa.DataType:
    """The type of the values of a dictionary (categories of pandas and polars), or of runs of equal values; else itself."""
    while pa.types.is_dictionary(kind) or pa.types.is_run_end_encoded(kind):
        kind = kind.value_type
    return kind


def type_name(kind: pa.DataType) -> str:
    """The name of a type; a dictionary's (categories of pandas and polars) is that of its values."""
    return str(type_under(kind))


def type_of(name: str) -> pa.DataType:
    """The type of that name.

    Raises:
        ValueError: there is none.

    Example:
        >>> import pyarrow
        >>> from anabranch.tables.types import type_name, type_of
        >>> type_of(type_name(pyarrow.timestamp("ns", "Europe/Berlin")))
        TimestampType(timestamp[ns, tz=Europe/Berlin])
    """
    if found := _TIMESTAMP.fullmatch(name):
        return pa.timestamp(found[1], tz=found[2])
    if found := _DECIMAL.fullmatch(name):
        return getattr(pa, f"decimal{found[1]}")(int(found[2]), int(found[3]))
    try:
        return pa.type_for_alias(_NAMES.get(name, name))
    except ValueError:
        raise ValueError(f"type: expected the name of an Arrow type, such as 'int64', got {name!r}") from None


def is_text(kind: pa.DataType) -> bool:
    """Whether a column of that type holds text."""
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def is_number(kind: pa.DataType) -> bool:
    """Whether a column of that type holds numbers."""
    return bool(pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_decimal(kind))


def is_time(kind: pa.DataType) -> bool:
    """Whether a column of that type holds points in time, times of day or durations."""
    return bool(pa.types.is_temporal(kind)) and not pa.types.is_interval(kind)


def flat(column: Any) -> pa.Array:
    """A column in one piece, a dictionary's as its values."""
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if isinstance(array, pa.ChunkedArray):  # what some versions make of no chunks at all
        array = pa.concat_arrays(array.chunks) if array.num_chunks else pa.array([], array.type)
    array = array.dictionary_decode() if pa.types.is_dictionary(array.type) else array
    # which Arrow cannot sort
    return array.cast(pa.string()) if pa.types.is_string_view(array.type) else array
