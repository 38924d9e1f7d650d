"""Sections as one HTML file that needs nothing else: styles, plotly.js and figures are inside."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from html import escape
from importlib import resources
from typing import Any

from anabranch.report.blocks import Block, Card, Cards, Facts, Figure, Fold, Paragraph, Section, Table
from anabranch.version import __version__

# The browser itself keeps the promise that nothing is fetched: no address but those inside the page is allowed.
_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:; "
    "base-uri 'none'; form-action 'none'"
)
# text of a cell that is longer than this is not squeezed on a narrow screen
_LONG = 30


def require_plotly() -> None:
    """Raise ValueError, which says what to install, if plotly is missing: for before what takes long."""
    try:
        import plotly.offline  # noqa: F401, PLC0415 (an extra, and slow to import)
    except ImportError as error:
        raise ValueError('a report needs plotly: pip install "anabranch[report]"') from error


def page(title: str, subtitle: str, sections: Sequence[Section]) -> str:
    """The whole file."""
    require_plotly()
    from plotly.offline import get_plotlyjs  # noqa: PLC0415 (an extra, and slow to import)

    figures: list[Figure] = []
    body = "\n".join(_section(section, figures) for section in sections)
    links = "".join(f'<a href="#{escape(section.name)}">{escape(section.name)}</a>' for section in sections)
    data = "\n".join(
        f'<script type="application/json" id="figure-{k}-data">{_json(figure)}</script>'
        for k, figure in enumerate(figures)
    )
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{escape(title)}</title>
<style>{_file("page.css")}</style>
<script>{_file("watch.js")}</script>
</head>
<body>
<header><h1>{escape(title)}</h1><p>{escape(subtitle)}</p></header>
<nav aria-label="Sections">{links}</nav>
<main>
{body}
</main>
<footer>Written by anabranch {escape(__version__)}. This file needs no network and sends nothing.</footer>
<script>{get_plotlyjs()}</script>
{data}
<script>{_file("draw.js")}</script>
</body>
</html>
"""


def _section(section: Section, figures: list[Figure]) -> str:
    blocks = "\n".join(_block(block, figures) for block in section.blocks)
    return f'<section id="{escape(section.name)}">\n<h2>{escape(section.title)}</h2>\n{blocks}\n</section>'


def _block(block: Block, figures: list[Figure]) -> str:
    match block:
        case Paragraph(text):
            return f"<p>{escape(text)}</p>"
        case Facts(rows):
            return f"<dl>{''.join(f'<dt>{escape(name)}</dt><dd>{escape(text)}</dd>' for name, text in rows)}</dl>"
        case Table():
            return _table(block)
        case Figure():
            return _figure(block, figures)
        case Cards(cards, width):
            inside = "\n".join(_card(card, figures) for card in cards)
            return f'<div class="cards {width}">\n{inside}\n</div>'
        case Fold(title, blocks):
            inside = "\n".join(_block(one, figures) for one in blocks)
            return f"<details><summary>{escape(title)}</summary>\n{inside}\n</details>"


def _card(card: Card, figures: list[Figure]) -> str:
    notes = "".join(f"<p>{escape(note)}</p>" for note in card.notes)
    return f'<article class="card"><h3>{escape(card.title)}</h3>{_figure(card.figure, figures)}{notes}</article>'


def _figure(figure: Figure, figures: list[Figure]) -> str:
    number = len(figures)
    figures.append(figure)
    return (
        f'<div class="figure" id="figure-{number}" role="img" aria-label="{escape(figure.words)}" '
        f'style="height:{figure.height}px"></div>'
    )


def _table(table: Table) -> str:
    def cell(tag: str, place: int, text: str | Sequence[str]) -> str:
        inside = escape(text) if isinstance(text, str) else "<br>".join(escape(line) for line in text)
        long = tag == "td" and (not isinstance(text, str) or len(text) > _LONG)
        kind = "number" if place in table.numbers else "long" if long else ""
        return f"<{tag} class={kind!r}>{inside}</{tag}>" if kind else f"<{tag}>{inside}</{tag}>"

    head = "".join(cell("th", i, name) for i, name in enumerate(table.head))
    rows = "\n".join(f"<tr>{''.join(cell('td', i, text) for i, text in enumerate(row))}</tr>" for row in table.rows)
    return (
        '<div class="scroll" tabindex="0"><table>'
        f"<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}\n</tbody></table></div>"
    )


def _json(figure: Figure) -> str:
    """A figure as JSON that no HTML parser reads anything into: it holds no <, > or &."""
    text = json.dumps(
        {"data": _rounded(figure.data), "layout": _rounded(figure.layout)}, allow_nan=False, separators=(",", ":")
    )
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _rounded(value: Any) -> Any:
    """Nested data with floats of 7 digits, fewer bytes than eyes can tell apart; what is not finite becomes null.

    But dates, which are milliseconds, and far numbers keep all of them.
    """
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_rounded(item) for item in value]
    if isinstance(value, float):
        if not math.isfinite(value):
            return None
        return value if abs(value) >= 1e6 else float(f"{value:.7g}")
    return value


def _file(name: str) -> str:
    return resources.files("anabranch.report").joinpath(name).read_text(encoding="utf-8")
