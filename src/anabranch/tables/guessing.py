"""What the texts of a CSV column are: numbers, dates, truth values, or text; and what was guessed for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from anabranch.tables.hints import GAPS, NUMBER, TEXT, TIME, TRUTH, Hints, Style
from anabranch.tables.notes import Note, sample_of, why_text, words_for_gaps
from anabranch.tables.number_text import NumberStyle, is_number, number_style, plain_numbers
from anabranch.tables.time_text import TimeStyle, compact_dates, time_style

_TRUE, _FALSE = ["true", "True", "TRUE"], ["false", "False", "FALSE"]
# and where truth values are declared
TRUE_WORDS, FALSE_WORDS = [*_TRUE, "1", "yes", "Yes", "YES", "y", "Y"], [*_FALSE, "0", "no", "No", "NO", "n", "N"]


@dataclass
class Guess:
    """The values of a column and what they were taken for.

    Args:
        values: an Arrow array.
        style: how they are written, if they are numbers or times.
        notes: what is to say of it.
        undecided: whether a comma in its numbers could be either, as in 1,234, or the day or the month come first.
    """

    values: Any
    style: Style | None = None
    notes: list[Note] = field(default_factory=list)
    undecided: bool = False


def guess(name: str, texts: Any, quoted: Any | None, hints: Hints) -> Guess:
    """The values of a column.

    Args:
        name: of it, for notes.
        texts: its cells without quotes.
        quoted: which of them had quotes; None if none had.
        hints: what is known of it.
    """
    told = quoted is not None and not hints.all_quoted  # quotes tell something
    if (
        not told
        and hints.form in (None, NUMBER)
        and hints.style in (None, NumberStyle())
        and hints.decimal in (None, ".")
        and not hints.comma_file
    ):
        values = None if any(is_number(word) for word in hints.gaps if word not in GAPS) else plain_numbers(texts)
        if values is not None and not _has_nan(values):
            return _of_plain(name, texts, values, hints)
    trimmed = pc.utf8_trim_whitespace(texts)
    empty, word = pc.equal(trimmed, ""), pc.is_in(trimmed, pa.array(hints.gaps, pa.string()))
    gaps = pc.or_(empty, word)
    # in quotes it is text, where all else is text
    shown = pc.and_not(gaps, quoted) if told else gaps
    result = _typed(name, texts, trimmed, gaps, quoted if told else None, hints)
    if result is None:
        result = Guess(pc.if_else(shown, None, texts))
        result.notes += [note for note in [why_text(name, trimmed, gaps, hints)] if note]
        gaps = shown
    said = words_for_gaps(name, result.values, trimmed, pc.and_(gaps, pc.invert(empty)))
    result.notes += [said] if said else []
    return result


def _typed(name: str, texts: Any, trimmed: Any, gaps: Any, quoted: Any | None, hints: Hints) -> Guess | None:
    """Numbers, times or truth values; None for text."""
    values = pc.if_else(gaps, None, trimmed)
    if values.null_count == len(values):
        only_empty = quoted is None or not pc.any(pc.and_(gaps, quoted)).as_py()
        return Guess(pa.chunked_array([pa.nulls(len(texts))])) if only_empty and hints.form != TEXT else None
    if hints.form == TEXT:
        return None
    if hints.style is not None and hints.decimal is None:
        read = hints.style.read(values)
        if read is not None:
            return Guess(read, hints.style)
    sample = sample_of(values)
    if hints.form in (None, TRUTH) and (read := _truths(values, sample, hints.form == TRUTH)) is not None:
        return Guess(read)
    if hints.form in (None, TIME) and hints.dates != "none":
        found = _times(name, values, sample, hints)
        if found is not None:
            return found
    if hints.form in (None, NUMBER):
        return _numbers(name, values, sample, quoted, hints)
    return None


def _numbers(name: str, values: Any, sample: list[str], quoted: Any | None, hints: Hints) -> Guess | None:
    decimal = hints.decimal or ("," if hints.comma_file else None)
    whole = all(word.lstrip("+-").isdigit() for word in sample)
    if quoted is not None and whole and hints.form is None and _all_in_quotes(values, quoted):
        if plain_numbers(values) is None:
            return None
        text = Guess(values)
        text.notes.append(Note("whole numbers in quotes, where others are not, taken as text", "kinds", name))
        return text
    points_alone = decimal == "," and any("." in word for word in sample)
    if decimal != "," or not points_alone:
        read = plain_numbers(values) if hints.form != NUMBER else _codes_too(values)
        if read is not None:
            return _of_plain(name, values, read, hints)
    found = number_style(sample, decimal, hints.comma_between)
    if found is None and decimal is not None:
        # numbers of another mark than the rest of the file
        found = number_style(sample, None, hints.comma_between)
    if found is None:
        return None
    style, undecided = found
    read = style.read(values)
    if read is None:
        return None
    result = Guess(read, style, undecided=undecided and hints.decimal is None)
    if not style.plain and not (hints.decimal is not None and style == NumberStyle(style.decimal)):
        words = style.words
        if result.undecided:
            other = "decimal commas" if style.thousands == "," else "commas between thousands"
            words += f" (they could be {other} too)"
        option = "decimal" if style.decimal == "," or style.thousands else ""
        result.notes.append(Note(f"numbers with {words}", option, name))
    return result


def _of_plain(name: str, texts: Any, values: Any, hints: Hints) -> Guess:
    if pa.types.is_integer(values.type) and hints.form is None and hints.dates != "none" and hints.style is None:
        dates = compact_dates(values)
        if dates is not None:
            return Guess(dates, TimeStyle("compact"), [Note("dates written as 20240517", "dates", name)])
    result = Guess(values, NumberStyle())
    if pa.types.is_floating(values.type) and hints.form is None and hints.style is None:
        whole = texts.filter(pc.fill_null(pc.equal(values, pc.floor(values)), False))
        codes = whole.filter(pc.match_substring_regex(whole, r"^\d+[eE]\d+$"))
        if len(codes):
            result.notes.append(Note(f"numbers, such as {codes[0].as_py()!r}, which may be a code", "kinds", name))
    return result


def _codes_too(values: Any) -> Any | None:
    """Numbers, those with zeros in front or too many digits too, since the column is declared to hold numbers."""
    if pc.any(pc.match_substring_regex(values, "[xX]")).as_py():
        return None  # Arrow reads 0x10 as 16
    for kind in (pa.int64(), pa.float64()):
        try:
            return values.cast(kind)
        except pa.ArrowInvalid:
            continue
    return None


def _times(name: str, values: Any, sample: list[str], hints: Hints) -> Guess | None:
    if hints.dates is not None and "%" in hints.dates:
        style = TimeStyle(hints.dates)
        read = style.read(values)
        if read is not None or hints.dates_told:
            return None if read is None else Guess(read, style)
    if hints.form == TIME and all(len(word) == 8 and word.isdigit() for word in sample):
        style = TimeStyle("compact")
        read = style.read(values)
        return None if read is None else Guess(read, style)
    said = {"day-first": True, "month-first": False}.get(hints.dates or "")
    day_first = hints.day_first if said is None else said
    found = time_style(sample, day_first)
    if found is not None and found[1]:  # any day of the whole column decides
        found = time_style(values.unique().drop_null().to_pylist(), day_first)
    if found is None:
        return None
    style, either_way = found
    if hints.dates_told and said is not None and style.order == ("mdy" if said else "dmy"):
        return None
    read = style.read(values)
    if read is None:
        return None
    result = Guess(read, style, undecided=either_way and said is None)
    # of names of months, and years in front, nothing else can be meant
    if style.order in ("dmy", "mdy", "compact") and (said is None or not either_way):
        words = f"dates as {style.words}" if style.order != "compact" else style.words
        words += " (day and month could be the other way round)" if either_way else ""
        result.notes.append(Note(words, "dates", name))
    elif pa.types.is_timestamp(read.type) and read.type.tz is not None and _offsets(sample) > 1:
        result.notes.append(Note("times with different offsets, taken to UTC", "", name))
    return result


def _offsets(sample: Sequence[str]) -> int:
    return len({word[-6:] if word[-6:-5] in "+-" else "+00:00" for word in sample})


def _truths(values: Any, sample: list[str], declared: bool) -> Any | None:
    true, false = (TRUE_WORDS, FALSE_WORDS) if declared else (_TRUE, _FALSE)
    if not set(sample) <= {*true, *false}:
        return None
    known = pc.is_in(values, pa.array([*true, *false]))
    if pc.any(pc.and_(pc.invert(known), values.is_valid())).as_py():
        return None
    return pc.if_else(values.is_null(), None, pc.is_in(values, pa.array(true)))


def _all_in_quotes(values: Any, quoted: Any) -> bool:
    return bool(pc.all(pc.or_(quoted, values.is_null())).as_py())


def _has_nan(values: Any) -> bool:
    return pa.types.is_floating(values.type) and bool(pc.any(pc.is_nan(values)).as_py())
