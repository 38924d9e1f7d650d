"""Questions in words: their answers."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, Unpack

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from anabranch.checks import positive_int
from anabranch.densities import Density, at_context
from anabranch.queries.answer import Answer, Line
from anabranch.queries.clock import clock_of, plain
from anabranch.queries.columns import Columns, check_density
from anabranch.queries.conditions import Conditions
from anabranch.queries.drawn_inquiry import DrawnInquiry
from anabranch.queries.estimate import Estimate, ImpossibleError
from anabranch.queries.grammar import parse
from anabranch.queries.inquiry import Inquiry
from anabranch.queries.lines import as_span, at_clock, line_of, quantile_lines, square_root
from anabranch.queries.mode import mode
from anabranch.queries.near import few_rows
from anabranch.queries.point_inquiry import PointInquiry, points_of
from anabranch.queries.question import (
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
from anabranch.queries.region import Interval, Values, disjoint
from anabranch.queries.sampling import Sampling, seed_of
from anabranch.queries.unit_moments import UnitMoments

_SUMMARY = (0.05, 0.25, 0.5, 0.75, 0.95)


@dataclass(frozen=True)
class Asked:
    """A question with the text that it was parsed from, at which errors point.

    Attributes:
        text: as it was asked.
        question: parsed.
        beside: what is given besides, and is the density's context already: for what answers are called.
    """

    text: str
    question: Question
    beside: tuple[Condition, ...] = ()


def ask(
    density: Density,
    question: str | Asked,
    columns: Columns,
    *,
    context: Tensor | ArrayLike | None = None,
    tolerance: float | None = None,
    samples: int = 10_000,
    seed: int | None = 0,
    rows: int | None = None,
    **sampling: Unpack[Sampling],
) -> Answer:
    """Answer a question in words; `grammar` has the rules.

    Args:
        density: any density over vectors.
        question: such as "E[price | carat = 1.0, cut = Ideal]"; or one that is parsed already.
        columns: the density's columns, by name, and their units; `Plain(names)` for numbers as they are.
        context: (context features,), for a density that takes one.
        tolerance: largest standard error wanted, in the density's own unit; of means, probabilities and quantiles.
        samples: draws to begin with, where an answer takes any.
        seed: of the draws; None takes one from torch's global generator.
        rows: to how many the density was fitted. An answer says so where hardly any of them is like what is given, but not
            where the density takes a context: how many rows have that is not known.
        sampling: `proposals`, `chains` and `moves` of `conditional`.

    Raises:
        QuestionError: the question cannot be read, names an unknown column, or what is given is impossible; the message
            shows where.

    Warns:
        QueryWarning: an answer too poor to trust; a mean that cannot be told from draws.

    Example:
        >>> import anabranch as ab
        >>> mixture = ab.densities.GaussianMixture([[0.0, 1.0], [4.0, 2.0]])
        >>> columns = ab.queries.Plain(["carat", "price"])
        >>> print(ab.queries.ask(mixture, "E[price | carat = 4]", columns))
        E[price | carat = 4]  1.99966
        >>> print(ab.queries.ask(mixture, "Q[0.1, 0.9](price | carat = 4)", columns))
        Q[0.1](price | carat = 4)  0.717896
        Q[0.9](price | carat = 4)  3.28138
        >>> round(float(ab.queries.ask(mixture, "P(price > 2 | 3 < carat < 5)", columns)), 1)
        0.5
        >>> print(ab.queries.ask(mixture, "P(price > 2 | carat = 1 or price = 2)", columns))
        Traceback (most recent call last):
            ...
        anabranch.queries.question.QuestionError: 'or' joins conditions of one column, ...
          P(price > 2 | carat = 1 or price = 2)
                                     ^
    """
    asked = Asked(question, parse(question)) if isinstance(question, str) else question
    check_density(density)
    rows = None if rows is None else positive_int("rows", rows)
    evaluator = _Evaluator(density, asked, columns, context, tolerance, samples, seed, rows, sampling)
    return evaluator.answer()


class _Evaluator:
    def __init__(
        self,
        density: Density,
        asked: Asked,
        columns: Columns,
        context: Any,
        tolerance: float | None,
        samples: int,
        seed: int | None,
        rows: int | None,
        sampling: Sampling,
    ) -> None:
        self.density, self.asked, self.columns = density, asked, columns
        self.context, self.rows, self.sampling = context, rows, sampling
        self.seed = seed_of(seed)
        self.words = Conditions(asked.text, columns)
        question = asked.question
        self.given = self.words.values(question.given)
        self.told = [one.text for one in (*asked.beside, *question.given)]
        fixed = at_context(density, context) if density.context_shape is None or context is not None else density
        self.inquiry: Inquiry | DrawnInquiry | PointInquiry
        if Inquiry.takes(fixed):
            self.inquiry = Inquiry(fixed, samples, self.seed, tolerance)
        elif any(values.point is None for values in self.given.values()):
            self.inquiry = DrawnInquiry(fixed, samples, self.seed, tolerance, sampling=sampling)
        else:
            self.inquiry = PointInquiry(density, context, samples, self.seed, tolerance, sampling)
        self.moment = UnitMoments(self.inquiry, columns, self.given)

    def answer(self) -> Answer:
        """Evaluated."""
        given = self.asked.question.given
        try:
            if any(values.empty for values in self.given.values()):
                raise ImpossibleError("given: expected what is possible, got what no value is in")
            lines = self._lines(self.asked.question)
        except ImpossibleError as error:
            said = ", ".join(one.text for one in given)
            place = given[0].column.position if given else 0
            of_draws = "draws" in str(error)
            reason = f"the model calls it impossible{', or nearly so,' if of_draws else ''} that {said}"
            raise QuestionError(reason, self.asked.text, place) from error
        return Answer(self.asked.text, tuple(lines), tuple(self.told), self._note())

    def _lines(self, question: Question) -> list[Line]:
        if isinstance(question, Expectation):
            return [self._mean(word) for word in question.columns]
        if isinstance(question, Spread):
            return [self._spread(word, question.squared) for word in question.columns]
        if isinstance(question, Probability):
            region = self.words.values(question.conditions)
            written = ", ".join(one.text for one in question.conditions)
            return [line_of(self._name("P", written), self._probability(region))]
        if isinstance(question, Quantile):
            self.words.numeric(question.column, "no quantiles")
            return self._quantiles(question.column, question.levels)
        if isinstance(question, DensityAt):
            return self._density_at(question)
        if isinstance(question, ModeOf):
            return self._mode(question)
        return self._marginals(question)

    def _name(self, kind: str, of: str) -> str:
        """The question of one line, with what is given."""
        left, right = "[]" if kind in ("E", "SD", "Var") else "()"
        return f"{kind}{left}{of}{' | ' + ', '.join(self.told) if self.told else ''}{right}"

    def _note(self) -> str:
        """What is said where what is given is like few of the rows that the density was fitted to."""
        # the share is that among rows of this context, and how many rows of the fit have it is not known
        if self.rows is None or not self.given or self.density.context_shape is not None:
            return ""
        return few_rows(self.inquiry.near(self.given), self.rows)

    def _mean(self, word: Word) -> Line:
        column = self.words.numeric(word, "no mean")
        self.words.not_given(word, column, self.given)
        name = self._name("E", word.written)
        clock = clock_of(self._decoded(column, torch.zeros(1)))
        found, note = self.moment(name, column, clock, squared=False)
        line = line_of(name, found)
        return replace(line if clock is None else at_clock(line, clock), note=note)

    def _spread(self, word: Word, squared: bool) -> Line:
        """The standard deviation, or the variance."""
        column = self.words.numeric(word, "no standard deviation")
        self.words.not_given(word, column, self.given)
        name = self._name("Var" if squared else "SD", word.written)
        clock = clock_of(self._decoded(column, torch.zeros(1)))
        if clock is not None and squared:
            raise QuestionError(
                f"column {word.text!r} holds times, whose variance has no unit; ask SD[{word.written}]",
                self.asked.text,
                word.position,
            )
        found, note = self.moment(name, column, clock, squared=True)
        if squared:
            return replace(line_of(name, found), note=note)
        line = line_of(name, square_root(found))
        return replace(line if clock is None else as_span(line), note=note)

    def _quantiles(self, word: Word, levels: tuple[float, ...]) -> list[Line]:
        column = self.words.number(word)
        self.words.not_given(word, column, self.given)
        found = self.inquiry.quantile(column, torch.tensor(levels, dtype=torch.float64), self.given)
        names = [self._name(f"Q[{level:g}]", word.written) for level in levels]
        return quantile_lines(names, found, lambda x: self._decoded(column, x))

    def _density_at(self, question: DensityAt) -> list[Line]:
        at = self.words.singles(question.conditions)
        for one in question.conditions:
            self.words.not_given(one.column, self.words.number(one.column), self.given)
        found = self.inquiry.log_density(at, self.given)
        log_p = float(found.value.detach()) + sum(self.columns.log_det(i, value) for i, value in at.items())
        error, n = float(found.standard_error), float(found.effective_samples)
        between = 0.0 if found.between_orders is None else float(found.between_orders)
        name = self._name("p", ", ".join(one.text for one in question.conditions))
        p = math.exp(log_p)
        return [
            Line(name, p, p * error if p > 0 else 0.0, n, found.exact, between_orders=p * between if p > 0 else 0.0),
            Line(f"log {name}", log_p, error, n, found.exact, between_orders=between),
        ]

    def _mode(self, question: ModeOf) -> list[Line]:
        numbers = [self.words.number(word) for word in question.columns]
        for word, column in zip(question.columns, numbers, strict=True):
            self.words.not_given(word, column, self.given)
        options = {"context": self.context, "seed": self.seed}
        found = mode(self.density, points_of(self.given), columns=numbers, **options, **self.sampling)
        name = self._name("mode", ", ".join(word.written for word in question.columns))
        lines = [
            Line(f"{word.written} at {name}", plain(self._decoded(column, x.reshape(1))[0]), exact=True)
            for word, column, x in zip(question.columns, numbers, found.x, strict=True)
        ]
        log_det = sum(self.columns.log_det(i, float(x)) for i, x in zip(numbers, found.x, strict=True))
        log_p = line_of(f"log p at {name}", found.log_prob, lambda x: x + log_det)
        return [*lines, log_p, Line("starts that agreed", f"{found.agreed} of {found.starts}")]

    def _marginals(self, question: MarginalOf) -> list[Line]:
        lines: list[Line] = []
        for word in question.columns:
            column = self.words.number(word)
            self.words.not_given(word, column, self.given)
            levels = self.columns.levels(column)
            if levels is None:
                lines += [self._mean(word), *self._quantiles(word, _SUMMARY)]
                continue
            for level in levels:
                value = Word(str(self._decoded(column, torch.tensor([level]))[0]), 0)
                name = self._name("P", f"{word.written} = {value.written}")
                lines.append(line_of(name, self._probability({column: Interval(level, level)})))
        return lines

    def _probability(self, region: dict[int, Values]) -> Estimate:
        left = {}
        for i, values in region.items():
            both = values.and_(self.given[i]) if i in self.given else values
            if both.empty:
                return Estimate.closed(torch.zeros((), dtype=torch.float64))
            if i not in self.given or disjoint(both) != disjoint(self.given[i]):
                left[i] = values
        if not left:
            return Estimate.closed(torch.ones((), dtype=torch.float64))
        return self.inquiry.probability(left, self.given)

    def _decoded(self, column: int, x: Tensor) -> Any:
        return self.columns.decode(column, x.detach().double().cpu().numpy())
