"""Conditions in words, read with a density's columns: numbers of columns, and which encoded values."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from functools import reduce

from anabranch.queries.columns import Columns
from anabranch.queries.question import Comparison, Condition, QuestionError, Word
from anabranch.queries.region import AnyOf, Interval, Values


class Conditions:
    """Reads the words of a question.

    Args:
        text: the question, at which errors point.
        columns: names and units.
    """

    def __init__(self, text: str, columns: Columns) -> None:
        self.text, self.columns = text, columns

    def number(self, word: Word) -> int:
        """The column of a name.

        Raises:
            QuestionError: there is none.
        """
        try:
            return self.columns.number(word.text)
        except KeyError:
            names = list(self.columns.names)
            near = difflib.get_close_matches(word.text, names, n=1)
            hint = (
                f"did you mean {near[0]!r}?"
                if near
                else f"there are {', '.join(map(repr, names[:12]))}"
                + (f" and {len(names) - 12} more" if len(names) > 12 else "")
            )
            raise QuestionError(f"there is no column {word.text!r}; {hint}", self.text, word.position) from None

    def numeric(self, word: Word, lacks: str) -> int:
        """The column of a name, which holds numbers or times.

        Raises:
            QuestionError: it holds categories, which lack what is asked for.
        """
        column = self.number(word)
        if self.columns.levels(column) is not None:
            raise QuestionError(
                f"column {word.text!r} holds categories, which have {lacks}; ask marginal({word.written})",
                self.text,
                word.position,
            )
        return column

    def values(self, conditions: Sequence[Condition]) -> dict[int, Values]:
        """What all conditions together say, by column.

        Raises:
            QuestionError: an unknown column; a value that its column cannot have; an order among categories.
        """
        found: dict[int, Values] = {}
        for one in conditions:
            column = self.number(one.column)
            parts = [
                reduce(lambda a, b: a.and_(b), (self._interval(each, column) for each in every))
                for every in one.alternatives
            ]
            values = AnyOf.read(parts) if len(parts) > 1 else parts[0]
            found[column] = found[column].and_(values) if column in found else values
        return found

    def singles(self, conditions: Sequence[Condition]) -> dict[int, float]:
        """The encoded values of conditions that have one each, by column."""
        found = {}
        for one in conditions:
            column = self.number(one.column)
            try:
                found[column] = self.columns.encode(column, one.first.value.text)
            except ValueError as error:
                raise self._refused(one.first, error) from error
        return found

    def not_given(self, word: Word, column: int, given: dict[int, Values]) -> None:
        """Raise QuestionError where a column has a single value already, by what is given."""
        if column in given and given[column].point is not None:
            raise QuestionError(
                f"column {word.text!r} is given, so there is nothing to ask of it", self.text, word.position
            )

    def _interval(self, one: Comparison, column: int) -> Interval:
        if self.columns.levels(column) is not None and one.relation not in ("=", "!="):
            raise QuestionError(
                f"expected =, != or in for {one.column.text!r}, whose categories have no order, got {one.relation}",
                self.text,
                one.column.position,
            )
        try:
            return self.columns.interval(column, one.relation, one.value.text)
        except ValueError as error:
            raise self._refused(one, error) from error

    def _refused(self, one: Comparison, error: ValueError) -> QuestionError:
        several = not one.value.quoted and " or " in one.value.text
        values = ", ".join(one.value.text.split(" or "))
        hint = f"; several values are written {one.column.written} in ({values})" if several else ""
        return QuestionError(f"{error}{hint}", self.text, one.value.position)
