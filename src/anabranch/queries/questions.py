"""Questions in words: their answers."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Unpack

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from anabranch.checks import reference_tensor
from anabranch.densities import Density
from anabranch.queries.at_context import settled
from anabranch.queries.clock import clock_of, rounded_span
from anabranch.queries.columns import Columns, tensor_like
from anabranch.queries.condition import condition
from anabranch.queries.estimate import Estimate, ImpossibleError
from anabranch.queries.expectation import expectation
from anabranch.queries.grammar import (
    Condition,
    DensityAt,
    Expectation,
    ModeOf,
    Probability,
    Quantile,
    Question,
    QuestionError,
    Word,
    parse,
)
from anabranch.queries.inquiry import Inquiry
from anabranch.queries.log_prob_at import log_prob_at
from anabranch.queries.marginal import marginal
from anabranch.queries.mode import mode
from anabranch.queries.probability import probability
from anabranch.queries.quantile import quantile
from anabranch.queries.region import Interval, single_values
from anabranch.queries.sampling import Sampling

_SUMMARY = (0.05, 0.25, 0.5, 0.75, 0.95)


@dataclass(frozen=True)
class Line:
    """One number of an answer, or one word.

    Attributes:
        name: what it is.
        value: in the column's unit.
        standard_error: of a number, by the draws it rests on, 0 where it is exact; of a time in `unit`.
        effective_samples: infinite where it is exact.
        exact: whether it rests on no draws.
        unit: of the errors, where that is not the value's.
        between_orders: the standard deviation of a number between the orders of a model of any order; 0 for other densities,
            and where no difference was seen beyond the error of the draws.
    """

    name: str
    value: Any
    standard_error: float = 0.0
    effective_samples: float = math.inf
    exact: bool = True
    unit: str = ""
    between_orders: float = 0.0

    def __str__(self) -> str:
        written = f"{self.value:.6g}" if isinstance(self.value, float) else str(self.value)
        errors = [] if self.exact else [(self.standard_error, "draws")]
        errors += [(self.between_orders, "between orders")] if self.between_orders > 0 else []
        said = [" ".join(filter(None, (f"± {error:.2g}", self.unit, source))) for error, source in errors]
        return "  ".join([self.name, written]) + (" " + ", ".join(said) if said else "")


@dataclass(frozen=True)
class Answer:
    """The lines that answer a question."""

    question: str
    lines: tuple[Line, ...]

    def __str__(self) -> str:
        return "\n".join(map(str, self.lines))


@dataclass(frozen=True)
class Asked:
    """A question with the text that it was parsed from, at which errors point."""

    text: str
    question: Question


def ask(
    density: Density,
    question: str | Asked,
    columns: Columns,
    *,
    context: Tensor | ArrayLike | None = None,
    tolerance: float | None = None,
    samples: int = 10_000,
    seed: int | None = 0,
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
        seed: of the draws.
        sampling: `proposals`, `chains` and `moves` of `condition`.

    Raises:
        QuestionError: the question cannot be read, names an unknown column, or what is given is impossible; the message
            shows where.

    Example:
        >>> import anabranch as ab
        >>> mixture = ab.densities.GaussianMixture([[0.0, 1.0], [4.0, 2.0]])
        >>> columns = ab.queries.Plain(["carat", "price"])
        >>> print(ab.queries.ask(mixture, "E[price | carat = 4]", columns))
        E[price]  1.99966
        >>> print(ab.queries.ask(mixture, "P(price > 2, carat < 1 | price < 3)", columns))
        Traceback (most recent call last):
            ...
        anabranch.queries.grammar.QuestionError: expected = in what is given, got <
          P(price > 2, carat < 1 | price < 3)
                                         ^
        >>> print(ab.queries.ask(mixture, "Q[0.1, 0.9](price | carat = 4)", columns))
        Q[0.1](price)  0.717896
        Q[0.9](price)  3.28138
    """
    asked = Asked(question, parse(question)) if isinstance(question, str) else question
    evaluator = _Evaluator(density, asked.text, columns, context, tolerance, samples, seed, sampling)
    return evaluator.answer(asked.question)


