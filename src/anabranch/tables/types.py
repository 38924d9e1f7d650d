"""Types of Arrow columns as words that a file can hold, and back."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

_TIMESTAMP = re.compile(r"timestamp\[(s|ms|us|ns)(?:, tz=(.+))?\]")
_DICTIONARY = re.compile(r"dictionary<values=(.+), indices=(\w+), ordered=([01])>")
_RUNS = re.compile(r"run_end_encoded<run_ends: (\w+), values: (.+)>")
_EXTENSIONS = {"extension<arrow.bool8>": pa.bool8, "extension<arrow.json>": pa.json_}
_DECIMAL = re.compile(r"decimal(32|64|128|256)\((\d+), (-?\d+)\)")
# Arrow's own names of types that its aliases do not know
_NAMES = {"date32[day]": "date32", "date64[ms]": "date64"}


def type_under(kind: pa.DataType) -> pa.DataType:
    """The type of the values of a dictionary (categories of pandas and polars), or of runs of equal values; else itself."""
    while pa.types.is_dictionary(kind) or pa.types.is_run_end_encoded(kind):
        kind = kind.value_type
    return kind


def plain_type(kind: pa.DataType) -> pa.DataType:
    """The type in which Arrow computes with a column: that of `flat`.

    Example:
        >>> import pyarrow
        >>> from anabranch.tables.types import plain_type
        >>> plain_type(pyarrow.dictionary(pyarrow.int8(), pyarrow.string_view()))
        DataType(string)
    """
    kind = type_under(kind)
    if pa.types.is_string_view(kind):
        return pa.string()
    if pa.types.is_decimal32(kind) or pa.types.is_decimal64(kind):
        return pa.decimal128(kind.precision, kind.scale)
    if isinstance(kind, pa.BaseExtensionType) and kind.extension_name == "arrow.bool8":
        return pa.bool_()
    if isinstance(kind, pa.BaseExtensionType) and kind.extension_name == "arrow.json":
        return kind.storage_type
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
    if found := _DICTIONARY.fullmatch(name):
        return pa.dictionary(type_of(found[2]), type_of(found[1]), ordered=found[3] == "1")
    if found := _RUNS.fullmatch(name):
        return pa.run_end_encoded(type_of(found[1]), type_of(found[2]))
    if name in _EXTENSIONS:
        return _EXTENSIONS[name]()
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


def spelled_out(column: Any) -> Any:
    """A column in a type that Arrow computes with: runs of equal values row by row, narrow decimals in 128 bits, truth
    values of 8 bits and JSON as what they are kept in. All other columns as they are, dictionaries too.
    """
    if isinstance(column, pa.ChunkedArray):
        if not _is_packed(column.type):
            return column
        chunks = [spelled_out(chunk) for chunk in column.chunks]
        return pa.chunked_array(chunks or [spelled_out(pa.array([], column.type))])
    kind = column.type
    if pa.types.is_run_end_encoded(kind):
        ends = np.asarray(column.run_ends)
        if not len(column):
            return spelled_out(pa.array([], kind.value_type))
        # row by row, the run that it is in
        run = np.searchsorted(ends, np.arange(column.offset, column.offset + len(column)), side="right")
        return spelled_out(column.values.take(pa.array(run)))
    if pa.types.is_decimal32(kind) or pa.types.is_decimal64(kind):
        return column.cast(pa.decimal128(kind.precision, kind.scale))
    if pa.types.is_dictionary(kind) and _is_packed(kind.value_type):
        return pa.DictionaryArray.from_arrays(column.indices, spelled_out(column.dictionary), ordered=kind.ordered)
    if isinstance(kind, pa.BaseExtensionType) and kind.extension_name == "arrow.bool8":
        return pc.not_equal(column.storage, 0)
    if isinstance(kind, pa.BaseExtensionType) and kind.extension_name == "arrow.json":
        return column.storage
    return column


def _is_packed(kind: pa.DataType) -> bool:
    """Whether `spelled_out` makes another type of it."""
    if pa.types.is_dictionary(kind):
        return _is_packed(kind.value_type)
    if isinstance(kind, pa.BaseExtensionType):
        return kind.extension_name in ("arrow.bool8", "arrow.json")
    return bool(pa.types.is_run_end_encoded(kind) or pa.types.is_decimal32(kind) or pa.types.is_decimal64(kind))


def in_one_piece(column: Any) -> pa.Array:
    """A column without its division into chunks, of the same type."""
    if isinstance(column, pa.ChunkedArray):  # not combine_chunks, which in some versions gives chunks again
        if column.num_chunks == 1:
            return column.chunk(0)
        return pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)
    return column


def flat(column: Any) -> pa.Array:
    """A column in one piece, a dictionary's as its values."""
    array = in_one_piece(spelled_out(column))
    if pa.types.is_dictionary(array.type):
        # whose decoding Arrow refuses of some types
        return flat(array.dictionary).take(array.indices)
    # which Arrow cannot sort
    return array.cast(pa.string()) if pa.types.is_string_view(array.type) else array
