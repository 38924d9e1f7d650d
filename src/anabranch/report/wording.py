"""Numbers and values as short text."""

from __future__ import annotations

import datetime
import math
from collections.abc import Sequence
from typing import Any


def number(value: float, digits: int = 4) -> str:
    """A number with so many significant digits, thousands apart.

    Example:
        >>> from anabranch.report.wording import number
        >>> number(12345.678), number(0.000123456), number(-0.5), number(2.0)
        ('12,346', '0.0001235', '-0.5', '2')
    """
    if not math.isfinite(value):
        return "undefined" if math.isnan(value) else ("infinity" if value > 0 else "-infinity")
    if value == 0:
        return "0"
    size = math.floor(math.log10(abs(value)))
    if size >= 9 or size < -5:
        return f"{value:.{digits - 1}e}".replace("e+0", "e").replace("e-0", "e-").replace("e+", "e")
    text = f"{value:,.{max(0, digits - 1 - size)}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def compact(value: float) -> str:
    """A number for the tick of an axis.

    Example:
        >>> from anabranch.report.wording import compact
        >>> compact(20000), compact(1e6), compact(0.001), compact(0)
        ('20k', '1M', '0.001', '0')
    """
    for size, letter in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e4, "k")):
        if size <= abs(value) < 1e15:
            return f"{value / (1e3 if letter == 'k' else size):g}{letter}"
    return f"{value:g}"


def nats(value: float) -> str:
    """Nats, with two decimals."""
    return f"{value:,.2f}" if math.isfinite(value) else number(value)


def with_error(value: float | None, error: float | None) -> str:
    """A mean and its standard error; what is infinite is None in a report."""
    if value is None:
        return "-infinity"
    return nats(value) + ("" if error is None or not math.isfinite(error) else f" ± {nats(error)}")


def percent(share: float) -> str:
    """A share in per cent.

    Example:
        >>> from anabranch.report.wording import percent
        >>> percent(0.5), percent(0.0123), percent(0.00001), percent(0)
        ('50 %', '1.2 %', 'below 0.1 %', '0 %')
    """
    if not math.isfinite(share):
        return "undefined"
    if 0 < share < 0.001:
        return "below 0.1 %"
    return f"{100 * share:.3g} %" if share >= 0.1 else f"{100 * share:.2g} %"


def count(number: int, one: str, many: str | None = None) -> str:
    """So many things.

    Example:
        >>> from anabranch.report.wording import count
        >>> count(1, "row"), count(2500, "row")
        ('1 row', '2,500 rows')
    """
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def shown(value: Any, most: int = 60) -> str:
    """A value of a table."""
    if value is None:
        return "a gap"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return number(value, 5)
    if isinstance(value, datetime.timedelta) and value < datetime.timedelta():
        return f"-{-value}"  # Python writes one minute less than nothing as -1 day, 23:59:00
    if isinstance(value, str):
        return shortened(value, most) if value else "(empty text)"
    return shortened(str(value), most)


def shortened(text: str, most: int) -> str:
    """Text of so many characters at most, on one line."""
    line = " ".join(text.split()) if "\n" in text or "\t" in text else text
    return line if len(line) <= most else line[: most - 1] + "…"


def listed(words: Sequence[str], most: int = 8) -> str:
    """Words, one after the other, and how many more there are."""
    if len(words) > most:
        return f"{', '.join(words[:most])} and {len(words) - most:,} more"
    return ", ".join([*words[:-2], " and ".join(words[-2:])]) if words else "none"


def label(text: str) -> str:
    """Text that plotly shows as it is: it would read tags and entities in it."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
