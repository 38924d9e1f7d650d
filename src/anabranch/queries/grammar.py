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
from dataclasses import replace

from anabranch.queries.question import (
    JOINT,
    ONE_LINE,
    Comparison,
    Condition,
    DensityAt,
    Expectation,
    MarginalOf,
    ModeOf,
    Probability,
    Quantile,
    Question,
    QuestionError,
    Spread,
    Word,
)
from anabranch.queries.scanner import CLOSING, Scanner

_RELATIONS = ("<=", ">=", "!=", "==", "=", "<", ">")
_SHOWN = ("=", "!=", "<", "<=", ">", ">=")
# 1 < x says of x that x > 1
_TURNED = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}
# "or" between two conditions
_OR = re.compile(r"\s*\bor\b\s+(?=\S)", re.IGNORECASE)
_AND = re.compile(r"\s(and)\s", re.IGNORECASE)
# "in (" behind a quoted column, and what a column without quotes ends with there
_IN = re.compile(r"\s*(not\s+)?in\s*[(\[]", re.IGNORECASE)
_ENDS_IN = re.compile(r"(.*?\S)\s+(not\s+)?in", re.IGNORECASE)
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
        anabranch.queries.question.QuestionError: expected one of = != < <= > >= after the column 'price 5000', got ')'
          P(price 5000)
                      ^
    """
    return _Reader(text).question()


class _Reader(Scanner):
    def question(self) -> Question:
        start = self.skip()
        kind = self.word("a question: one of " + ", ".join(_KINDS)).text
        if kind not in _KINDS:
            raise QuestionError(f"expected one of {', '.join(_KINDS)}, got {kind!r}", self.text, start)
        levels: tuple[float, ...] = ()
        if kind == "Q":
            closing = self.open()
            levels = self._levels()
            self.expect(closing, "after the levels")
        closing = self.open()
        conditions: tuple[Condition, ...] = ()
        columns: tuple[Word, ...] = ()
        begin = self.skip()
        if kind in ("P", "p"):
            conditions = self._conditions(only_equal="p(...)" if kind == "p" else "")
        else:
            columns = self._columns()
            if kind == "Q" and len(columns) > 1:
                raise QuestionError(f"expected one column for quantiles, got {len(columns)}", self.text, begin)
        given: tuple[Condition, ...] = ()
        if self.peek() == "|":
            self.at += 1
            given = self._conditions(only_equal="what is given to a mode" if kind == "mode" else "")
            self._told_once(given)
        self.expect(closing, "to close the question")
        if self.skip() < len(self.text):
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
        columns = [self.word("a column")]
        while self.peek() == ",":
            self.at += 1
            columns.append(self.word("a column"))
        if self.peek() in tuple("<>=!"):
            raise QuestionError("expected a column alone here, without a relation", self.text, self.at)
        self._different(columns)
        return tuple(columns)

    def _conditions(self, only_equal: str) -> tuple[Condition, ...]:
        found = [self._condition(only_equal)]
        while self.peek() == ",":
            self.at += 1
            found.append(self._condition(only_equal))
        if only_equal:
            self._different([condition.column for condition in found])
        return tuple(found)

    def _condition(self, only_equal: str) -> Condition:
        begin = self.skip()
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
        left = self.word("a column")
        among = self._among(left)
        if among is not None:
            return among
        place, relation = self._relation()
        if relation is None:
            raise QuestionError(
                f"expected one of {' '.join(_SHOWN)} after the column {left.text!r}, got {self.here()}",
                self.text,
                place,
            )
        right = self._before_or(self.word("a value"))
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
        end = self._before_or(self.word("a value"))
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
            if inside is None or self.peek() not in CLOSING:
                return None
            column, negated = Word(inside.group(1), left.position), inside.group(2) is not None
        closing = self.open()
        values = [self.word("a value")]
        while self.peek() == ",":
            self.at += 1
            values.append(self.word("a value"))
        self.expect(closing, "after the values")
        relation = "!=" if negated else "in"
        said = f"{column.written} {'not in' if negated else 'in'} ({', '.join(value.written for value in values)})"
        return tuple(Comparison(column, relation, value, place) for value in values), said

    def _relation(self) -> tuple[int, str | None]:
        """Where a relation may stand, and which does; it is read if there is one."""
        place = self.skip()
        relation = next((r for r in _RELATIONS if self.text.startswith(r, place)), None)
        self.at = place + len(relation or "")
        return place, "=" if relation == "==" else relation

    def _before_or(self, word: Word) -> Word:
        """A value as far as an 'or' that joins it to another condition; what follows is read next."""
        if word.quoted or not (self.peek() in tuple("<>=!") or self.peek() in CLOSING):
            return word
        span = self.text[word.position : self.at]
        joints = list(JOINT.finditer(span))
        if not joints or (self.peek() in CLOSING and not _ENDS_IN.fullmatch(word.text)):
            return word
        last = joints[-1]
        self.at = word.position + last.start()
        return Word(span[: last.start()].translate(ONE_LINE).strip(), word.position)

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
            word = self.word("a level, a number between 0 and 1")
            if word.number is None or not 0 < word.number < 1:
                raise QuestionError(f"expected a level between 0 and 1, got {word.text!r}", self.text, word.position)
            levels.append(word.number)
            if self.peek() != ",":
                return tuple(levels)
            self.at += 1

    def _different(self, columns: list[Word]) -> None:
        seen: set[str] = set()
        for column in columns:
            if column.text in seen:
                raise QuestionError(f"expected each column once, got {column.text!r} again", self.text, column.position)
            seen.add(column.text)


def _spread_out(comparisons: tuple[Comparison, ...]) -> list[tuple[Comparison, ...]]:
    """Alternatives of their own for 'in', which holds where one of its values does."""
    if comparisons[0].relation != "in":
        return [comparisons]
    return [(replace(one, relation="="),) for one in comparisons]
