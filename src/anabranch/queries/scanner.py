"""A question read from left to right: names, values and signs."""

from __future__ import annotations

import re

from anabranch.queries.question import ONE_LINE, QuestionError, Word

CLOSING = {"(": ")", "[": "]"}
_WORD = re.compile(r"[^,|()\[\]<>=!\"']+")


class Scanner:
    """A text, and how far it has been read.

    Raises:
        QuestionError: from every method, where something else stands than what was expected.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0

    def word(self, what: str) -> Word:
        """A name or a value, which starts here; `what` says in an error what was expected."""
        start = self.skip()
        quote = self.text[start : start + 1]
        if quote in ('"', "'") and quote:
            return self._quoted(start, quote)
        match = _WORD.match(self.text, start)
        if match is None or not match.group().strip():
            raise QuestionError(f"expected {what}, got {self.here()}", self.text, start)
        self.at = match.end()
        return Word(match.group().translate(ONE_LINE).strip(), start)

    def _quoted(self, start: int, quote: str) -> Word:
        letters, at = [], start + 1
        while at < len(self.text):
            if self.text.startswith(2 * quote, at):
                letters.append(quote)
                at += 2
            elif self.text[at] == quote:
                self.at = at + 1
                return Word("".join(letters), start, quoted=True)
            else:
                letters.append(self.text[at])
                at += 1
        raise QuestionError(f"expected a closing {quote}", self.text, start)

    def open(self) -> str:
        """Read a bracket, and give the one that closes it."""
        if self.peek() not in CLOSING:
            raise QuestionError(f"expected ( or [, got {self.here()}", self.text, self.at)
        self.at += 1
        return CLOSING[self.text[self.at - 1]]

    def expect(self, sign: str, where: str) -> None:
        """Read a sign that must stand here; `where` says so in an error."""
        if self.peek() != sign:
            raise QuestionError(f"expected {sign} {where}, got {self.here()}", self.text, self.at)
        self.at += 1

    def peek(self) -> str:
        """The next sign that is no space, or nothing at the end."""
        self.skip()
        return self.text[self.at : self.at + 1]

    def skip(self) -> int:
        """Go past spaces, and give the place."""
        while self.at < len(self.text) and self.text[self.at] in " \n\r\t":
            self.at += 1
        return self.at

    def here(self) -> str:
        """The next letter, for an error."""
        return repr(self.text[self.at]) if self.at < len(self.text) else "the end"
