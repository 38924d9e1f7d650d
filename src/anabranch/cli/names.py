"""Column names on the command line."""

from __future__ import annotations

from collections.abc import Sequence


def split_names(text: str, available: Sequence[str]) -> list[str]:
    """Names separated by commas; a name that has commas or spaces itself is understood if the table has it.

    Raises:
        ValueError: there is no name in it.

    Example:
        >>> from anabranch.cli.names import split_names
        >>> split_names("x, y", ["x", "y", "z"])
        ['x', 'y']
        >>> split_names("mass, kg", ["mass, kg"])
        ['mass, kg']
    """
    if text in available:
        return [text]
    pieces = [piece if piece in available else piece.strip() for piece in text.split(",")]
    names = [piece for piece in pieces if piece]
    if not names:
        raise ValueError(f"expected names of columns, separated by commas, got {text!r}")
    return names
