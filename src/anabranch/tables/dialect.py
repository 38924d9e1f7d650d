"""How a CSV file is written: its encoding, what separates its fields, how its lines end."""

from __future__ import annotations

import codecs
import csv
import io
from dataclasses import dataclass

SEPARATORS = (",", ";", "\t", "|")
_NAMES = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "vertical bars"}

# each mark with the codec behind it; that of UTF-32 begins like that of UTF-16, so it goes first
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
# of the file, enough to tell separators by
_LOOKED_AT, _LINES = 65_536, 200


class UnsuitableError(ValueError):
    """The file could be read, but is no table of ours."""


@dataclass(frozen=True)
class Dialect:
    """How a CSV file is written, so that another can be written in the same way.

    Args:
        encoding: the codec, in Python's word.
        mark: the bytes in front that tell the encoding (byte order mark).
        sep: what separates fields.
        newline: what ends a line.
        decimal: the decimal mark of most of its columns.
    """

    encoding: str = "utf-8"
    mark: bytes = b""
    sep: str = ","
    newline: str = "\n"
    decimal: str = "."


def separator_name(sep: str) -> str:
    """A separator in words."""
    return _NAMES.get(sep, repr(sep))


def decoded(data: bytes, encoding: str | None) -> tuple[bytes, str, bytes, bool]:
    """A file's text in UTF-8.

    A mark in front tells the encoding; without one, text that is valid UTF-8 is that; zeros in every other byte are UTF-16;
    anything else is cp1252, Western European, or where it holds bytes that this leaves open, latin-1.

    Args:
        data: the file.
        encoding: the codec; None to tell it from the data.

    Returns:
        the text, the codec, the mark, and whether the codec was a guess.

    Raises:
        UnsuitableError: the data are no text of that encoding.
    """
    mark, codec, guess = b"", encoding, False
    for start, name in _MARKS:
        if data.startswith(start) and encoding in (None, name, name.rsplit("-", 1)[0], "utf-8-sig"):
            mark, codec = start, name
            break
    body = data[len(mark) :] if mark else data
    if codec is None:
        codec, guess = _codec_of(body)
    try:
        codec = codecs.lookup(codec).name.replace("iso8859-1", "latin-1")
        if codec in ("utf-8", "ascii"):
            if not body.isascii():
                body.decode(codec)
            return body, codec, mark, guess
        return body.decode(codec).encode(), codec, mark, guess
    except LookupError:
        raise UnsuitableError(
            f"encoding: expected the name of one, such as utf-8, cp1252 or utf-16, got {encoding!r}"
        ) from None
    except UnicodeError as error:
        raise UnsuitableError(f"its text is no {codec} ({error}); say its encoding: --encoding, encoding=") from error


def _codec_of(data: bytes) -> tuple[str, bool]:
    """The encoding of text without a mark, and whether it is a guess."""
    start = data[:4096]
    if 0 in start:
        zeros = start[0::2].count(0), start[1::2].count(0)
        if min(zeros) == 0 and max(zeros) > len(start) / 8:
            return ("utf-16-be" if zeros[0] else "utf-16-le"), True
        raise UnsuitableError("it holds zero bytes, so it is no text")
    try:
        if not data.isascii():
            data.decode("utf-8")
        return "utf-8", False
    except UnicodeDecodeError:
        pass
    try:
        data.decode("cp1252")
        return "cp1252", True
    except UnicodeDecodeError:
        return "latin-1", True


def separator_of(text: bytes) -> str:
    """What separates the fields of CSV text: that with which most rows have as many fields as the first."""
    sample = text[:_LOOKED_AT].decode("utf-8", "replace")
    best, chosen = (0.0, 1), None
    for sep in SEPARATORS:
        rows = []
        try:
            for row in csv.reader(io.StringIO(sample, newline=""), delimiter=sep):
                rows.append(row)
                if len(rows) > _LINES:
                    break
        except csv.Error:
            continue
        if len(text) > _LOOKED_AT and len(rows) <= _LINES:
            rows = rows[:-1]  # cut off where the sample ends
        rows = [row for row in rows if row]
        if not rows or len(rows[0]) < 2:
            continue
        alike = sum(len(row) == len(rows[0]) for row in rows[1:])
        score = alike / max(1, len(rows) - 1), len(rows[0])
        if score > best or chosen is None:
            best, chosen = score, sep
    if chosen is not None:
        return chosen
    # names of one column: what is not there at all parts none of its cells, as in 1,5
    return next((sep for sep in SEPARATORS if sep.encode() not in text), ",")


def newline_of(text: bytes) -> str:
    """What ends the lines of CSV text."""
    first = text.find(b"\n")
    if first < 0:
        return "\r" if b"\r" in text else "\n"
    return "\r\n" if text[first - 1 : first] == b"\r" else "\n"
