"""How a CSV file is to be read: what is known of it before it is opened."""

from __future__ import annotations

import codecs
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from anabranch.checks import one_of, positive_int
from anabranch.tables.columns import Column
from anabranch.tables.compressed import LIMIT
from anabranch.tables.hints import GAPS, NUMBER, TEXT, TIME, TRUTH, Hints, style_of
from anabranch.tables.types import is_number, is_text, is_time

_FORMS = {
    "categorical": TEXT,
    "continuous": NUMBER,
    "positive": NUMBER,
    "bounded": NUMBER,
    "integer": NUMBER,
    "rounded": NUMBER,
    "ordinal": NUMBER,
    "angle": NUMBER,
    "boolean": TRUTH,
    "time": TIME,
}
_DATES = ("day-first", "month-first", "none")


@dataclass(frozen=True)
class Reading:
    """How to read a table's file; what is None is guessed, and the guess is said.

    Args:
        sep: what separates fields, one character.
        decimal: the decimal mark, "." or ",".
        na: the words for gaps, in place of `hints.GAPS`; an empty field is always one.
        encoding: in Python's word.
        dates: "day-first", "month-first", "none" (leave them as they are) or a format of strptime, for all columns or by
            name.
        header: whether the first line holds the names of the columns.
        kinds: for some columns their kind, a word or a `Column`, or a function that gives it of the names of all columns;
            what is declared categorical is read as text.
        limit: bytes to which a compressed file may expand.
        remembered: what `Sheet.remember` gave for the file a model was fitted to.

    Raises:
        ValueError: something is not as described.
    """

    sep: str | None = None
    decimal: str | None = None
    na: Sequence[str] | None = None
    encoding: str | None = None
    dates: str | Mapping[str, str] | None = None
    header: bool | None = None
    kinds: Mapping[str, str | Column] | Callable[[Sequence[str]], Mapping[str, str | Column]] = field(
        default_factory=dict
    )
    limit: int = LIMIT
    remembered: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.sep is not None and (
            len(self.sep) != 1 or not self.sep.isascii() or self.sep.isalnum() or self.sep in '"\r\n'
        ):
            raise ValueError(f"sep: expected one character between fields, such as ';', got {self.sep!r}")
        if self.decimal is not None:
            one_of("decimal", self.decimal, (".", ","))
        if isinstance(self.na, str):
            raise ValueError(f"na: expected a list of words for gaps, got the string {self.na!r}; give [{self.na!r}]")
        if self.encoding is not None:
            try:
                codecs.lookup(self.encoding)
            except LookupError:
                raise ValueError(
                    f"encoding: expected the name of one, such as 'utf-8', 'cp1252' or 'utf-16', got {self.encoding!r}"
                ) from None
        for form in [self.dates] if isinstance(self.dates, str) else (self.dates or {}).values():
            if form not in _DATES and "%" not in form:
                raise ValueError(
                    f"dates: expected one of {', '.join(map(repr, _DATES))} or a format such as '%d/%m/%Y', got {form!r}"
                )
        positive_int("limit", self.limit)

    @property
    def of_csv(self) -> dict[str, Any]:
        """The options that are for CSV files alone, and set."""
        names = ("sep", "decimal", "na", "encoding", "dates", "header")
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}

    @property
    def gaps(self) -> list[str]:
        """The words for gaps."""
        na = self.na if self.na is not None else self.remembered.get("na")
        return list(GAPS if na is None else na)

    def hints(self, names: Sequence[str], known: Mapping[str, Any]) -> list[Hints]:
        """What is known of columns.

        Args:
            names: of all of them.
            known: of the file.
        """
        kinds = self.kinds(names) if callable(self.kinds) else self.kinds
        return [self._hints(name, kinds.get(name), known) for name in names]

    def _hints(self, name: str, kind: str | Column | None, known: Mapping[str, Any]) -> Hints:
        told = isinstance(self.dates, Mapping) and name in self.dates
        dates = self.dates if isinstance(self.dates, str) else (self.dates or {}).get(name)
        style = None if dates is not None else style_of(self.remembered.get("styles", {}).get(name))
        return Hints(
            gaps=self.gaps, decimal=self.decimal, dates=dates, dates_told=told, form=_form(kind), style=style, **known
        )


def _form(kind: str | Column | None) -> str | None:
    """What the texts of a column must be, for its kind."""
    if not isinstance(kind, Column):
        return _FORMS.get(kind or "")
    own = kind.arrow_type
    if is_text(own):
        return TEXT
    if is_number(own):
        return NUMBER
    if is_time(own) and not str(own).startswith("duration"):
        return TIME
    return TRUTH if str(own) == "bool" else None
