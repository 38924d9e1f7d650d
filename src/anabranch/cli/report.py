"""`anabranch report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from anabranch.cli.errors import about, complain, one_line_errors
from anabranch.cli.files import check_not_read, check_output, load_table_model
from anabranch.cli.reading import read_input, reads_tables, refuse_options
from anabranch.storage import read_metadata


@one_line_errors()
@reads_tables
def report(
    model: Annotated[Path, typer.Argument(help="A model that 'anabranch fit' wrote.")],
    table: Annotated[
        Path,
        typer.Argument(help="The table to show it beside, best the one it was fitted to; or a folder of .parquet."),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Where to write the page, .html.")],
    rows: Annotated[int, typer.Option(help="Rows to look at, at most; of more, so many are drawn at random.")] = 20_000,
    seed: Annotated[int, typer.Option(help="Of everything random; the same input gives the same page.")] = 0,
    *,
    reading: dict[str, Any],
) -> None:
    """Write one self-contained page about a model and a table: pictures, likelihood, calibration, surprises.

    Data beside samples for columns and pairs, held-out likelihood beside the baselines, calibration of every column, use of
    depths or components, what fills gaps, and the most surprising rows. It opens in any browser, without a network. Needs
    plotly: pip install "anabranch[report]".
    """
    from anabranch.report import write_report  # noqa: PLC0415 (slow to import)
    from anabranch.report.page import require_plotly  # noqa: PLC0415
    from anabranch.tables import TableStream  # noqa: PLC0415

    require_plotly()
    check_output(output)
    check_not_read(output, "the page", model=model, table=table)
    fitted = load_table_model(model)
    data: Any
    if table.is_dir():
        refuse_options(reading, table)
        data = TableStream(table)
    else:
        data, _ = read_input(table, reading, model=fitted, file=model)
    with about(table):
        write_report(
            fitted,
            data,
            output,
            fit=read_metadata(model)["metadata"].get("report"),
            table_name=table.name,
            model_name=model.name,
            rows=rows,
            seed=seed,
        )
    complain(f"wrote {output}")
