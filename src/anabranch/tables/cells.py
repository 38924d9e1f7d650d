"""The cells of CSV text as they are written, quotes included, in Arrow arrays."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from anabranch.tables.dialect import UnsuitableError

_QUOTE, _PIECE = ord('"'), 2**22
# letters and digits, which part no cells
_WORD = np.array([chr(code).isalnum() for code in range(128)] + [True] * 128)
# bytes that text hardly ever holds stand for what is in quotes and would part cells or lines
_STAND_INS = (*range(0x01, 0x09), *range(0x0E, 0x20))


@dataclass(frozen=True)
class Cells:
    """The cells of a CSV file as they are written.

    Args:
        header: the names of the columns, as they are written.
        columns: the cells of each column, as they are written: text, and never null.
        quotes: whether there is any quote in the file.
        blank_end: how many blank lines the end of a table of one column had, which are no rows.
    """

    header: list[str]
    columns: list[pa.ChunkedArray]
    quotes: bool
    blank_end: int = 0

    @property
    def names(self) -> list[str]:
        """The names of the columns, without quotes."""
        return [unquoted_word(word) for word in self.header]

    @cached_property
    def all_quoted(self) -> bool:
        """Whether every cell that holds something is in quotes, names included, so that quotes tell nothing."""
        if not self.quotes or not all(_in_quotes(word) for word in self.header):
            return False
        # the first rows tell most files
        return all(
            bool(pc.all(pc.or_(pc.starts_with(part, '"'), pc.equal(part, ""))).as_py())
            for rows in (1_000, None)
            for part in (column.slice(0, rows) for column in self.columns)
        )


def cut(text: bytes, sep: str, header: bool) -> Cells:
    """The cells of CSV text in UTF-8.

    A quote opens a quoted field at its start alone; two quotes in it are one. Blank lines are no rows, but in a table of one
    column they are rows with an empty cell, except at the end.

    Args:
        text: all of it.
        sep: what separates fields, one byte.
        header: whether the first line holds names; otherwise columns are named column_0, column_1, ...

    Raises:
        UnsuitableError: no rows.
        pyarrow.ArrowInvalid: rows of different lengths; it counts lines from 1.
    """
    quotes = b'"' in text
    stand_ins: dict[bytes, bytes] = {}
    shielded: bytes | bytearray = text
    if quotes:
        stand_ins = _stand_ins(text, sep)
        shielded = _shielded(text, stand_ins, sep)
        stand_ins = {one: other for one, other in stand_ins.items() if other in shielded}
    if b"\r" in shielded and b"\n" not in shielded:
        shielded = shielded.replace(b"\r", b"\n")
    begin = _next_of(shielded, 0)
    end = shielded.find(b"\n", begin)
    end = len(shielded) if end < 0 else end
    first = bytes(shielded[begin:end]).rstrip(b"\r")
    words = [_restored_word(word, stand_ins) for word in first.split(sep.encode())]
    below = begin if not header else min(end + 1, len(shielded))
    stop, blank_end = len(shielded), 0
    if len(words) == 1:
        while stop > below and shielded[stop - 1] in b"\r\n":
            stop -= 1
        blank_end = max(0, shielded.count(b"\n", stop) - 1)
        stop = min(len(shielded), stop + 1)
    if _next_of(shielded, below) >= stop:
        raise UnsuitableError("the table holds no rows; give one that holds some")
    body = memoryview(shielded)[below:stop]
    columns = _columns(body, sep, len(words), shielded.count(b"\n", 0, below))
    columns = [_restored(column, stand_ins) for column in columns]
    if not header:
        words = [f"column_{i}" for i in range(len(words))]
    return Cells(words, columns, quotes, blank_end)


def _next_of(text: bytes | bytearray, begin: int) -> int:
    """Where the next byte is that ends no line."""
    while begin < len(text) and text[begin] in b"\r\n":
        begin += 1
    return begin


def _columns(body: memoryview, sep: str, count: int, lines_before: int) -> list[pa.ChunkedArray]:
    from pyarrow import csv  # noqa: PLC0415 (each reader loads its own format)

    names = [str(i) for i in range(count)]

    def read(threads: bool, block: int) -> pa.Table:
        return csv.read_csv(
            pa.BufferReader(pa.py_buffer(body)),
            read_options=csv.ReadOptions(column_names=names, use_threads=threads, block_size=block),
            parse_options=csv.ParseOptions(
                delimiter=sep, quote_char=False, double_quote=False, ignore_empty_lines=count > 1
            ),
            convert_options=csv.ConvertOptions(
                check_utf8=False, strings_can_be_null=False, column_types=dict.fromkeys(names, pa.string())
            ),
        )

    block = 2**20
    try:
        return list(read(True, block).columns)
    except pa.ArrowInvalid as error:
        if "straddling" in str(error):
            return list(read(False, len(body) + 1).columns)
    try:
        read(False, block)  # only one thread's messages name the row
    except pa.ArrowInvalid as error:
        words = re.sub(r"Row #(\d+)", lambda found: f"Row #{int(found[1]) + lines_before}", str(error))
        raise pa.ArrowInvalid(words) from error
    raise UnsuitableError("its rows have different numbers of fields")


def unquoted(column: pa.ChunkedArray) -> tuple[pa.ChunkedArray, pa.ChunkedArray | None]:
    """Cells without their quotes, and which had any; None if none had."""
    if not pc.any(pc.starts_with(column, '"')).as_py():
        return column, None
    mask = quoted(column)
    inner = pc.binary_slice(column.cast(pa.binary()), 1, -1).cast(pa.string())
    if pc.any(pc.match_substring(inner, '""')).as_py():
        inner = pc.replace_substring(inner, '""', '"')
    return pc.if_else(mask, inner, column), mask


def quoted(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Which cells are in quotes."""
    both = pc.and_(pc.starts_with(column, '"'), pc.ends_with(column, '"'))
    return pc.and_(both, pc.greater(pc.binary_length(column), 1))


