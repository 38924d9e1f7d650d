"""Dates and times as people write them in tables: day or month first, names of months, 20240517."""

from __future__ import annotations

import datetime
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from anabranch.tables.types import in_one_piece

# text of which so many different values are dates is a column of dates with some stray words
TIMES_SHARE = 0.8
# texts by which to tell whether many repeat
_LOOKED_AT = 10_000
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_LONG = (
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
)
_NAME = r"[A-Za-z]{3,9}"
# of years of two digits, those from here on are of the last century
_PIVOT = 69
_CLOCK = (
    r"(?:[T ,]+(?P<hour>\d{1,2}):(?P<minute>\d{2})(?::(?P<second>\d{2})(?P<fraction>[.,]\d{1,6})?)?"
    r"(?: ?(?P<half>[AaPp])\.?[Mm]\.?)?)?"
)
_DAY, _MONTH = r"(?P<day>\d{1,2})", r"(?P<month>\d{1,2})"
_ORDERS = {
    "dmy": rf"{_DAY}[./-]{_MONTH}[./-](?P<year>\d{{4}}|\d{{2}})",
    "mdy": rf"{_MONTH}[./-]{_DAY}[./-](?P<year>\d{{4}}|\d{{2}})",
    "ymd": rf"(?P<year>\d{{4}})[./-]{_MONTH}[./-]{_DAY}",
    "compact": r"(?P<year>(?:19|20)\d{2})(?P<month>\d{2})(?P<day>\d{2})",
    "d-name-y": rf"{_DAY}[ .-]*(?P<month>{_NAME})[ .,-]*(?P<year>\d{{4}}|\d{{2}})",
    "name-d-y": rf"(?P<month>{_NAME})[ .-]*{_DAY}[ .,]+(?P<year>\d{{4}})",
}
_ISO = re.compile(r"\d{4}-\d{2}-\d{2}(?:[T ]\d{2}(?::?\d{2}(?::?\d{2}(?:[.,]\d+)?)?)?(?:Z|[+-]\d{2}(?::?\d{2})?)?)?")
_CLOCK_ALONE = re.compile(r"\d{1,2}:\d{2}(?::\d{2}(?:\.\d{1,6})?)?")


@dataclass(frozen=True)
class TimeStyle:
    """How the dates or times of a column are written.

    Args:
        order: "dmy", "mdy" or "ymd" for numbers with marks between; "compact" for 20240517; "d-name-y" and "name-d-y" with
            the months' names; "iso" for what Arrow reads by itself, "clock" for times of day; or a format of strptime.
    """

    order: str = "iso"

    @property
    def plain(self) -> bool:
        """Whether dates are written as any program reads them."""
        return self.order in ("iso", "clock")

    @property
    def words(self) -> str:
        """What is to say of it."""
        return {
            "dmy": "day/month/year",
            "mdy": "month/day/year",
            "ymd": "year/month/day",
            "compact": "dates written as 20240517",
            "d-name-y": "day, month, year",
            "name-d-y": "month, day, year",
        }.get(self.order, self.order)

    def read(self, texts: Any) -> Any | None:
        """Dates, points in time or times of day of texts; None if some text is none."""
        coded = pc.dictionary_encode(texts.slice(0, _LOOKED_AT))
        if len(texts) > _LOOKED_AT and len(in_one_piece(coded).dictionary) < _LOOKED_AT / 2:  # each is read once
            coded = pc.dictionary_encode(in_one_piece(texts))
            known = self._read(coded.dictionary)
            return None if known is None else known.take(coded.indices)
        return self._read(texts)

    def _read(self, texts: Any) -> Any | None:
        if self.order == "iso":
            return _iso(texts)
        if self.order == "clock":
            return _times_of_day(texts)
        if "%" in self.order:
            values = pc.strptime(texts, self.order, "s", error_is_null=True)
            bare = not any(mark in self.order for mark in ("%H", "%I", "%M", "%S", "%T", "%R", "%c", "%X", "%r"))
            return None if values.null_count > texts.null_count else values.cast(pa.date32()) if bare else values
        pieces = pc.extract_regex(texts, f"^{_ORDERS[self.order]}{_CLOCK}$")
        if pieces.null_count > texts.null_count:
            return None
        return _assembled(in_one_piece(pieces), in_one_piece(texts).is_valid().to_numpy(zero_copy_only=False))

    def fits(self, texts: Any) -> Any:
        """Which texts look like such dates, whether or not there is such a day; null where there is none."""
        if "%" in self.order:
            return pc.if_else(texts.is_null(), None, pc.strptime(texts, self.order, "s", error_is_null=True).is_valid())
        pattern = {"iso": _ISO.pattern, "clock": _CLOCK_ALONE.pattern}.get(self.order)
        return pc.match_substring_regex(texts, f"^(?:{pattern or _ORDERS[self.order] + _CLOCK})$")

    def write(self, values: Any, like: str) -> Any:
        """Dates and times as texts, written like another.

        Args:
            values: them.
            like: a text of the column.
        """
        if self.plain:
            words = values.cast(pa.string())
            return pc.replace_substring(words, " ", "T") if "T" in like else words
        form = self.order if "%" in self.order else _format(self.order, like)
        return pa.array([None if one is None else _said(one, form, like) for one in values.to_pylist()], pa.string())