class _Evaluator:
    def __init__(
        self,
        density: Density,
        text: str,
        columns: Columns,
        context: Any,
        tolerance: float | None,
        samples: int,
        seed: int | None,
        sampling: Sampling,
    ) -> None:
        self.density, self.text, self.columns = density, text, columns
        self.context = context
        self.conditioning: Sampling = sampling
        self.sampling: dict[str, Any] = {
            "context": context,
            "tolerance": tolerance,
            "samples": samples,
            "seed": seed,
            **sampling,
        }
        self.seed = 0 if seed is None else seed
        fixed = settled(density, context) if density.context_shape is None or context is not None else density
        self.inquiry = Inquiry(fixed, samples, self.seed, tolerance) if Inquiry.takes(fixed) else None

    def answer(self, question: Question) -> Answer:
        """Evaluated."""
        given = {self._number(c.column): self._encoded(c) for c in question.given}
        try:
            lines = self._lines(question, given)
        except ImpossibleError as error:
            said = ", ".join(f"{c.column.text} = {c.value.text}" for c in question.given)
            place = question.given[0].column.position if question.given else 0
            raise QuestionError(f"the model calls it impossible that {said}", self.text, place) from error
        return Answer(self.text, tuple(lines))

    def _lines(self, question: Question, given: dict[int, float]) -> list[Line]:
        if isinstance(question, Expectation):
            return [self._mean(word, given, f"E[{word.text}]") for word in question.columns]
        if isinstance(question, Probability):
            region: dict[int, Interval] = {}
            for one in question.conditions:
                column = self._number(one.column)
                interval = self._interval(one, column)
                region[column] = region[column].and_(interval) if column in region else interval
            written = ", ".join(f"{c.column.text} {c.relation} {c.value.text}" for c in question.conditions)
            return [_line(f"P({written})", self._probability(region, given))]
        if isinstance(question, Quantile):
            self._numeric(question.column, "no quantiles")
            return self._quantiles(question.column, question.levels, given)
        if isinstance(question, DensityAt):
            return self._density_at(question, given)
        if isinstance(question, ModeOf):
            return self._mode(question, given)
        return [line for word in question.columns for line in self._summary(word, given)]

    def _mean(self, word: Word, given: dict[int, float], name: str) -> Line:
        column = self._numeric(word, "no mean")
        self._not_given(word, column, given)
        clock = clock_of(self._decoded(column, torch.zeros(1)))
        affine = self.columns.affine(column)
        if affine is not None and clock is None and self.inquiry is None:
            found = expectation(self.density, "mean", given, columns=column, **self.sampling)
            return _line(name, found, lambda x: affine[0] + affine[1] * x)

        def own_unit(x: Tensor) -> Tensor:
            values = self._decoded(column, x[:, 0])
            return torch.from_numpy(np.array(values if clock is None else clock.seconds(values), dtype=np.float64))

        if self.inquiry is None:
            found = expectation(self.density, own_unit, given, columns=column, **self.sampling)
        else:
            found = self.inquiry.mean(lambda x: own_unit(x[:, [column]]), [column], single_values(given))
        line = _line(name, found)
        if clock is None:
            return line
        error, unit = rounded_span(line.standard_error)
        between = line.between_orders * error / line.standard_error if line.standard_error > 0 else line.between_orders
        return replace(line, value=clock.written(line.value), standard_error=error, unit=unit, between_orders=between)

    def _quantiles(self, word: Word, levels: tuple[float, ...], given: dict[int, float]) -> list[Line]:
        column = self._number(word)
        self._not_given(word, column, given)
        if self.inquiry is None:
            found = quantile(self.density, column, levels, given, **self.sampling)
        else:
            found = self.inquiry.quantile(column, torch.tensor(levels, dtype=torch.float64), single_values(given))
        orders = torch.zeros_like(found.value) if found.between_orders is None else found.between_orders
        lines = []
        for k, (level, q) in enumerate(zip(levels, found.value, strict=True)):
            error, between = found.standard_error[k], orders[k]
            values = self._decoded(column, torch.stack([q, q - error, q + error, q - between, q + between]))
            clock = clock_of(values)
            numbers = values if clock is None else clock.seconds(values)
            half = 0.0 if found.exact else 0.5 * abs(float(numbers[2]) - float(numbers[1]))
            spread = 0.5 * abs(float(numbers[4]) - float(numbers[3])) if bool(between > 0) else 0.0
            value = _plain(values[0]) if clock is None else clock.written(numbers[0])
            unit = ""
            if clock is not None:
                half, unit = rounded_span(half)
                spread = spread / 86_400 if unit == "days" else spread
            effective = float(found.effective_samples[k])
            lines.append(Line(f"Q[{level:g}]({word.text})", value, half, effective, found.exact, unit, spread))
        return lines

    def _density_at(self, question: DensityAt, given: dict[int, float]) -> list[Line]:
        at = {self._number(c.column): self._encoded(c) for c in question.conditions}
        for one in question.conditions:
            self._not_given(one.column, self._number(one.column), given)
        if self.inquiry is not None:
            found = self.inquiry.log_density(at, single_values(given))
        else:
            conditional = condition(self.density, given, self.context, seed=self.seed, **self.conditioning)
            rest = [i for i in range(self.density.event_shape[0]) if i not in given]
            draws = self.conditioning.get("proposals", 1024)
            wanted = marginal(conditional, [rest.index(i) for i in at], proposals=draws, seed=self.seed)
            found = log_prob_at(wanted, tensor_like(list(at.values()), reference_tensor(self.density)))
        log_p = float(found.value.detach()) + sum(self.columns.log_det(i, value) for i, value in at.items())
        error, n = float(found.standard_error), float(found.effective_samples)
        between = 0.0 if found.between_orders is None else float(found.between_orders)
        name = f"p({', '.join(f'{c.column.text} = {c.value.text}' for c in question.conditions)})"
        p = math.exp(log_p)
        return [
            Line(name, p, p * error if p > 0 else 0.0, n, found.exact, between_orders=p * between if p > 0 else 0.0),
            Line(f"log {name}", log_p, error, n, found.exact, between_orders=between),
        ]

    def _mode(self, question: ModeOf, given: dict[int, float]) -> list[Line]:
        numbers = [self._number(word) for word in question.columns]
        for word, column in zip(question.columns, numbers, strict=True):
            self._not_given(word, column, given)
        found = mode(self.density, given, columns=numbers, context=self.context, seed=self.seed, **self.conditioning)
        lines = [
            Line(word.text, _plain(self._decoded(column, x.reshape(1))[0]), exact=True)
            for word, column, x in zip(question.columns, numbers, found.x, strict=True)
        ]
        log_det = sum(self.columns.log_det(i, float(x)) for i, x in zip(numbers, found.x, strict=True))
        log_p = _line("log p there", found.log_prob, lambda x: x + log_det)
        return [*lines, log_p, Line("starts that agreed", f"{found.agreed} of {found.starts}")]

    def _summary(self, word: Word, given: dict[int, float]) -> list[Line]:
        column = self._number(word)
        self._not_given(word, column, given)
        levels = self.columns.levels(column)
        if levels is None:
            return [self._mean(word, given, f"E[{word.text}]"), *self._quantiles(word, _SUMMARY, given)]
        return [
            _line(
                f"P({word.text} = {self._decoded(column, torch.tensor([level]))[0]})",
                self._probability({column: Interval(level, level)}, given),
            )
            for level in levels
        ]

    def _probability(self, region: dict[int, Interval], given: dict[int, float]) -> Estimate:
        if self.inquiry is None:
            return probability(self.density, region, given, **self.sampling)
        return self.inquiry.probability(region, single_values(given))

    def _interval(self, one: Condition, column: int) -> Interval:
        if self.columns.levels(column) is not None and one.relation not in ("=", "!="):
            raise QuestionError(
                f"expected = or != for {one.column.text!r}, whose categories have no order, got {one.relation}",
                self.text,
                one.column.position,
            )
        try:
            return self.columns.interval(column, one.relation, one.value.text)
        except ValueError as error:
            raise QuestionError(str(error), self.text, one.value.position) from error

    def _number(self, word: Word) -> int:
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

    def _numeric(self, word: Word, lacks: str) -> int:
        column = self._number(word)
        if self.columns.levels(column) is not None:
            raise QuestionError(
                f"column {word.text!r} holds categories, which have {lacks}; ask marginal({word.text})",
                self.text,
                word.position,
            )
        return column

    def _not_given(self, word: Word, column: int, given: dict[int, float]) -> None:
        if column in given:
            raise QuestionError(
                f"column {word.text!r} is given, so there is nothing to ask of it", self.text, word.position
            )

    def _encoded(self, one: Condition) -> float:
        column = self._number(one.column)
        try:
            return self.columns.encode(column, one.value.text)
        except ValueError as error:
            raise QuestionError(str(error), self.text, one.value.position) from error

    def _decoded(self, column: int, x: Tensor) -> Any:
        return self.columns.decode(column, x.detach().double().cpu().numpy())


def _line(name: str, found: Estimate, unit: Callable[[float], float] = lambda x: x) -> Line:
    """Of an estimate of one number; the unit is affine."""
    value, error = float(found.value.reshape(())), float(found.standard_error.reshape(()))
    scale = abs(unit(1.0) - unit(0.0))
    between = 0.0 if found.between_orders is None else scale * float(found.between_orders.reshape(()))
    effective = float(found.effective_samples.reshape(()))
    return Line(name, unit(value), scale * error, effective, found.exact, between_orders=between)


def _plain(value: Any) -> Any:
    """A Python number or word."""
    if isinstance(value, (np.datetime64, np.timedelta64)):
        values = np.array([value])
        clock = clock_of(values)
        return str(value) if clock is None else clock.written(clock.seconds(values)[0])
    return float(value) if isinstance(value, (int, float, np.number)) and not isinstance(value, bool) else str(value)
