"""Estimates as lines of an answer, in the units of their columns; times as people write them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from anabranch.queries.answer import Line
from anabranch.queries.clock import Clock, clock_of, plain, rounded_span
from anabranch.queries.estimate import Estimate


def line_of(name: str, found: Estimate, unit: Callable[[float], float] = lambda x: x) -> Line:
    """Of an estimate of one number; the unit is affine.

    Example:
        >>> import torch
        >>> from anabranch.queries import Estimate
        >>> from anabranch.queries.lines import line_of
        >>> line_of("E[x]", Estimate.closed(torch.tensor(0.5)), lambda x: 2 * x + 1).value
        2.0
    """
    value, error = float(found.value.reshape(())), float(found.standard_error.reshape(()))
    scale = abs(unit(1.0) - unit(0.0))
    between = 0.0 if found.between_orders is None else scale * float(found.between_orders.reshape(()))
    effective = float(found.effective_samples.reshape(()))
    return Line(name, unit(value), scale * error, effective, found.exact, between_orders=between)


def at_clock(line: Line, clock: Clock) -> Line:
    """Of a line in seconds: the time, and its errors as spans."""
    error, unit = rounded_span(line.standard_error)
    share = error / line.standard_error if line.standard_error > 0 else 1.0
    value, between = clock.written(line.value), share * line.between_orders
    return replace(line, value=value, standard_error=error, unit=unit, between_orders=between)


def as_span(line: Line) -> Line:
    """Of a line in seconds: the same in seconds, or in days."""
    value, unit = rounded_span(line.value)
    share = value / line.value if line.value > 0 else 1.0
    errors = share * line.standard_error, share * line.between_orders
    return replace(line, value=value, unit=unit, standard_error=errors[0], between_orders=errors[1])


def square_root(variance: Estimate) -> Estimate:
    """The standard deviation: of a square root half the relative error."""
    root = variance.value.sqrt()
    half = torch.where(root > 0, 0.5 / root, 0.0)
    between = None if variance.between_orders is None else half * variance.between_orders
    return replace(variance, value=root, standard_error=half * variance.standard_error, between_orders=between)


def quantile_lines(names: list[str], found: Estimate, decoded: Callable[[Tensor], NDArray[Any]]) -> list[Line]:
    """Of quantiles (k), a line each; an error is half the distance between the values at it below and above."""
    orders = torch.zeros_like(found.value) if found.between_orders is None else found.between_orders
    lines = []
    for k, (name, q) in enumerate(zip(names, found.value, strict=True)):
        error, between = found.standard_error[k], orders[k]
        values = decoded(torch.stack([q, q - error, q + error, q - between, q + between]))
        clock = clock_of(values)
        numbers = values if clock is None else clock.seconds(values)
        half = 0.0 if found.exact else 0.5 * abs(float(numbers[2]) - float(numbers[1]))
        spread = 0.5 * abs(float(numbers[4]) - float(numbers[3])) if bool(between > 0) else 0.0
        value = plain(values[0]) if clock is None else clock.written(numbers[0])
        unit = ""
        if clock is not None:
            half, unit = rounded_span(half)
            spread = spread / 86_400 if unit == "days" else spread
        lines.append(Line(name, value, half, float(found.effective_samples[k]), found.exact, unit, spread))
    return lines
