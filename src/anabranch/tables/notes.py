"""What was guessed about a CSV file, in words."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from anabranch.tables.hints import TEXT, Hints
from anabranch.tables.number_text import NUMBERS_SHARE, is_number, is_number_like
from anabranch.tables.time_text import time_style

_OPTIONS = ("sep", "encoding", "header", "decimal", "dates", "na", "kinds")
# of these nobody needs to be told, but of NA among codes such as DE and FR, which may be Namibia
_USUAL = frozenset(("NA", "N/A", "n/a", "<NA>", "#N/A", "NaN", "nan", "NULL", "null"))
# different texts by which to tell what a column holds, among so many rows
_SAMPLE, _SAMPLE_ROWS = 1_000, 20_000


@dataclass(frozen=True)
class Note:
    """Something that was guessed about a file.

    Args:
        text: what it was taken for.
        option: which option says otherwise: "sep", "encoding", "decimal", "na", "dates", "kinds", "header"; "" for none.
        column: which column it is about, None for the file.
    """

    text: str
    option: str
    column: str | None = None


def summary(notes: Sequence[Note], marks: Callable[[str], str]) -> str:
    """What was guessed, in one line, and which options say otherwise; "" for nothing.

    Args:
        notes: what was guessed.
        marks: how an option is written.
    """
    if not notes:
        return ""
    together: dict[str, list[str | None]] = {}
    for note in notes:
        together.setdefault(note.text, []).append(note.column)
    pieces = []
    for text, columns in together.items():
        named = [repr(name) for name in columns if name is not None]
        listed = ", ".join(named[:5]) + (f" and {len(named) - 5} more" if len(named) > 5 else "")
        pieces.append(f"{listed}: {text}" if named else text)
    options = [marks(name) for name in _OPTIONS if any(note.option == name for note in notes)]
    return f"guessed: {'; '.join(pieces)}" + (f" ({', '.join(options)} to say otherwise)" if options else "")


def why_text(name: str, trimmed: Any, gaps: Any, hints: Hints) -> Note | None:
    """Why what looks like numbers or dates is taken as text; None where it does not.

    Args:
        name: of the column.
        trimmed: its cells, without quotes and spaces.
        gaps: which of them are none.
        hints: what is known of it.
    """
    if hints.form == TEXT:
        return None
    values = pc.if_else(gaps, None, trimmed)
    sample = sample_of(values)
    if len(sample) < 2:
        return None
    numbers = sum(map(is_number, sample))
    if all(map(is_number_like, sample)):
        return Note(_why_no_numbers(sample), "kinds", name)
    if numbers > NUMBERS_SHARE * len(sample):
        return None  # a schema refuses it, and names the stray word
    times = None if hints.dates == "none" else time_style(sample, None)
    if times is None:
        return None
    bad = pc.indices_nonzero(pc.invert(pc.fill_null(times[0].fits(values), True)))
    if len(bad):
        row = bad[0].as_py()
        where = f"{values[row].as_py()!r} in row {row} (rows count from 0; {len(bad)} such)"
        return Note(f"dates, but for {where}: taken as text", "na", name)
    return Note("dates, of which not all exist, or some have a zone and others none: taken as text", "dates", name)


def words_for_gaps(name: str, values: Any, trimmed: Any, words: Any) -> Note | None:
    """The words of a column that were taken as gaps, where somebody may have meant them; None for none.

    Args:
        name: of the column.
        values: what it holds.
        trimmed: its cells, without quotes and spaces.
        words: which of them are words for gaps.
    """
    count = pc.sum(words).as_py() or 0
    if not count:
        return None
    used = pc.value_counts(trimmed.filter(words))
    told = {one["values"].as_py(): one["counts"].as_py() for one in used}
    usual = _USUAL
    if pa.types.is_string(values.type) and _are_codes(sample_of(values)):
        usual -= {"NA"}
    told = {word: rows for word, rows in told.items() if word not in usual}
    if not told:
        return None
    listed = ", ".join(f"{word!r} in {rows:,} row{'s' * (rows > 1)}" for word, rows in sorted(told.items()))
    return Note(f"{listed} taken as {'gaps' if sum(told.values()) > 1 else 'a gap'}", "na", name)


def sample_of(values: Any) -> list[str]:
    """Different texts of a column."""
    distinct = values.slice(0, _SAMPLE_ROWS).unique().drop_null()
    if not len(distinct):
        distinct = values.unique().drop_null()
    return list(distinct.slice(0, _SAMPLE).to_pylist())


def _why_no_numbers(sample: Sequence[str]) -> str:
    digits = [word.lstrip("+-") for word in sample]
    if any(word.isdigit() and word.startswith("0") and len(word) > 1 for word in digits):
        return "digits with zeros in front, taken as text"
    if any(word.isdigit() and len(word) > 15 for word in digits):
        return "numbers of more digits than are kept, taken as text"
    if all(word.startswith("+") for word in sample):
        return "digits behind a +, taken as text"
    return "numbers with different signs, units or marks, taken as text"


def _are_codes(words: Sequence[str]) -> bool:
    """Whether most words are two or three capitals, as codes of countries are."""
    short = sum(len(word) in (2, 3) and word.isalpha() and word.isupper() for word in words)
    return short > len(words) / 2