def unquoted_word(word: str) -> str:
    """One cell without its quotes."""
    return word[1:-1].replace('""', '"') if _in_quotes(word) else word


def _in_quotes(word: str) -> bool:
    return len(word) > 1 and word[0] == word[-1] == '"'


def _stand_ins(text: bytes, sep: str) -> dict[bytes, bytes]:
    free = [bytes([code]) for code in _STAND_INS if bytes([code]) not in text]
    special = (sep.encode(), b"\n", b"\r")
    if len(free) < len(special):
        raise UnsuitableError("it holds too many different control characters, so it is no text")
    return dict(zip(special, free, strict=False))


def _shielded(text: bytes, stand_ins: dict[bytes, bytes], sep: str) -> bytes | bytearray:
    """Text with stand-ins for separators and ends of lines in quotes, so that no others are left."""
    raw = np.frombuffer(text, np.uint8)
    pieces = range(0, len(raw), _PIECE)  # which the processor's cache holds
    places = np.concatenate([np.flatnonzero(raw[i : i + _PIECE] == _QUOTE) + i for i in pieces])
    if not _regular(raw, places, ord(sep)):
        return _shielded_one_by_one(text, stand_ins, sep)
    many = int((places[1::2] - places[0::2]).sum()) > len(raw) / 4
    result = None
    for where in _of_pieces(raw) if many else _of_fields(places):
        codes = raw[where]
        for special, stand_in in stand_ins.items():
            found = where[codes == special[0]]
            if len(found):
                result = bytearray(text) if result is None else result
                np.frombuffer(result, np.uint8)[found] = stand_in[0]
    return text if result is None else result


def _of_pieces(raw: NDArray[np.uint8]) -> Iterator[NDArray[np.int64]]:
    """Where bytes are in quotes that are neither letters nor digits nor quotes, piece by piece; where most bytes are."""
    inside = np.uint8(0)
    for begin in range(0, len(raw), _PIECE):
        piece = raw[begin : begin + _PIECE]
        count = np.add.accumulate((piece == _QUOTE).view(np.uint8), dtype=np.uint8)
        count += inside
        inside = count[-1] & 1
        yield np.flatnonzero((count & 1).view(bool) & (piece != _QUOTE) & ~_WORD[piece]) + begin


def _of_fields(places: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    """Where bytes are in quotes, field by field; where few are."""
    begins, lengths = places[0::2] + 1, places[1::2] - places[0::2] - 1
    ends = np.cumsum(lengths)
    for first in range(0, int(ends[-1]), _PIECE):
        low, high = np.searchsorted(ends, [first, first + _PIECE], side="right")
        if low == high and high < len(ends):
            high += 1  # one field longer than a piece
        some = lengths[low:high]
        yield np.repeat(begins[low:high] - (np.cumsum(some) - some), some) + np.arange(some.sum())


def _regular(raw: NDArray[np.uint8], places: NDArray[np.int64], sep: int) -> bool:
    """Whether quotes open and close in turns: each is at the start or the end of a field, or beside another in it."""
    if len(places) % 2:
        return False
    opening, closing = places[0::2], places[1::2]
    ends = np.zeros(256, bool)
    ends[[sep, 10, 13, _QUOTE]] = True
    before = raw[opening[opening > 0] - 1]
    after = raw[closing[closing < len(raw) - 1] + 1]
    if not (ends[before].all() and ends[after].all()):
        return False
    # a quote before an opening one must have closed just there, which is a quote written twice
    doubled = np.zeros(len(opening), bool)
    doubled[1:] = opening[1:] == closing[:-1] + 1
    touching = (opening > 0) & (raw[np.maximum(opening, 1) - 1] == _QUOTE)
    return bool((touching == doubled).all())


def _shielded_one_by_one(text: bytes, stand_ins: dict[bytes, bytes], sep: str) -> bytes:
    """The same where quotes stand within fields too, as in 5" wide."""
    field = re.compile(rb"(?:(?<=[\r\n" + re.escape(sep.encode()) + rb'])|\A)"(?:[^"]|"")*"')
    table = bytes.maketrans(b"".join(stand_ins), b"".join(stand_ins.values()))
    return field.sub(lambda found: found[0].translate(table), text)


def _restored(column: pa.ChunkedArray, stand_ins: dict[bytes, bytes]) -> pa.ChunkedArray:
    for special, stand_in in stand_ins.items():
        if pc.any(pc.match_substring(column, stand_in.decode())).as_py():
            column = pc.replace_substring(column, stand_in.decode(), special.decode())
    return column


def _restored_word(word: bytes, stand_ins: dict[bytes, bytes]) -> str:
    for special, stand_in in stand_ins.items():
        word = word.replace(stand_in, special)
    return word.decode()
