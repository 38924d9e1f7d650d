"""Single values as people write them, in questions and mappings: numbers, words, dates."""

from __future__ import annotations

import datetime
import math
from fractions import Fraction
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from anabranch.tables.frame import TableError
from anabranch.tables.types import is_number, is_text, is_time

_TRUE = ("true", "yes", "1")
_FALSE = ("false", "no", "0")


def read_value(name: str, value: Any, kind: pa.DataType) -> pa.Array:
    """One value, of Python or in words, as an Arrow array of one: of the type where the value is text.

    Args:
        name: of the column, for errors.
        value: a number, a truth value, a date, or text that stands for one.
        kind: the column's type.

    Raises:
        TableError: text that is no value of the type; a value that Arrow does not know.

    Example:
        >>> import pyarrow
        >>> from anabranch.tables.columns.written import read_value
        >>> read_value("born", "1990-05-17", pyarrow.date32()).to_pylist()
        [datetime.date(1990, 5, 17)]
    """
    value = value.item() if isinstance(value, np.generic) else value
    if isinstance(value, str):
        if pa.types.is_boolean(kind):
            return pa.array([_truth(name, value)])
        if is_number(kind):
            number = read_number(name, value)
            whole = number.denominator == 1 and abs(number) < 2**63
            value = int(number) if whole else float(value)
        elif is_time(kind):
            return _time(name, value, kind)
        elif is_text(kind):
            return pa.array([value], kind)
    if isinstance(value, float) and math.isnan(value):
        return pa.nulls(1, kind)
    if pa.types.is_boolean(kind) and value in (0, 1):
        return pa.array([bool(value)])
    try:
        array = pa.array([value])
        # the float of 32 bits nearest to 0.1 is what such a column holds for 0.1
        narrow = pa.types.is_float32(kind) or pa.types.is_float16(kind)
        return array.cast(kind, safe=False) if narrow and is_number(array.type) else array
    except (pa.ArrowException, OverflowError) as error:
        raise TableError(f"column {name!r}: expected one value, got {value!r}") from error


def read_number(name: str, value: Any) -> Fraction:
    """A finite number, exactly as it was written.

    Raises:
        TableError: it is none.
    """
    try:
        number = float(value)
        if math.isfinite(number):
            return Fraction(str(value).strip())
    except (TypeError, ValueError, OverflowError):
        pass
    raise TableError(f"column {name!r}: expected a finite number, got {value!r}")


def _truth(name: str, text: str) -> bool:
    word = text.strip().lower()
    if word in _TRUE or word in _FALSE:
        return word in _TRUE
    raise TableError(f"column {name!r}: expected true or false, got {text!r}")


def _time(name: str, text: str, kind: pa.DataType) -> pa.Array:
    """A point in time, in the zone of the type if it has one; a duration as a number of the type's unit, or H:M:S."""
    array = pa.array([text.strip()])
    try:
        if pa.types.is_duration(kind):
            return pa.array([_elapsed(text)], pa.duration("us")).cast(kind)
        if pa.types.is_time(kind):
            return pa.array([datetime.time.fromisoformat(text.strip())]).cast(kind)
        if pa.types.is_timestamp(kind) and kind.tz is not None:
            naive = array.cast(pa.timestamp(kind.unit))
            try:
                return pc.assume_timezone(naive, kind.tz, ambiguous="earliest")
            except pa.ArrowInvalid as error:
                raise TableError(
                    f"column {name!r}: {text!r} does not exist in {kind.tz}, whose clocks leap there"
                ) from error
        return array.cast(pa.timestamp("ms")).cast(kind) if pa.types.is_date64(kind) else array.cast(kind)
    except TableError:
        raise
    except (pa.ArrowException, ValueError, OverflowError) as error:
        wanted = {True: "a duration such as 1:30:00, or a number of seconds"}.get(pa.types.is_duration(kind))
        wanted = wanted or ("a time such as 12:30:00" if pa.types.is_time(kind) else "a date such as 2024-05-17")
        raise TableError(f"column {name!r}: expected {wanted}, got {text!r}") from error


def _elapsed(text: str) -> datetime.timedelta:
    """Of H:M:S, with fractions, or of seconds alone."""
    sign = -1 if text.strip().startswith("-") else 1
    pieces = [float(piece) for piece in text.strip().lstrip("+-").split(":")]
    if len(pieces) not in (1, 3):  # of two it is not clear which
        raise ValueError(text)
    total = sum(piece * 60.0**k for k, piece in enumerate(reversed(pieces)))
    return datetime.timedelta(seconds=sign * total)
