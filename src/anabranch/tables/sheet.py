"""A CSV file as it was read: its table, and the texts of its cells, which are written back as they were."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import IO, Any

import pyarrow as pa
import pyarrow.compute as pc

from anabranch.tables.cells import Cells, quoted
from anabranch.tables.dialect import Dialect
from anabranch.tables.formulas import harmless
from anabranch.tables.guessing import FALSE_WORDS, TRUE_WORDS
from anabranch.tables.hints import GAPS, Style, describe
from anabranch.tables.notes import Note
from anabranch.tables.number_text import NumberStyle
from anabranch.tables.time_text import TimeStyle
from anabranch.tables.types import in_one_piece


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
        return pc.replace_with_mask(in_one_piece(own), in_one_piece(pc.invert(same)), in_one_piece(new))

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
        texts = in_one_piece(texts)
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