def time_style(words: Sequence[str], day_first: bool | None) -> tuple[TimeStyle, bool] | None:
    """How most of some texts are written, if they are dates or times.

    Args:
        words: different texts of a column.
        day_first: whether the day comes before the month, where numbers alone leave it open; None if nothing is known.

    Returns:
        the style, and whether day and month could be the other way round; None if they are no dates.

    Example:
        >>> from anabranch.tables.time_text import time_style
        >>> time_style(["31/12/2024", "01/02/2024"], None)
        (TimeStyle(order='dmy'), False)
        >>> time_style(["11/12/2024", "01/02/2024"], None)
        (TimeStyle(order='mdy'), True)
    """
    enough = TIMES_SHARE * len(words)
    for pattern, order in ((_ISO, "iso"), (_CLOCK_ALONE, "clock")):
        if sum(bool(pattern.fullmatch(word)) for word in words) > enough:
            return TimeStyle(order), False
    for order in ("ymd", "d-name-y", "name-d-y"):
        found = [match for match in (re.fullmatch(_ORDERS[order] + _CLOCK, word) for word in words) if match]
        if len(found) > enough and all(m["month"].isdigit() or m["month"][:3].lower() in _MONTHS for m in found):
            return TimeStyle(order), False
    found = [match for match in (re.fullmatch(_ORDERS["dmy"] + _CLOCK, word) for word in words) if match]
    if len(found) <= enough:
        return None
    first, second = ({int(match[name]) for match in found} for name in ("day", "month"))
    if max(first) > 31 or max(second) > 31:
        return None
    if max(first) > 12 or max(second) > 12:
        return TimeStyle("dmy" if max(first) > 12 else "mdy"), False
    if day_first is None:
        day_first = "/" not in found[0][0]  # with points and dashes they are European
    return TimeStyle("dmy" if day_first else "mdy"), True


def compact_dates(values: Any) -> Any | None:
    """Whole numbers such as 20240517 as dates; None if some is none, or there are fewer than three."""
    extremes = pc.min_max(values).as_py()
    if extremes["min"] is None or extremes["min"] < 19_000_101 or extremes["max"] > 21_001_231:
        return None
    numbers = in_one_piece(values)
    given = numbers.is_valid().to_numpy(zero_copy_only=False)
    n = numbers.fill_null(20000101).to_numpy(zero_copy_only=False)
    days = _days(n // 10_000, n // 100 % 100, n % 100)
    if days is None or len(np.unique(n[given][:10_000])) < 3:
        return None
    return pa.array(days.astype(np.int32), mask=~given).view(pa.date32())


def _iso(texts: Any) -> Any | None:
    """Dates and times as Arrow reads them; times with offsets in UTC."""
    kinds = [pa.date32()]
    for zone in (None, "UTC"):
        kinds += [pa.timestamp(unit, zone) for unit in ("s", "us", "ns")]
    for kind in kinds:
        try:
            return texts.cast(kind)
        except pa.ArrowInvalid:
            continue
    return None


def _times_of_day(texts: Any) -> Any | None:
    pieces = pc.extract_regex(texts, r"^(?P<h>\d{1,2}):(?P<m>\d{2})(?::(?P<s>\d{2})(?P<f>\.\d{1,6})?)?$")
    if pieces.null_count > texts.null_count:
        return None
    pieces, given = in_one_piece(pieces), in_one_piece(texts).is_valid().to_numpy(zero_copy_only=False)
    hour, minute, second = (_whole(pieces, name) for name in "hms")
    if (hour > 23).any() or (minute > 59).any() or (second > 59).any():
        return None
    seconds = hour * 3600 + minute * 60 + second
    micros = _micros(pieces, "f")
    if micros.any():
        return pa.array(seconds * 10**6 + micros, mask=~given).view(pa.time64("us"))
    return pa.array(seconds.astype(np.int32), mask=~given).view(pa.time32("s"))


def _assembled(pieces: pa.StructArray, given: NDArray[np.bool_]) -> Any | None:
    """Dates, or points in time where hours are told, of year, month, day and clock as texts; gaps where not `given`."""
    year, day = _whole(pieces, "year"), _whole(pieces, "day")
    year = np.where(year < 100, year + np.where(year < _PIVOT, 2000, 1900), year)
    months = pieces.field("month")
    number = pc.match_substring_regex(months, r"^\d*$")
    if pc.all(pc.fill_null(number, True)).as_py():
        month = _whole(pieces, "month")
    else:
        place = pc.index_in(pc.utf8_slice_codeunits(pc.utf8_lower(months), 0, 3), pa.array(_MONTHS))
        month = place.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64) + 1
    year, month, day = (np.where(given, part, fill) for part, fill in ((year, 2000), (month, 1), (day, 1)))
    days = _days(year, month, day)
    if days is None:
        return None
    clock = pieces.field("hour")
    if not pc.any(pc.greater(pc.binary_length(clock), 0)).as_py():
        return pa.array(days.astype(np.int32), mask=~given).view(pa.date32())
    hour, minute, second = (_whole(pieces, name) for name in ("hour", "minute", "second"))
    half = pc.utf8_lower(pieces.field("half"))
    morning, evening = (pc.equal(half, word).fill_null(False).to_numpy(zero_copy_only=False) for word in "ap")
    hour = np.where((morning | evening) & (hour == 12), 0, hour) + 12 * evening
    if (hour > 23).any() or (minute > 59).any() or (second > 59).any():
        return None
    seconds = days * 86_400 + hour * 3600 + minute * 60 + second
    micros = _micros(pieces, "fraction")
    unit, ticks = ("us", seconds * 10**6 + micros) if micros.any() else ("s", seconds)
    return pa.array(ticks, mask=~given).view(pa.timestamp(unit))


