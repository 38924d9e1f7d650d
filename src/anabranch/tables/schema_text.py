"""The columns of a schema in words: their roles, kinds, values and units."""

from __future__ import annotations

import io
from collections.abc import Sequence

from anabranch.tables.columns import Column


def rows_of(modelled: Sequence[Column], given: Sequence[Column]) -> list[tuple[str, str, str, str]]:
    """Name, role, kind and description of every column."""
    both = [(part, "modelled") for part in modelled] + [(part, "given") for part in given]
    return [(part.name, role, part.kind, part.description) for part, role in both]


def as_text(rows: Sequence[tuple[str, str, str, str]]) -> str:
    """Name, role, kind and description of columns, as lines of text with a head."""
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    text = io.StringIO()
    table = Table("column", "role", "kind", "values", box=None, pad_edge=False)
    for row in rows:
        table.add_row(*row)
    Console(file=text, width=120, highlight=False).print(table, markup=False)
    return "\n".join(line.rstrip() for line in text.getvalue().splitlines())


def units_of(parts: Sequence[Column]) -> str:
    """The units of columns, those of one kind together: "density in height; probability of colour"."""
    pieces = []
    if smooth := [part.unit.removeprefix("density in ") for part in parts if not part.discrete]:
        pieces.append(f"density in {', '.join(smooth)}")
    if discrete := [part.name for part in parts if part.discrete]:
        pieces.append(f"probability of {', '.join(discrete)}")
    return "; ".join(pieces)
