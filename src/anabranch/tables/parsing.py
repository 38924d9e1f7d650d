"""CSV files of bytes to sheets: what the file as a whole tells of its columns."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from anabranch.tables.cells import Cells, cut, unquoted
from anabranch.tables.dialect import Dialect, UnsuitableError, decoded, newline_of, separator_name, separator_of
from anabranch.tables.guessing import Guess, guess
from anabranch.tables.hints import Style
from anabranch.tables.notes import Note
from anabranch.tables.number_text import NumberStyle
from anabranch.tables.reading import Reading
from anabranch.tables.sheet import Sheet
from anabranch.tables.time_text import TimeStyle

# cells by which a line of numbers is told from the rows below it
_ROWS_BELOW = 1_000


def parse(data: bytes, reading: Reading) -> Sheet:
    """A CSV file of bytes.

    Raises:
        UnsuitableError: it is no table; it says why.
        pyarrow.ArrowInvalid: rows of different lengths.
    """
    text, encoding, mark, guessed = decoded(data, reading.encoding)
    sep, sep_told = reading.sep, reading.sep is not None
    if (first := re.match(rb"sep=([^\w\s]|\t)\r?\n", text)) is not None:  # which Excel writes and reads
        text = text[first.end() :]
        sep, sep_told = (sep or first[1].decode()), True
    sep = sep or separator_of(text)
    cells = cut(text, sep, reading.header is not False)
    notes = []
    if sep != "," and not sep_told and len(cells.header) > 1:
        notes.append(Note(f"{separator_name(sep)} between fields", "sep"))
    if guessed:
        notes.append(Note(f"text in {encoding}", "encoding"))
    if reading.header is None and all(_is_number(name) for name in cells.names):
        if not _names_of_numbers(cells):
            raise UnsuitableError(
                "its first line looks like data; put a line with the names of the columns on top, or say that it is one "
                "(--header, header=True) or that there is none (--no-header, header=False)"
            )
        notes.append(Note("numbers in the first line as names", "header"))
    if cells.blank_end:
        lines = (
            "a blank line at the end as no row"
            if cells.blank_end == 1
            else f"{cells.blank_end} blank lines at the end as no rows"
        )
        notes.append(Note(lines, ""))
    guesses = _guesses(cells, reading, sep)
    if isinstance(reading.dates, Mapping):
        _check_dates(reading.dates, dict(zip(cells.names, guesses, strict=True)))
    decimals = Counter(one.style.decimal for one in guesses if isinstance(one.style, NumberStyle))
    decimal = "," if decimals[","] else "."
    dialect = Dialect(encoding, mark, sep, newline_of(text), decimal)
    names = cells.names
    for one in guesses:
        notes += one.notes
    table = pa.table([one.values for one in guesses], names=names)
    styles = {name: one.style for name, one in zip(names, guesses, strict=True) if one.style is not None}
    return Sheet(table, cells, dialect, styles, notes, reading.gaps)


def _guesses(cells: Cells, reading: Reading, sep: str) -> list[Guess]:
    all_quoted = cells.all_quoted
    bare = [unquoted(column) if cells.quotes else (column, None) for column in cells.columns]
    known: dict[str, Any] = {"all_quoted": all_quoted, "comma_between": sep != ";"}

    names = cells.names
    hints = reading.hints(names, known)

    def one(i: int, **more: Any) -> Guess:
        return guess(names[i], *bare[i], replace(hints[i], **more))

    places = range(len(bare))
    with ThreadPoolExecutor(max(1, pa.cpu_count())) as pool:
        guesses = list(pool.map(one, places))
    # what the file's other columns tell of those that could be either
    if reading.decimal is None:
        certain = {
            g.style.decimal for g in guesses if isinstance(g.style, NumberStyle) and not g.undecided and _marked(g)
        }
        if "," in certain:
            for i in places:
                style = guesses[i].style
                if guesses[i].undecided and isinstance(style, NumberStyle):
                    guesses[i] = _settled(one(i, comma_file=True, comma_between=False), style)
                elif (
                    pa.types.is_floating(guesses[i].values.type)
                    and isinstance(style, NumberStyle)
                    and style.decimal == "."
                ):
                    guesses[i] = one(i, comma_file=True)
    else:
        certain = {reading.decimal}
    orders = {g.style.order for g in guesses if isinstance(g.style, TimeStyle) and not g.undecided}
    day_first = (
        True if "dmy" in orders else False if "mdy" in orders else (True if "," in certain or sep == ";" else None)
    )
    for i in places:
        if guesses[i].undecided and isinstance(guesses[i].style, TimeStyle) and day_first is not None:
            guesses[i] = one(i, day_first=day_first)
    return guesses


def _check_dates(dates: Mapping[str, str], guesses: Mapping[str, Guess]) -> None:
    """Raise UnsuitableError for columns that are said to hold dates, and do not."""
    for name, how in dates.items():
        if name not in guesses:
            raise UnsuitableError(f"dates: expected columns of the table, got {name!r}")
        values = guesses[name].values
        if how != "none" and not pa.types.is_temporal(values.type):
            seen = values.drop_null()
            if "%" in how and pa.types.is_string(seen.type):
                seen = seen.filter(pc.invert(TimeStyle(how).fits(seen)))
            example = f", such as {seen[0].as_py()!r}," if len(seen) else ""
            raise UnsuitableError(
                f"column {name!r} holds values{example} that are no dates as {how!r}; see --dates, dates="
            )


def _marked(one: Guess) -> bool:
    """Whether its numbers have any decimals, so that the mark is known."""
    return pa.types.is_floating(one.values.type)


def _settled(one: Guess, before: Style) -> Guess:
    return one if one.style is not None else Guess(one.values, before, one.notes)


def _names_of_numbers(cells: Cells) -> bool:
    """Whether a first line of numbers holds names: whole, years or counted through, and other than what is below."""
    names = cells.names
    if not all(name.isdigit() for name in names) or len(set(names)) < len(names):
        return False
    numbers = [int(name) for name in names]
    counted = all(b - a == 1 for a, b in itertools.pairwise(numbers)) and numbers[0] in (0, 1)
    if not counted and not all(1500 <= number <= 2500 for number in numbers):
        return False
    whole = r'^"?\s*[-+]?\d*\s*"?$'
    below = [pc.all(pc.match_substring_regex(c.slice(0, _ROWS_BELOW), whole)).as_py() for c in cells.columns]
    return not all(below)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