def _days(year: NDArray[Any], month: NDArray[Any], day: NDArray[Any]) -> NDArray[np.int64] | None:
    """Days since 1970; None if some day does not exist."""
    if (month < 1).any() or (month > 12).any() or (day < 1).any():
        return None
    months = ((year - 1970) * 12 + month - 1).astype("datetime64[M]")
    first = months.astype("datetime64[D]").astype(np.int64)
    last = (months + 1).astype("datetime64[D]").astype(np.int64)
    days = first + day - 1
    return days if (days < last).all() else None


def _whole(pieces: pa.StructArray, name: str) -> NDArray[np.int64]:
    texts = pieces.field(name)
    texts = pc.if_else(pc.match_substring_regex(texts, r"^\d+$"), texts, "0")
    return np.asarray(texts.fill_null("0").cast(pa.int64()).to_numpy(zero_copy_only=False))


def _micros(pieces: pa.StructArray, name: str) -> NDArray[np.int64]:
    texts = pc.utf8_slice_codeunits(pieces.field(name), 1)
    texts = pc.utf8_rpad(pc.fill_null(texts, ""), 6, "0")
    return np.asarray(texts.cast(pa.int64()).to_numpy(zero_copy_only=False))


def _format(order: str, like: str) -> str:
    """A format of strftime, but for `{d}`, `{m}` and `{H}` without zeros in front, in which a text is written."""
    match = re.fullmatch(_ORDERS[order] + _CLOCK, like.strip())
    if match is None:
        return "%Y-%m-%d"
    codes = {"year": "%Y" if len(match["year"]) == 4 else "%y", "day": "%d", "month": "%m"}
    codes |= {"hour": "%H", "minute": "%M", "second": "%S"}
    if not match["month"].isdigit():
        codes["month"] = "%b" if len(match["month"]) == 3 else "%B"
    pieces, at = "", 0
    for name in sorted((n for n in (*codes, "fraction", "half") if match[n] is not None), key=match.start):
        pieces += match.string[at : match.start(name)].replace("%", "%%")
        code = {"fraction": ".%f", "half": "%p"}.get(name) or codes[name]
        if name in ("day", "month", "hour") and match[name].isdigit() and len(match[name]) == 1:
            code = {"day": "{d}", "month": "{m}", "hour": "{H}"}[name]
        code = "%I" if name == "hour" and match["half"] is not None else code
        pieces += code
        at = match.end(name)
    return pieces + match.string[at:].replace("M", "").replace("m", "")


def _said(value: Any, form: str, like: str) -> str:
    """One date in a format, with English names of months."""
    hour = getattr(value, "hour", 0)
    form = form.replace("{d}", str(value.day)).replace("{m}", str(value.month)).replace("{H}", str(hour))
    name = _LONG[value.month - 1]
    form = form.replace("%b", name[:3]).replace("%B", name).replace("%p", "AM" if hour < 12 else "PM")
    if isinstance(value, datetime.datetime):
        return value.strftime(form)
    return datetime.datetime.combine(value, datetime.time()).strftime(form)
