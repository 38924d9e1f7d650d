"""Numbers as people write them in tables: decimal commas, groups of thousands, signs of currencies and units."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

# text of which so many different values are numbers is a column of numbers with some stray words
NUMBERS_SHARE = 0.8

_CURRENCY = (
    r"(?:[$€£¥₹₩₽₺₪₫฿]|[A-Z]{1,2}\$|USD|EUR|GBP|CHF|JPY|CNY|INR|CAD|AUD|NZD|SEK|NOK|DKK|PLN|CZK|HUF|BRL|MXN|ZAR|"
    r"kr\.?|zł|Fr\.)"
)
_UNIT = r"(?:%|‰|°[A-Z]?|[A-Za-zµμΩ]{1,4}(?:[/.][A-Za-zµμ]{1,4})?[²³]?)"
_SPACES = " \u00a0\u202f\u2009"
_MINUS, _HIGH_COMMA = "\u2212", "\u2019"
_ANY = re.compile(
    rf"\s*(?P<open>\()?(?P<sign>[-+{_MINUS}])?\s*(?P<before>{_CURRENCY})?[{_SPACES}]*(?P<sign2>[-+{_MINUS}])?"
    rf"(?P<digits>\d(?:[\d.,'{_HIGH_COMMA}{_SPACES}]*\d)?[.,]?|[.,]\d+)(?P<power>[eE][-+]?\d+)?"
    rf"(?P<gap>[{_SPACES}]*)(?P<after>{_CURRENCY}|{_UNIT})?\s*(?P<close>\))?\s*"
)
_WORDS = frozenset(("inf", "+inf", "-inf", "infinity", "-infinity"))
# units that are none: the ends of ordinals, and letters that make a code of digits
_NO_UNIT = frozenset(("st", "nd", "rd", "th"))


@dataclass(frozen=True)
class NumberStyle:
    """How the numbers of a column are written.

    Args:
        decimal: the decimal mark.
        thousands: what groups digits, "" for nothing.
        before: the sign in front, of a currency.
        after: the sign behind, of a currency, per cent or a unit, with the space between.
        brackets: whether negative numbers are in brackets.
    """

    decimal: str = "."
    thousands: str = ""
    before: str = ""
    after: str = ""
    brackets: bool = False

    @property
    def plain(self) -> bool:
        """Whether numbers are written as any program reads them."""
        return self == NumberStyle()

    @property
    def words(self) -> str:
        """What is to say of it."""
        marks = []
        if self.decimal == ",":
            marks.append("decimal commas")
        if self.thousands:
            group = {",": "commas", ".": "points", "'": "apostrophes", _HIGH_COMMA: "apostrophes"}.get(
                self.thousands, "spaces"
            )
            marks.append(f"{group} between thousands")
        marks += [f"{self.before.strip()!r} before"] if self.before else []
        marks += [f"{self.after.strip()!r} behind"] if self.after else []
        if self.brackets:
            marks.append("brackets for minus")
        return ", ".join(marks)

    @property
    def pattern(self) -> str:
        """A regular expression (of Arrow, RE2) for the texts of such numbers."""
        sign = f"[-+{_MINUS}]"
        before = f"(?:{re.escape(self.before)})?[{_SPACES}]*" if self.before else ""
        digits = _digits(self.decimal, self.thousands)
        after = f"[{_SPACES}]*{re.escape(self.after.strip())}" if self.after else ""
        after = f"(?:{after})?" if re.fullmatch(_CURRENCY, self.after.strip()) else after
        number = rf"{digits}(?:[eE][-+]?\d+)?{after}"
        # one sign, in front of the currency or behind it, or one pair of brackets
        forms = [rf"(?:{sign}?\s*{before}|{before}{sign}){number}"]
        forms += [rf"\(\s*{before}{number}\s*\)"] if self.brackets else []
        return rf"^\s*(?:{'|'.join(forms)})\s*$"

    def fits(self, texts: Any) -> Any:
        """Which texts are such numbers; null where there is none."""
        return pc.match_substring_regex(texts, self.pattern)

    def read(self, texts: Any) -> Any | None:
        """The numbers of texts, whole ones as int64 and others as float64; None if some text is no such number."""
        if self.plain:
            return plain_numbers(texts)
        if pc.any(pc.invert(self.fits(texts))).as_py():
            return None
        if self.before:
            texts = pc.replace_substring(texts, self.before, "", max_replacements=1)
        if self.after.strip():  # the last one: the E of 1E5 E is no unit
            texts = pc.replace_substring_regex(texts, rf"{re.escape(self.after.strip())}(\s*\)?\s*)$", r"\1")
        if self.thousands:
            texts = pc.replace_substring(texts, self.thousands, "")
        if self.brackets:
            texts = pc.replace_substring(pc.replace_substring(texts, "(", "-"), ")", "")
        if self.decimal != ".":
            texts = pc.replace_substring(texts, self.decimal, ".")
        try:
            return _cast(texts)
        except pa.ArrowInvalid:
            bare = pc.replace_substring_regex(texts, rf"[{_SPACES}+\s]", "")
        try:
            return _cast(pc.replace_substring(bare, _MINUS, "-"))
        except pa.ArrowInvalid:  # one odd text makes the column text, not the file damaged
            return None

    def write(self, values: Any, decimals: int | None = None) -> Any:
        """Numbers as texts.

        Args:
            values: the numbers.
            decimals: how many decimals a text has at least.
        """
        texts = pc.cast(values, pa.string())
        if decimals or not self.plain:
            words = [None if text is None else self._word(text, decimals or 0) for text in texts.to_pylist()]
            return pa.array(words, pa.string())
        return texts

    def _word(self, text: str, decimals: int) -> str:
        if not re.fullmatch(r"-?\d+(\.\d+)?", text):  # 1e+20, inf
            return text.replace(".", self.decimal)
        minus, text = text[0] == "-", text.lstrip("-")
        whole, _, rest = text.partition(".")
        if self.thousands:
            whole = f"{int(whole):,}".replace(",", self.thousands)
        rest = rest.ljust(decimals, "0")
        word = f"{self.before}{whole}{self.decimal if rest else ''}{rest}{self.after}"
        return f"({word})" if minus and self.brackets else f"{'-' * minus}{word}"


def plain_numbers(texts: Any) -> Any | None:
    """Numbers as any program writes them: int64, or float64; None if some text is none, or is better left as it is.

    Digits with zeros in front are codes, and so are whole numbers that float64 would not hold; digits with a + before each
    are telephone numbers.
    """
    try:
        values = texts.cast(pa.int64())
    except pa.ArrowInvalid:
        values = None
    if values is not None:
        odd = pc.or_(
            pc.and_(pc.starts_with(texts, "0"), pc.greater(pc.binary_length(texts), 1)),
            pc.and_(pc.starts_with(texts, "-0"), pc.greater(pc.binary_length(texts), 2)),
        )
        return None if pc.any(odd).as_py() else values
    try:
        return _floats(texts, texts.cast(pa.float64()))
    except pa.ArrowInvalid:
        return None


def _cast(texts: Any) -> Any | None:
    """Numbers of cleaned texts; an error of Arrow if they are none."""
    try:
        values = texts.cast(pa.int64())
    except pa.ArrowInvalid:
        return _floats(texts, texts.cast(pa.float64()))
    return None if pc.any(pc.match_substring_regex(texts, r"^-?0\d")).as_py() else values


def _floats(texts: Any, values: Any) -> Any | None:
    """The numbers of texts, unless these are better left as they are."""
    # those that are whole may be codes, or have more digits than float64
    whole = texts.filter(pc.fill_null(pc.equal(values, pc.floor(values)), False))
    if len(whole) and pc.any(pc.match_substring_regex(whole, r"^[-+]?(?:0\d+|\d{16,})$")).as_py():
        if pc.any(pc.match_substring_regex(whole, r"^[-+]?0\d+$")).as_py():
            return None
        extremes = pc.min_max(pc.abs(values)).as_py()
        if extremes["max"] >= 2**53:
            return None
    if pc.any(pc.starts_with(texts, "+")).as_py() and pc.all(pc.match_substring_regex(texts, r"^\+\d{6,}$")).as_py():
        return None
    return values


def number_style(words: Sequence[str], decimal: str | None, thousands_likely: bool) -> tuple[NumberStyle, bool] | None:
    """How most of some texts are written, if they are numbers.

    Args:
        words: different texts of a column.
        decimal: the decimal mark, if it is known.
        thousands_likely: whether a comma that could be either is one between thousands.

    Returns:
        the style, and whether it could have been another, in which the same texts are other numbers; None if they are
        no numbers.

    Example:
        >>> from anabranch.tables.number_text import number_style
        >>> number_style(["1.234,5", "17"], None, True)[0].words
        'decimal commas, points between thousands'
    """
    found = [match for match in map(_number, words) if match]
    if len(found) <= NUMBERS_SHARE * len(words):
        return None
    digits = [match["digits"] for match in found]
    choices = [
        (mark, group)
        for mark, group in _choices(digits)
        if decimal in (None, mark)
        and sum(bool(re.fullmatch(_digits(mark, group), one)) for one in digits) > NUMBERS_SHARE * len(words)
    ]
    if not choices:
        return None
    # a comma that could be either, as in 1,234; of points the decimal is what every program reads
    commas = [choice for choice in choices if choice == (".", ",")]
    mark, group = commas[0] if commas and thousands_likely else choices[0]
    ambiguous = bool(commas) and (",", "") in choices
    signs = _signs(found)
    if signs is None:
        return None
    before, after = signs
    brackets = any(match["open"] for match in found)
    return NumberStyle(mark, group, before, after, brackets), ambiguous


def is_number(word: str) -> bool:
    """Whether a text is a number, as people write them: with signs of currencies and per cent, but without other units."""
    match = _number(word)
    if match is None:
        return word.strip().lower() in _WORDS
    return match["after"] is None or match["after"] == "%" or bool(re.fullmatch(_CURRENCY, match["after"]))


def is_number_like(word: str) -> bool:
    """Whether a text is like a number, whatever its unit, signs and brackets: --3 and (3 are."""
    return bool(_ANY.fullmatch(word))


def _number(word: str) -> re.Match[str] | None:
    """A number with any unit, with one sign at most, or one pair of brackets; None for another text."""
    match = _ANY.fullmatch(word)
    if match is None or bool(match["open"]) != bool(match["close"]):
        return None
    return match if sum(map(bool, (match["open"], match["sign"], match["sign2"]))) <= 1 else None


def _choices(digits: Sequence[str]) -> list[tuple[str, str]]:
    """Decimal mark and mark between thousands, those first that say least."""
    marks = {char for one in digits for char in one if not char.isdigit()}
    groups = [char for char in (*_SPACES, "'", _HIGH_COMMA) if char in marks]
    if groups:
        return [(".", groups[0]), (",", groups[0])]
    choices = [(".", "")]
    choices += [(",", "")] if "," in marks else []
    choices += [(".", ",")] if "," in marks else []
    choices += [(",", ".")] if "." in marks else []
    return choices


def _digits(decimal: str, thousands: str) -> str:
    mark = re.escape(decimal)
    plain = rf"(?:\d+(?:{mark}\d*)?|{mark}\d+)"
    if not thousands:
        return plain
    group = f"[{_SPACES}]" if thousands in _SPACES else re.escape(thousands)
    return rf"(?:\d{{1,3}}(?:{group}\d{{2,3}})*{group}\d{{3}}(?:{mark}\d*)?|{plain})"


def _signs(found: Sequence[re.Match[str]]) -> tuple[str, str] | None:
    """The sign before and behind all of them; None where they differ, so that they are numbers of different things."""
    before = Counter(match["before"] or "" for match in found)
    after = Counter((match["gap"] + match["after"]) if match["after"] else "" for match in found)
    currencies = set(before) | {word.strip() for word in after}
    currencies = {word for word in currencies if word and re.fullmatch(_CURRENCY, word)}
    if len(currencies) > 1 or len(set(before) - {""}) > 1:
        return None
    units = {word.strip() for word in after}
    if len(units - {""}) > 1 or units & _NO_UNIT:
        return None
    behind = max((word for word in after if word), key=lambda word: after[word], default="")
    if behind and not currencies and after[""] > (1 - NUMBERS_SHARE) * len(found):
        return None  # a unit that many lack
    if behind and not currencies and any(re.match(r"0\d", match["digits"]) for match in found):
        return None  # 007a is a code
    return max(before, key=lambda word: (bool(word), before[word])), behind
