"""`anabranch detect`."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Annotated

import typer

from anabranch.cli.errors import about, complain, one_line_errors
from anabranch.cli.files import Unseen, check_table_output, load_table_model, write_output

_ADDED = ("row", "log_likelihood", "surprise", "because")


@one_line_errors()
def detect(
    model: Annotated[Path, typer.Argument(help="A model that 'anabranch fit' wrote.")],
    table: Annotated[Path, typer.Argument(help="The table, with the columns the model was fitted on.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Where to write it; standard output, as CSV, by default.")
    ] = None,
    top: Annotated[int, typer.Option("--top", "-n", help="How many rows.")] = 20,
    columns: Annotated[int, typer.Option(help="How many columns to name for each row, at most.")] = 3,
    seed: Annotated[int, typer.Option(help="Of the rows by which the usual is told.")] = 0,
    unseen: Annotated[
        Unseen,
        typer.Option(help="A value that was not fitted, such as a new category: an error, a gap, or probability 0."),
    ] = Unseen.ERROR,
) -> None:
    """Rank rows by how surprising they are, with the columns that make them so.

    Writes those rows with four columns before their own: `row`, its number from 0; `log_likelihood`, nats; `surprise`, nats
    below what is usual for a row that has values in the same columns; and `because`, the values that are unlikely given the
    rest of the row, each with nats above what is usual in its column.
    """
    import pyarrow as pa  # noqa: PLC0415 (slow to import)

    from anabranch.queries import QueryWarning  # noqa: PLC0415
    from anabranch.tables import TableWarning, read_table  # noqa: PLC0415
    from anabranch.tables import detect as detected  # noqa: PLC0415

    check_table_output(output, table=table)
    fitted = load_table_model(model)
    data = read_table(table)
    taken = [name for name in _ADDED if name in data.column_names]
    if taken:
        raise ValueError(f"{table}: has a column {taken[0]!r} already; rename or remove it")
    with about(table, "--unseen null or --unseen -inf"), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = detected(fitted, data, top, columns, seed, unseen.value)
    for text in sorted({str(one.message) for one in caught if issubclass(one.category, (QueryWarning, TableWarning))}):
        complain(f"warning: {text}")
    because = ["; ".join(f"{cell.column} = {cell.value} (+{cell.excess:.1f})" for cell in one.cells) for one in found]
    values = (
        pa.array([one.row for one in found], pa.int64()),
        pa.array([one.log_likelihood for one in found], pa.float64()),
        pa.array([one.excess for one in found], pa.float64()),
        pa.array(because, pa.string()),
    )
    ranked = data.take(pa.array([one.row for one in found], pa.int64()))
    for place, (name, column) in enumerate(zip(_ADDED, values, strict=True)):
        ranked = ranked.add_column(place, name, column)
    write_output(ranked, output)
    complain(f"ranked {data.num_rows:,} rows" + ("" if output is None else f"; wrote {output}"))
