"""Options that say how tables are read and written, for all commands that read them."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from anabranch.cli.errors import complain
from anabranch.storage import read_metadata

if TYPE_CHECKING:
    import pyarrow

    from anabranch.tables import Sheet, TableModel

EscapeFormulas = Annotated[
    bool,
    typer.Option(
        "--escape-formulas",
        help="In CSV, put an apostrophe before texts that begin with = + - @, which spreadsheets would run.",
    ),
]

_PANEL = "Reading CSV (guessed, and the guess said, unless it is set)"
_Sep = Annotated[
    str | None,
    typer.Option("--sep", metavar="CHAR", help="What separates fields: , ; | or tab.", rich_help_panel=_PANEL),
]
_Decimal = Annotated[str | None, typer.Option(metavar="MARK", help="The decimal mark, . or ,", rich_help_panel=_PANEL)]
_Na = Annotated[
    str | None,
    typer.Option(
        metavar="WORDS",
        help="Words for gaps, a,b,c, in place of NA, n/a, None, null, -, ?, ...; '' for empty fields alone.",
        rich_help_panel=_PANEL,
    ),
]
_Encoding = Annotated[
    str | None, typer.Option(metavar="NAME", help="utf-8, cp1252, utf-16, ...", rich_help_panel=_PANEL)
]
_Dates = Annotated[
    str | None,
    typer.Option(
        metavar="HOW",
        help="day-first, month-first, none (no dates) or a format such as %d/%m/%Y; for one column COL=HOW,...",
        rich_help_panel=_PANEL,
    ),
]
_Header = Annotated[
    bool | None,
    typer.Option("--header/--no-header", help="Whether the first line holds names.", rich_help_panel=_PANEL),
]
_Expand = Annotated[
    float | None,
    typer.Option(metavar="GIB", help="Size to which a .csv.gz may expand, 2 by default.", rich_help_panel=_PANEL),
]
_OPTIONS: dict[str, Any] = {
    "sep": _Sep,
    "decimal": _Decimal,
    "na": _Na,
    "encoding": _Encoding,
    "dates": _Dates,
    "header": _Header,
    "expand": _Expand,
}


def reads_tables(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options that say how a CSV file is read; it gets them as `reading`, arguments of `Reading`."""
    hints = get_type_hints(command, include_extras=True)
    hints.pop("return", None)
    hints.pop("reading")
    # a default that typer reads, else none
    given = [
        parameter.replace(annotation=hints[name])
        for name, parameter in inspect.signature(command).parameters.items()
        if name != "reading"
    ]
    more = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=kind)
        for name, kind in _OPTIONS.items()
    ]
    kept = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in given]

    @functools.wraps(command)
    def reading_command(**arguments: Any) -> None:
        options = {name: arguments.pop(name) for name in _OPTIONS}
        command(**arguments, reading=_read_options(options))

    reading_command.__signature__ = inspect.Signature([*kept, *more])  # type: ignore[attr-defined]
    reading_command.__annotations__ = {**hints, **_OPTIONS}
    return reading_command


def read_input(
    path: Path, reading: Mapping[str, Any], kinds: Any = None, model: TableModel | None = None, file: Path | None = None
) -> tuple[pyarrow.Table, Sheet | None]:
    """The table of a file, with one line on standard error about what was guessed; and how it was written, if it is CSV.

    Args:
        path: of the table.
        reading: what `reads_tables` gave the command.
        kinds: of columns, as for `Reading`.
        model: the model for which it is read, whose columns say what theirs hold.
        file: of the model, which remembers how the table was written to which it was fitted.
    """
    from anabranch.tables import Reading, read_sheet  # noqa: PLC0415 (slow to import)
    from anabranch.tables.notes import summary  # noqa: PLC0415

    if model is not None:
        kinds = {part.name: part for part in (*model.schema.parts, *model.schema.given_parts)}
    remembered = {} if file is None else read_metadata(file)["metadata"].get("reading") or {}
    table, sheet = read_sheet(path, Reading(**reading, kinds=kinds or {}, remembered=remembered))
    if sheet is not None and sheet.notes:
        complain(f"{path}: {summary(sheet.notes, lambda name: '--no-header' if name == 'header' else f'--{name}')}")
    return table, sheet


def refuse_options(reading: Mapping[str, Any], path: Path) -> None:
    """Raise ValueError if options of CSV files are set for what is read in pieces."""
    given = [name for name, value in reading.items() if value is not None]
    if given:
        raise ValueError(f"{path}: --{given[0]}: expected for CSV files alone, got a folder or stream of Parquet files")


def _read_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options as arguments of `Reading`."""
    sep, na, dates, expand = (options[name] for name in ("sep", "na", "dates", "expand"))
    result = {name: options[name] for name in ("decimal", "encoding", "header")}
    result["sep"] = {"tab": "\t", "\\t": "\t"}.get(sep, sep)
    result["na"] = None if na is None else [word for word in na.split(",") if word]
    result["dates"] = None if dates is None else _read_dates(dates)
    if expand is not None:
        if not expand > 0:
            raise ValueError(f"--expand: expected a size in GiB above 0, got {expand:g}")
        result["limit"] = int(expand * 2**30)
    return result


def _read_dates(text: str) -> str | dict[str, str]:
    """How dates are read, or how by column."""
    if "=" not in text:
        return text
    pieces: list[str] = []
    for piece in text.split(","):  # formats may hold commas too
        if "=" in piece or not pieces:
            pieces.append(piece)
        else:
            pieces[-1] += f",{piece}"
    pairs: Sequence[tuple[str, str, str]] = [piece.rpartition("=") for piece in pieces]
    return {name.strip(): how.strip() for name, _, how in pairs}
