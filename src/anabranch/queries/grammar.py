"""Questions in words: their grammar.

.. code-block:: text

    question    =  "E" of columns             the mean of each column
                |  "P" of conditions          the probability that all of them hold
                |  "Q" "[" level {"," level} "]" of column          its quantiles
                |  "p" of conditions, all with "="      the density, or probability, of those values
                |  "mode" of columns          their most probable values together
                |  "marginal" of columns      each column by itself: mean and quantiles, or a probability for each category
    of          =  "(" ... ["|" given] ")"  or  "[" ... ["|" given] "]"
    given       =  condition {"," condition}, all with "="
    columns     =  column {"," column}
    conditions  =  condition {"," condition}
    condition   =  column ("=" | "!=" | "<" | "<=" | ">" | ">=") value
    column      =  text without  , | ( ) [ ] < > = !  , or text in quotes, "like this" or 'like this'
    value       =  likewise; a number, or a word such as a category or a date
    level       =  a number between 0 and 1

Spaces around and within names and values are kept as they are in the middle, and ignored at the ends; a new line or a tab is
a space there. Within quotes all is kept, new lines and tabs too. A quote within quotes is written twice.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_RELATIONS = ("<=", ">=", "!=", "==", "=", "<", ">")
_WORD = re.compile(r"[^,|()\[\]<>=!\"']+")
_CLOSING = {"(": ")", "[": "]"}
# a question may be written over several lines; within quotes these signs are kept
_ONE_LINE = str.maketrans("\n\r\t", "   ")


class QuestionError(ValueError):
    """A question that cannot be read, or not be asked of this model; the message shows where.

    Attributes:
        reason: what is wrong, in one line.
        text: the question.
        position: where in it.
    """

    def __init__(self, reason: str, text: str, position: int) -> None:
        self.reason, self.text, self.position = reason, text, position
        shown = text.translate(_ONE_LINE)
        super().__init__(f"{reason}\n  {shown}\n  {' ' * position}^")


@dataclass(frozen=True)
class Word:
    """A name or a value as it was written, and where."""

    text: str
    position: int
    quoted: bool = False

    @property
    def number(self) -> float | None:
        """The number it is, if it is one and not in quotes."""
        try:
            return None if self.quoted else float(self.text)
        except ValueError:
            return None


@dataclass(frozen=True)
class Condition:
    """A column, a relation and a value."""

    column: Word
    relation: str
    value: Word


@dataclass(frozen=True)
class Expectation:
    """E[columns | given]."""

    columns: tuple[Word, ...]
    given: tuple[Condition, ...]


@dataclass(frozen=True)
class Probability:
    """P(conditions | given)."""

    conditions: tuple[Condition, ...]
    given: tuple[Condition, ...]


@dataclass(frozen=True)
class Quantile:
    """Q[levels](column | given)."""

    levels: tuple[float, ...]
    column: Word
    given: tuple[Condition, ...]


@dataclass(frozen=True)
class DensityAt:
    """p(conditions | given)."""

    conditions: tuple[Condition, ...]
    given: tuple[Condition, ...]


@dataclass(frozen=True)
class ModeOf:
    """mode(columns | given)."""

    columns: tuple[Word, ...]
    given: tuple[Condition, ...]


@dataclass(frozen=True)
class MarginalOf:
    """marginal(columns | given)."""

    columns: tuple[Word, ...]
    given: tuple[Condition, ...]


Question = Expectation | Probability | Quantile | DensityAt | ModeOf | MarginalOf

_KINDS = ("E", "P", "Q", "p", "mode", "marginal")


def parse(text: str) -> Question:
    """The question that a text asks.

    Raises:
        QuestionError: it does not follow the grammar; the message shows where.

    Example:
        >>> from anabranch.queries import parse
        >>> question = parse("P(price > 5000 | cut = Very Good)")
        >>> question.conditions[0].column.text, question.conditions[0].relation, question.given[0].value.text
        ('price', '>', 'Very Good')
        >>> parse("P(price 5000)")
        Traceback (most recent call last):
            ...
        anabranch.queries.grammar.QuestionError: expected one of = != < <= > >= after the column 'price 5000', got ')'
          P(price 5000)
                      ^
    """
    return _Reader(text).question()


class _Reader:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0

    def question(self) -> Question:
        start = self._skip()
        kind = self._word("a question: one of " + ", ".join(_KINDS)).text
        if kind not in _KINDS:
            raise QuestionError(f"expected one of {', '.join(_KINDS)}, got {kind!r}", self.text, start)
        levels: tuple[float, ...] = ()
        if kind == "Q":
            closing = self._open()
            levels = self._levels()
            self._expect(closing, "after the levels")
        closing = self._open()
        conditions: tuple[Condition, ...] = ()
        columns: tuple[Word, ...] = ()
        begin = self._skip()
        if kind in ("P", "p"):
            conditions = self._conditions(only_equal="p(...)" if kind == "p" else "")
        else:
            columns = self._columns()
            if kind == "Q" and len(columns) > 1:
                raise QuestionError(f"expected one column for quantiles, got {len(columns)}", self.text, begin)
        given: tuple[Condition, ...] = ()
        if self._peek() == "|":
            self.at += 1
            given = self._conditions(only_equal="what is given")
        self._expect(closing, "to close the question")
        if self._skip() < len(self.text):
            raise QuestionError("expected the question to end here", self.text, self.at)
        if kind == "E":
            return Expectation(columns, given)
        if kind == "P":
            return Probability(conditions, given)
        if kind == "p":
            return DensityAt(conditions, given)
        if kind == "Q":
            return Quantile(levels, columns[0], given)
        return ModeOf(columns, given) if kind == "mode" else MarginalOf(columns, given)

    def _columns(self) -> tuple[Word, ...]:
        columns = [self._word("a column")]
        while self._peek() == ",":
            self.at += 1
            columns.append(self._word("a column"))
        if self._peek() in tuple("<>=!"):
            raise QuestionError("expected a column alone here, without a relation", self.text, self.at)
        self._different(columns)
        return tuple(columns)

    def _conditions(self, only_equal: str) -> tuple[Condition, ...]:
        found = [self._condition(only_equal)]
        while self._peek() == ",":
            self.at += 1
            found.append(self._condition(only_equal))
        if only_equal:
            self._different([condition.column for condition in found])
        return tuple(found)

    def _condition(self, only_equal: str) -> Condition:
        column = self._word("a column")
        place = self._skip()
        relation = next((r for r in _RELATIONS if self.text.startswith(r, place)), None)
        if relation is None:
            raise QuestionError(
                f"expected one of = != < <= > >= after the column {column.text!r}, got {self._here()}", self.text, place
            )
        self.at = place + len(relation)
        relation = "=" if relation == "==" else relation
        if only_equal and relation != "=":
            raise QuestionError(f"expected = in {only_equal}, got {relation}", self.text, place)
        return Condition(column, relation, self._word("a value"))

    def _levels(self) -> tuple[float, ...]:
        levels = []
        while True:
            word = self._word("a level, a number between 0 and 1")
            if word.number is None or not 0 < word.number < 1:
                raise QuestionError(f"expected a level between 0 and 1, got {word.text!r}", self.text, word.position)
            levels.append(word.number)
            if self._peek() != ",":
                return tuple(levels)
            self.at += 1

    def _word(self, what: str) -> Word:
        start = self._skip()
        quote = self.text[start : start + 1]
        if quote in ('"', "'") and quote:
            return self._quoted(start, quote)
        match = _WORD.match(self.text, start)
        if match is None or not match.group().strip():
            raise QuestionError(f"expected {what}, got {self._here()}", self.text, start)
        self.at = match.end()
        return Word(match.group().translate(_ONE_LINE).strip(), start)

    def _quoted(self, start: int, quote: str) -> Word:
        letters, at = [], start + 1
        while at < len(self.text):
            if self.text.startswith(2 * quote, at):
                letters.append(quote)
                at += 2
            elif self.text[at] == quote:
                self.at = at + 1
                return Word("".join(letters), start, quoted=True)
            else:
                letters.append(self.text[at])
                at += 1
        raise QuestionError(f"expected a closing {quote}", self.text, start)

    def _open(self) -> str:
        if self._peek() not in _CLOSING:
            raise QuestionError(f"expected ( or [, got {self._here()}", self.text, self.at)
        self.at += 1
        return _CLOSING[self.text[self.at - 1]]

    def _expect(self, sign: str, where: str) -> None:
        if self._peek() != sign:
            raise QuestionError(f"expected {sign} {where}, got {self._here()}", self.text, self.at)
        self.at += 1

    def _different(self, columns: list[Word]) -> None:
        seen: set[str] = set()
        for column in columns:
            if column.text in seen:
                raise QuestionError(f"expected each column once, got {column.text!r} again", self.text, column.position)
            seen.add(column.text)

    def _peek(self) -> str:
        self._skip()
        return self.text[self.at : self.at + 1]

    def _skip(self) -> int:
        while self.at < len(self.text) and self.text[self.at] in " \n\r\t":
            self.at += 1
        return self.at

    def _here(self) -> str:
        return repr(self.text[self.at]) if self.at < len(self.text) else "the end"
