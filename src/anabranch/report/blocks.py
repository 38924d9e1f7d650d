"""What a page is made of: paragraphs, tables and figures. All text in them is plain; `page` escapes it, once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Paragraph:
    """Some sentences."""

    text: str


@dataclass(frozen=True)
class Facts:
    """Names and what they are."""

    rows: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
        head: names of the columns.
        rows: of text; a list in a cell is shown line by line.
        numbers: which columns hold numbers, to the right.
    """

    head: Sequence[str]
    rows: Sequence[Sequence[str | Sequence[str]]]
    numbers: Sequence[int] = ()


@dataclass(frozen=True)
class Figure:
    """A figure of plotly, as plain data.

    Attributes:
        data, layout: of plotly, JSON-ready, but for the colours of paper, text and lines, which are the page's. Text in
            them that comes from a table has been through `wording.label`.
        words: what it shows, for who cannot see it.
        height: in pixels.
    """

    data: list[dict[str, Any]]
    layout: dict[str, Any]
    words: str
    height: int = 220


@dataclass(frozen=True)
class Card:
    """A figure with a title and notes."""

    title: str
    figure: Figure
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class Cards:
    """Cards beside each other, as many as there is room for.

    Attributes:
        cards: of one width.
        width: "narrow", "wide" or "full".
    """

    cards: Sequence[Card]
    width: str = "narrow"


@dataclass(frozen=True)
class Fold:
    """Blocks that open when their title is clicked."""

    title: str
    blocks: Sequence[Block]


Block = Paragraph | Facts | Table | Figure | Cards | Fold


@dataclass(frozen=True)
class Section:
    """A section of the page.

    Attributes:
        name: a word for the navigation and for links.
        title: its heading.
        blocks: its content.
    """

    name: str
    title: str
    blocks: list[Block] = field(default_factory=list)
