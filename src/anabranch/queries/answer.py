"""What a question in words is answered with."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

# a name or a value may hold them, and a line of an answer is one line
_ONE_LINE = str.maketrans("\n\r\t", "   ")


@dataclass(frozen=True)
class Line:
    """One number of an answer, or one word.

    Attributes:
        name: what it is: the question, with what is given.
        value: in the column's unit.
        standard_error: of a number, by the draws it rests on, 0 where it is exact; of a time in `unit`.
        effective_samples: how many independent draws that is worth; infinite where it is exact.
        exact: whether it rests on no draws.
        unit: of the errors, where that is not the column's: of times, and of a span of time its own too.
        between_orders: the standard deviation of a number between the orders of a model of any order; 0 for other densities,
            and where no difference was seen beyond the error of the draws.
        note: what else has to be known about the number.

    Example:
        >>> from anabranch.queries import Line
        >>> line = Line("E[price | carat = 1]", 5312.0, 8.0, 1000.0, exact=False, between_orders=20.0)
        >>> print(line)
        E[price | carat = 1]  5312 ± 8 draws, ± 20 between orders
        >>> float(line)
        5312.0
    """

    name: str
    value: Any
    standard_error: float = 0.0
    effective_samples: float = math.inf
    exact: bool = True
    unit: str = ""
    between_orders: float = 0.0
    note: str = ""

    def __str__(self) -> str:
        written = f"{self.value:.6g}" if isinstance(self.value, float) else str(self.value)
        errors = [] if self.exact else [(self.standard_error, "draws")]
        errors += [(self.between_orders, "between orders")] if self.between_orders > 0 else []
        # a span of time is in the same unit as its errors
        written, unit = (
            (f"{written} {self.unit}", "") if self.unit and isinstance(self.value, float) else (written, self.unit)
        )
        said = [" ".join(filter(None, (f"± {error:.2g}", unit, source))) for error, source in errors]
        line = "  ".join([self.name, written]) + (" " + ", ".join(said) if said else "")
        return (line + (f" ({self.note})" if self.note else "")).translate(_ONE_LINE)

    def __float__(self) -> float:
        if isinstance(self.value, bool) or not isinstance(self.value, (int, float)):
            raise ValueError(f"expected a number, got {self.value!r} for {self.name}; read .value of the line")
        return float(self.value)

    def to_dict(self) -> dict[str, Any]:
        """Name, value, errors and note, for JSON: what is not finite, such as effective draws of an exact value, is None."""
        return {
            "name": self.name,
            "value": _finite(self.value),
            "standard_error": _finite(self.standard_error),
            "between_orders": _finite(self.between_orders),
            "effective_samples": _finite(self.effective_samples),
            "exact": self.exact,
            "unit": self.unit,
            "note": self.note,
        }


@dataclass(frozen=True)
class Answer:
    """The lines that answer a question.

    A single number is `float(answer)`, and so is a density, whose second line is its logarithm.

    Attributes:
        question: as it was asked.
        lines: the numbers, each with its errors.
        given: the conditions, in words.
        note: what else has to be known about all lines.
    """

    question: str
    lines: tuple[Line, ...]
    given: tuple[str, ...] = ()
    note: str = ""

    def __str__(self) -> str:
        return "\n".join([*map(str, self.lines), *([f"({self.note})"] if self.note else [])])

    def __float__(self) -> float:
        first = self.lines[0]
        density = len(self.lines) == 2 and self.lines[1].name == f"log {first.name}"
        if len(self.lines) > 1 and not density:
            raise ValueError(
                f"expected an answer of one number, got {len(self.lines)} lines; read float(answer.lines[0])"
            )
        return float(first)

    def to_dict(self) -> dict[str, Any]:
        """Question, what is given, lines and note, for JSON."""
        lines = [line.to_dict() for line in self.lines]
        return {"question": self.question, "given": list(self.given), "lines": lines, "note": self.note}


def _finite(value: Any) -> Any:
    """A number or a word; None for infinity and NaN, which JSON does not have."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if isinstance(value, (int, str)) else str(value)
