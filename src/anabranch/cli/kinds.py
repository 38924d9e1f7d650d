"""The kinds of a table's columns, printed."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from anabranch.tables import Schema

# columns that are listed after a fit
_LISTED = 40


def show_columns(schema: Schema, most: int | None = _LISTED) -> None:
    """Print name, role, kind and description of columns.

    Args:
        schema: of the columns.
        most: how many at most; None for all.
    """
    from rich.console import Console  # noqa: PLC0415 (only needed here)
    from rich.table import Table  # noqa: PLC0415

    console = Console(file=sys.stdout, highlight=False, width=None if sys.stdout.isatty() else 120)
    columns = Table("column", "role", "kind", "values", title="Columns", title_justify="left")
    rows = schema.rows()
    for row in rows[:most]:
        columns.add_row(*row)
    console.print()
    console.print(columns, markup=False)
    if most is not None and len(rows) > most:
        console.print(f"... and {len(rows) - most} more: 'anabranch info' lists all.", markup=False)
