"""Questions as data: their words, their conditions, and what each kind of question holds."""

from __future__ import annotations

import re
from dataclasses import dataclass

# what a name or a value is without quotes, and what in it would be read as "or"
PLAIN = re.compile(r"[^,|()\[\]<>=!\"'\n\r\t]+")
JOINT = re.compile(r"\s+(?=or\s+\S)", re.IGNORECASE)
# a question may be written over several lines; within quotes these signs are kept
ONE_LINE = str.maketrans("\n\r\t", "   ")


class QuestionError(ValueError):
    """A question that cannot be read, or not be asked of this model; the message shows where.

    Attributes:
        reason: what is wrong, in one line.
        text: the question.
        position: where in it.
    """

    def __init__(self, reason: str, text: str, position: int) -> None:
        self.reason, self.text, self.position = reason, text, position
        shown = text.translate(ONE_LINE)
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
        plain = PLAIN.fullmatch(self.text) and self.text == self.text.strip() and not JOINT.search(self.text)
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
