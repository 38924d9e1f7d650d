"""What is known of a column of text before its cells are looked at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from anabranch.tables.number_text import NumberStyle
from anabranch.tables.time_text import TimeStyle

# what stands for a gap, unless the reader is told otherwise; an empty field always does
GAPS = (
    *("NA", "N/A", "n/a", "na", "N.A.", "n.a.", "<NA>", "#N/A", "#NA", "#N/A N/A", "NaN", "nan", "NAN", "-NaN", "-nan"),
    *("NULL", "Null", "null", "None", "NaT", "1.#IND", "-1.#IND", "1.#QNAN", "-1.#QNAN"),
    *("#VALUE!", "#DIV/0!", "#REF!", "#NAME?", "#NUM!", "#NULL!", "-", "--", "\u2013", "\u2014", "?", "."),
)
# what a column may be declared as
NUMBER, TEXT, TIME, TRUTH = "number", "text", "time", "truth"


Style = NumberStyle | TimeStyle


@dataclass(frozen=True)
class Hints:
    """What is known of a column before its texts are looked at.

    Args:
        gaps: the words for gaps.
        decimal: the decimal mark, None if nobody said.
        comma_file: whether other columns of the file have decimal commas.
        comma_between: whether commas are expected between thousands, where they could be either.
        dates: "day-first", "month-first", "none", a format of strptime, or None.
        dates_told: whether that was said of this very column, so that nothing else will do.
        day_first: whether the day comes first in other columns of the file, where that is known.
        form: NUMBER, TEXT, TIME or TRUTH, what the column is declared as; None to tell it from the texts.
        style: the style in which the column was written when a model was fitted to it.
        all_quoted: whether every field of the file is in quotes.
    """

    gaps: Sequence[str] = GAPS
    decimal: str | None = None
    comma_file: bool = False
    comma_between: bool = True
    dates: str | None = None
    dates_told: bool = False
    day_first: bool | None = None
    form: str | None = None
    style: Style | None = None
    all_quoted: bool = False


def style_of(described: Mapping[str, Any] | None) -> Style | None:
    """A style of what `describe` gave."""
    if described is None:
        return None
    described = dict(described)
    return TimeStyle(described["order"]) if "order" in described else replace(NumberStyle(), **described)


def describe(style: Style) -> dict[str, Any]:
    """A style as plain data."""
    return dict(vars(style))
