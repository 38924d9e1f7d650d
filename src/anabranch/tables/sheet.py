"""A CSV file as it was read: its table, and the texts of its cells, which are written back as they were."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import IO, Any

import pyarrow as pa
import pyarrow.compute as pc

from anabranch.tables.cells import Cells, cut, quoted, unquoted
from anabranch.tables.dialect import Dialect, UnsuitableError, decoded, newline_of, separator_name, separator_of
from anabranch.tables.formulas import harmless
from anabranch.tables.guessing import FALSE_WORDS, GAPS, TRUE_WORDS, Guess, Note, Style, describe, guess
from anabranch.tables.number_text import NumberStyle
from anabranch.tables.reading import Reading
from anabranch.tables.time_text import TimeStyle

# cells by which a line of numbers is told from the rows below it
_ROWS_BELOW = 1_000
_OPTIONS = ("sep", "encoding", "header", "decimal", "dates", "na", "kinds")


@dataclass(frozen=True)
class Sheet:
    """A CSV file as it was read.

    Args:
        table: the values of its cells.
        cells: their texts.
        dialect: how the file is written.
        styles: how the numbers and times of columns are written, by name.
        notes: what was guessed.
        gaps: the words for gaps.
    """

    table: pa.Table
    cells: Cells
    dialect: Dialect
    styles: dict[str, Style]
    notes: list[Note]
    gaps: Sequence[str]

    def remember(self) -> dict[str, Any]:
        """What other files of these columns should be read like, as plain data."""
        return {"na": list(self.gaps), "styles": {name: describe(style) for name, style in self.styles.items()}}

    def write(self, table: pa.Table, stream: IO[bytes], rows: Any = None, escape_formulas: bool = False) -> None:
        """Write a table that was made of this one, in the same dialect: a cell whose value is as it was keeps its text.

        Args:
            table: with the columns of this file, where their values may differ, and others.
            stream: open for bytes.
            rows: (table's rows), the numbers of the rows of this file that they were made of; None for the same rows.
            escape_formulas: whether to put an apostrophe before texts that a spreadsheet would run.

        Raises:
            ValueError: texts that the file's encoding does not have.
        """
        texts = []
        raw = dict(zip(self.table.column_names, self.cells.columns, strict=True))
        for name in table.column_names:
            values = table.column(name)
            own = raw.get(name)
            if own is None:
                text = self._new(values, None, None)
            else:
                source = self.table.column(name)
                if rows is not None:
                    own, source = own.take(rows), source.take(rows)
                text = self._mixed(values, source, own, self.styles.get(name))
            if escape_formulas:
                text = harmless(text) if pa.types.is_string(values.type) else text
            texts.append(text)
        header = [
            dict(zip(self.cells.names, self.cells.header, strict=True)).get(name) or self._word(name)
            for name in table.column_names
        ]
        if escape_formulas:
            header = [harmless(pa.array([word]))[0].as_py() for word in header]
        stream.write(self.dialect.mark)
        self._put(stream, (self.dialect.sep.join(header) + self.dialect.newline).encode())
        for lines in _lines(texts, self.dialect.sep, self.dialect.newline):
            self._put(stream, lines)

    def _put(self, stream: IO[bytes], text: bytes) -> None:
        if self.dialect.encoding in ("utf-8", "ascii"):
            stream.write(text)
            return
        try:
            stream.write(text.decode().encode(self.dialect.encoding))
        except UnicodeEncodeError as error:
            raise ValueError(
                f"{error.object[error.start : error.end]!r} cannot be written in {self.dialect.encoding}, the encoding of "
                "the table that was read; write another format, such as .parquet"
            ) from error

    def _mixed(self, values: Any, source: Any, own: Any, style: Style | None) -> Any:
        """The texts of values, those that are as they were as they were written."""
        if values.type != source.type:
            try:
                source = source.cast(values.type)
            except pa.ArrowException:
                return self._new(values, style, own)
        if pa.types.is_null(values.type):
            return own
        same = pc.or_(pc.fill_null(pc.equal(values, source), False), pc.and_(values.is_null(), source.is_null()))
        if pc.all(same).as_py():
            return own
        new = self._new(values.filter(pc.invert(same)), style, own)
        return pc.replace_with_mask(_one(own), _one(pc.invert(same)), _one(new))

    def _new(self, values: Any, style: Style | None, like: Any | None) -> Any:
        """New values as texts, in the style of their column."""
        some = None if like is None else _first(like)
        if isinstance(style, NumberStyle) and _numeric(values.type):
            texts = style.write(values, _decimals(like, style))
        elif isinstance(style, TimeStyle) and pa.types.is_temporal(values.type) and some is not None:
            texts = style.write(values, some.strip('"'))
        elif pa.types.is_boolean(values.type):
            words = _truth_words(like)
            texts = pc.if_else(values, words[0], words[1])
        elif pa.types.is_floating(values.type) and self.dialect.decimal == ",":
            texts = NumberStyle(",").write(values)
        else:
            texts = clock(values) if pa.types.is_duration(values.type) else values.cast(pa.string())
        texts = _one(texts)
        plain_text = pa.types.is_string(values.type)
        every = self.cells.all_quoted if like is None else _all_in_quotes(like)
        return self._quoted(texts, every, plain_text)

    def _quoted(self, texts: Any, every: bool, plain_text: bool) -> Any:
        """Texts with quotes where they are needed; null as nothing."""
        inner = pc.replace_substring(texts, '"', '""')
        wrapped = pc.binary_join_element_wise('"', inner, '"', "")
        if every:
            need = texts.is_valid()
        else:
            special = "".join({self.dialect.sep, '"', "\r", "\n"})
            need = pc.match_substring_regex(texts, f"[{re.escape(special)}]")
            if plain_text:  # not gaps, nor trimmed
                need = pc.or_(need, pc.is_in(pc.utf8_trim_whitespace(texts), pa.array(["", *self.gaps])))
        return pc.fill_null(pc.if_else(need, wrapped, texts), "")

    def _word(self, name: str) -> str:
        every = all(len(word) > 1 and word[0] == word[-1] == '"' for word in self.cells.header)
        return str(self._quoted(pa.array([name]), every, False)[0].as_py())


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
    if sep != "," and not sep_told:
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
        notes.append(Note(f"{cells.blank_end} blank lines at the end as no rows", ""))
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


def clock(values: Any) -> pa.Array:
    """Durations as hours, minutes, seconds and all decimals that they have."""
    digits = {"s": 0, "ms": 3, "us": 6, "ns": 9}[values.type.unit]

    def text(ticks: int | None) -> str | None:
        if ticks is None:
            return None
        seconds, rest = divmod(abs(ticks), 10**digits)
        decimals = f".{rest:0{digits}d}".rstrip("0") if rest else ""
        return f"{'-' * (ticks < 0)}{seconds // 3600}:{seconds // 60 % 60:02d}:{seconds % 60:02d}{decimals}"

    return pa.array([text(ticks) for ticks in values.cast(pa.int64()).to_pylist()], pa.string())


def _lines(texts: Sequence[Any], sep: str, newline: str) -> Iterator[bytes]:
    """Rows of texts as bytes, some at a time."""
    table = pa.table(list(texts), names=[str(i) for i in range(len(texts))])
    for batch in table.to_batches(max_chunksize=65_536):
        rows = pc.binary_join_element_wise(*batch.columns, sep) if batch.num_columns > 1 else batch.column(0)
        rows = pc.binary_join_element_wise(rows, "", newline)
        _, offsets, data = rows.buffers()
        ends = memoryview(offsets).cast("i")
        yield bytes(memoryview(data)[ends[rows.offset] : ends[rows.offset + len(rows)]])


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


def _numeric(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))


def _decimals(like: Any | None, style: NumberStyle) -> int | None:
    """How many decimals all texts of a column have, if they have the same."""
    if like is None:
        return None
    texts = like.filter(pc.invert(pc.is_in(like, pa.array(["", '""', *GAPS]))))
    mark = re.escape(style.decimal)
    rest = pc.struct_field(pc.extract_regex(texts, rf"{mark}(?P<rest>\d+)\D*$"), "rest")
    if rest.null_count or not len(rest):
        return None
    extremes = pc.min_max(pc.binary_length(rest)).as_py()
    return int(extremes["min"]) if extremes["min"] == extremes["max"] else None


def _truth_words(like: Any | None) -> tuple[str, str]:
    """The words for true and false of a column."""
    for word in [] if like is None else like.unique().to_pylist():
        bare = word.strip().strip('"')
        for pair in zip(TRUE_WORDS, FALSE_WORDS, strict=True):
            if bare in pair:
                return pair
    return "true", "false"


def _first(texts: Any) -> str | None:
    """The first text that is no gap."""
    seen = texts.filter(pc.invert(pc.is_in(pc.utf8_trim_whitespace(texts), pa.array(["", '""', *GAPS]))))
    return str(seen[0].as_py()) if len(seen) else None


def _all_in_quotes(texts: Any) -> bool:
    found = quoted(texts)
    return bool(pc.any(found).as_py()) and bool(pc.all(pc.or_(found, pc.equal(texts, ""))).as_py())


def _one(values: Any) -> Any:
    if isinstance(values, pa.ChunkedArray):
        return pa.concat_arrays(values.chunks) if values.num_chunks else pa.array([], values.type)
    return values
