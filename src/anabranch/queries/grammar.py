"""Questions in words: their grammar.

.. code-block:: text

    question    =  "E" of columns             the mean of each column
                |  "SD" of columns            the standard deviation of each column; "Var" its square
                |  "P" of conditions          the probability that all of them hold
                |  "Q" "[" level {"," level} "]" of column          its quantiles
                |  "p" of conditions, all with "="      the density, or probability, of those values
                |  "mode" of columns          their most probable values together
                |  "marginal" of columns      each column by itself: mean and quantiles, or a probability for each category
    of          =  "(" ... ["|" given] ")"  or  "[" ... ["|" given] "]"
    given       =  conditions, for "mode" all with "="
    columns     =  column {"," column}
    conditions  =  condition {"," condition}            all of them hold
    condition   =  one {"or" one}                       all of the same column
    one         =  column ("=" | "!=" | "<" | "<=" | ">" | ">=") value
                |  value ("<" | "<=") column ("<" | "<=") value, or with > and >=
                |  column ["not"] "in" "(" value {"," value} ")"         these values, not all between them
    column      =  text without  , | ( ) [ ] < > = !  , or text in quotes, "like this" or 'like this'
    value       =  likewise; a number, or a word such as a category or a date
    level       =  a number between 0 and 1

Spaces around and within names and values are kept as they are in the middle, and ignored at the ends; a new line or a tab is
a space there. Within quotes all is kept, new lines and tabs too. A quote within quotes is written twice. The word "or" joins
two conditions where another condition follows, and is part of a value elsewhere.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

_RELATIONS = ("<=", ">=", "!=", "==", "=", "<", ">")
_SHOWN = ("=", "!=", "<", "<=", ">", ">=")
# 1 < x says of x that x > 1
_TURNED = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}
_WORD = re.compile(r"[^,|()\[\]<>=!\"']+")
_CLOSING = {"(": ")", "[": "]"}
# "or" between two conditions, or within text that may be a value and the column of the next one
_OR = re.compile(r"\s*\bor\b\s+(?=\S)", re.IGNORECASE)
_AND = re.compile(r"\s(and)\s", re.IGNORECASE)
_WITHIN = re.compile(r"\s+(?=or\s+\S)", re.IGNORECASE)
# "in (" behind a quoted column, and what a column without quotes ends with there
_IN = re.compile(r"\s*(not\s+)?in\s*[(\[]", re.IGNORECASE)
_ENDS_IN = re.compile(r"(.*?\S)\s+(not\s+)?in", re.IGNORECASE)
_PLAIN = re.compile(r"[^,|()\[\]<>=!\"'\n\r\t]+")
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
    def written(self) -> str:
        """As it is written in a question, in quotes where it needs them."""
        plain = _PLAIN.fullmatch(self.text) and self.text == self.text.strip() and not _WITHIN.search(self.text)
        return self.text if plain else '"' + self.text.replace('"', '""') + '"'

    @property
    def number(self) -> float | None:
        """The number it is, if it is one and not in quotes."""
        try:
            return None if self.quoted else float(self.text)
        except ValueError:
            return None


@dataclass(frozen=True)
class Comparison:
    """A column, a relation and a value; where the relation stands."""

    column: Word
    relation: str
    value: Word
    position: int


@dataclass(frozen=True)
class Condition:
    """What is said of a column.

    Attributes:
        column: which.
        alternatives: one of them holds, and of that all comparisons.
        text: the condition in words, so that it can be asked again.
    """

    column: Word
    alternatives: tuple[tuple[Comparison, ...], ...]
    text: str

    @property
    def first(self) -> Comparison:
        """The first comparison."""
        return self.alternatives[0][0]

    @property
    def single(self) -> Comparison | None:
        """The only comparison, if it is with =."""
        only = len(self.alternatives) == 1 and len(self.alternatives[0]) == 1
        return self.first if only and self.first.relation == "=" else None


@dataclass(frozen=True)
class Expectation:
    """E[columns | given]."""

    columns: tuple[Word, ...]
    given: tuple[Condition, ...]


@dataclass(frozen=True)
class Spread:
    """SD[columns | given], or Var[columns | given]."""

    columns: tuple[Word, ...]
    given: tuple[Condition, ...]
    squared: bool


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
    """p(conditions | given), with one value for each column."""

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


Question = Expectation | Spread | Probability | Quantile | DensityAt | ModeOf | MarginalOf

_KINDS = ("E", "SD", "Var", "P", "Q", "p", "mode", "marginal")


def parse(text: str) -> Question:
    """The question that a text asks.

    Raises:
        QuestionError: it does not follow the grammar; the message shows where.

    Example:
        >>> from anabranch.queries import parse
        >>> question = parse("P(price>5000 | cut = Very Good or cut in (Fair, Ideal), 1<=carat<2)")
        >>> question.conditions[0].text, [one.text for one in question.given]
        ('price > 5000', ['cut = Very Good or cut in (Fair, Ideal)', '1 <= carat < 2'])
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
            given = self._conditions(only_equal="what is given to a mode" if kind == "mode" else "")
            self._told_once(given)
        self._expect(closing, "to close the question")
        if self._skip() < len(self.text):
            raise QuestionError("expected the question to end here", self.text, self.at)
        if kind == "E":
            return Expectation(columns, given)
        if kind in ("SD", "Var"):
            return Spread(columns, given, squared=kind == "Var")
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
        begin = self._skip()
        alternatives, texts = [], []
        while True:
            comparisons, text = self._one()
            alternatives.append(comparisons)
            texts.append(text)
            if alternatives[0][0].column.text != comparisons[0].column.text:
                one, other = alternatives[0][0].column, comparisons[0].column
                raise QuestionError(
                    f"'or' joins conditions of one column, got {one.text!r} and {other.text!r}; ask about each",
                    self.text,
                    other.position,
                )
            joined = _OR.match(self.text, self.at)
            if joined is None:
                break
            self.at = joined.end()
        alternatives = [part for one in alternatives for part in _spread_out(one)]
        condition = Condition(alternatives[0][0].column, tuple(alternatives), " or ".join(texts))
        if only_equal and condition.single is None:
            first = condition.first
            got = first.relation if len(alternatives) == 1 and len(alternatives[0]) == 1 else condition.text
            place = first.position if got == first.relation else begin
            raise QuestionError(f"expected = in {only_equal}, got {got}", self.text, place)
        return condition

    def _one(self) -> tuple[tuple[Comparison, ...], str]:
        """The comparisons of a condition without 'or', and its text; those with "in" are alternatives to each other."""
        left = self._word("a column")
        among = self._among(left)
        if among is not None:
            return among
        place, relation = self._relation()
        if relation is None:
            raise QuestionError(
                f"expected one of {' '.join(_SHOWN)} after the column {left.text!r}, got {self._here()}",
                self.text,
                place,
            )
        right = self._before_or(self._word("a value"))
        if _OR.match(self.text, self.at):
            return (Comparison(left, relation, right, place),), f"{left.written} {relation} {right.written}"
        further, second = self._relation()
        if second is None:
            return (Comparison(left, relation, right, place),), f"{left.written} {relation} {right.written}"
        both_hold = None if right.quoted else _AND.search(self.text, right.position, further)
        if both_hold is not None:
            raise QuestionError(
                "expected a comma between conditions that all hold, got 'and'; a name with 'and' in it goes in quotes here",
                self.text,
                both_hold.start(1),
            )
        pair = {relation, second}
        if not (pair <= {"<", "<="} or pair <= {">", ">="}):
            raise QuestionError(
                f"expected a range such as 1 <= carat < 2 where there are two relations, got {relation} and {second}",
                self.text,
                further,
            )
        end = self._before_or(self._word("a value"))
        turned = _TURNED[relation]
        both = Comparison(right, turned, left, place), Comparison(right, second, end, further)
        return both, f"{left.written} {relation} {right.written} {second} {end.written}"

    def _among(self, left: Word) -> tuple[tuple[Comparison, ...], str] | None:
        """What follows of 'column in (value, value)', or None if it is something else."""
        place = self.at
        if left.quoted:
            match = _IN.match(self.text, self.at)
            if match is None:
                return None
            column, negated, self.at = left, match.group(1) is not None, match.end() - 1
        else:
            inside = _ENDS_IN.fullmatch(left.text)
            if inside is None or self._peek() not in _CLOSING:
                return None
            column, negated = Word(inside.group(1), left.position), inside.group(2) is not None
        closing = self._open()
        values = [self._word("a value")]
        while self._peek() == ",":
            self.at += 1
            values.append(self._word("a value"))
        self._expect(closing, "after the values")
        relation = "!=" if negated else "in"
        said = f"{column.written} {'not in' if negated else 'in'} ({', '.join(value.written for value in values)})"
        return tuple(Comparison(column, relation, value, place) for value in values), said

    def _relation(self) -> tuple[int, str | None]:
        """Where a relation may stand, and which does; it is read if there is one."""
        place = self._skip()
        relation = next((r for r in _RELATIONS if self.text.startswith(r, place)), None)
        self.at = place + len(relation or "")
        return place, "=" if relation == "==" else relation

    def _before_or(self, word: Word) -> Word:
        """A value as far as an 'or' that joins it to another condition; what follows is read next."""
        if word.quoted or not (self._peek() in tuple("<>=!") or self._peek() in _CLOSING):
            return word
        span = self.text[word.position : self.at]
        joints = list(_WITHIN.finditer(span))
        if not joints or (self._peek() in _CLOSING and not _ENDS_IN.fullmatch(word.text)):
            return word
        last = joints[-1]
        self.at = word.position + last.start()
        return Word(span[: last.start()].translate(_ONE_LINE).strip(), word.position)

    def _told_once(self, given: tuple[Condition, ...]) -> None:
        """A column of which a single value is given is not given again."""
        seen: dict[str, bool] = {}
        for one in given:
            name, single = one.column.text, one.single is not None
            if name in seen and (single or seen[name]):
                raise QuestionError(f"expected each column once, got {name!r} again", self.text, one.column.position)
            seen[name] = single

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


def _spread_out(comparisons: tuple[Comparison, ...]) -> list[tuple[Comparison, ...]]:
    """Alternatives of their own for 'in', which holds where one of its values does."""
    if comparisons[0].relation != "in":
        return [comparisons]
    return [(replace(one, relation="="),) for one in comparisons]
