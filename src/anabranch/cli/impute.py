"""`anabranch impute`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from anabranch.cli.errors import about, complain, one_line_errors
from anabranch.cli.files import check_table_output, load_table_model, write_output

_COLUMN = "draw"


class Best(StrEnum):
    """What `--best` may be."""

    MEAN = "mean"
    MEDIAN = "median"


class UnseenValue(StrEnum):
    """What `--unseen` may be."""

    ERROR = "error"
    NULL = "null"


@one_line_errors()
def impute(
    model: Annotated[Path, typer.Argument(help="A model that 'anabranch fit' wrote.")],
    table: Annotated[Path, typer.Argument(help="The table with gaps, with the columns the model was fitted on.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Where to write it; standard output, as CSV, by default.")
    ] = None,
    draws: Annotated[
        int | None,
        typer.Option(help="Multiple imputations: so many copies of the table, told apart by a column 'draw'."),
    ] = None,
    best: Annotated[
        Best | None,
        typer.Option(help="The single best of each gap in place of a draw; of categories the most probable."),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Makes the draws repeatable.")] = None,
    unseen: Annotated[
        UnseenValue,
        typer.Option(
            help="A value that was not fitted, such as a new category: an error; or it stays, and tells nothing."
        ),
    ] = UnseenValue.ERROR,
) -> None:
    """Fill the gaps of a table, each row's given what the row has; what was observed stays as it is.

    By default each gap is drawn, all of a row jointly, which keeps spread and dependence. What is computed from several
    draws differs by as much as is not known; the single best is for whoever needs one number.
    """
    import pyarrow as pa  # noqa: PLC0415 (slow to import)

    from anabranch.tables import read_table  # noqa: PLC0415

    check_table_output(output, table=table)
    if best is not None and draws is not None:
        raise ValueError("--draws, --best: expected one of both, got both")
    fitted = load_table_model(model)
    data = read_table(table)
    if draws is not None and _COLUMN in data.column_names:
        raise ValueError(f"{table}: has a column {_COLUMN!r} already; rename or remove it, or leave out --draws")
    with about(table, "--unseen null"):
        found = fitted.impute(data, draws, False if best is None else best.value, seed, unseen.value)
    if isinstance(found, list):
        numbered = [one.add_column(0, _COLUMN, pa.array([k] * one.num_rows, pa.int64())) for k, one in enumerate(found)]
        filled = pa.concat_tables(numbered)
    else:
        filled = found
    gaps = sum(_gaps(data.column(name)) for name in fitted.schema.columns)
    write_output(filled, output)
    complain(f"filled {gaps:,} gaps in {data.num_rows:,} rows" + ("" if output is None else f"; wrote {output}"))


def _gaps(column: object) -> int:
    import pyarrow.compute as pc  # noqa: PLC0415

    return int(pc.sum(pc.is_null(column, nan_is_null=True)).as_py() or 0)
