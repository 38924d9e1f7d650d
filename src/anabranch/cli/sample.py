"""`anabranch sample`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from anabranch.cli.errors import about, complain, one_line_errors
from anabranch.cli.files import check_table_output, is_of_images, load_table_model, write_output
from anabranch.cli.images import refuse_options, sample_images
from anabranch.cli.reading import EscapeFormulas, read_input, reads_tables


@one_line_errors()
@reads_tables
def sample(
    model: Annotated[Path, typer.Argument(help="A model that 'anabranch fit' wrote.")],
    n: Annotated[int, typer.Option("-n", help="How many rows; with --given, for each of its rows; or images.")],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="Where to write them; standard output, as CSV, by default. Of images a new or an empty folder.",
        ),
    ] = None,
    given: Annotated[Path | None, typer.Option(help="A table with the columns the density is conditioned on.")] = None,
    seed: Annotated[int | None, typer.Option(help="Makes the draws repeatable.")] = None,
    escape_formulas: EscapeFormulas = False,
    label: Annotated[
        str | None, typer.Option(help="Of a model of images with labels: of all images; by default labels are drawn.")
    ] = None,
    *,
    reading: dict[str, Any],
) -> None:
    """Draw new rows from a model, with the columns' names and units.

    Of images: writes a folder of PNG files, and all of them, up to 100, on a contact sheet, contact-sheet.png.
    """
    import pyarrow as pa  # noqa: PLC0415 (slow to import)

    if is_of_images(model):
        refuse_options(model, {"given": given, **reading}, "images")
        sample_images(model, n, output, label, seed)
        return
    refuse_options(model, {"label": label}, "a table", "images")
    check_table_output(output, table=given)
    fitted = load_table_model(model)
    # questions to the model alone, answered before the table is read
    if fitted.schema.given and given is None:
        names = ", ".join(map(repr, fitted.schema.given))
        raise ValueError(f"{model}: its density is conditioned on {names}; give a table that has them with --given")
    if given is not None and not fitted.schema.given:
        raise ValueError(f"{model}: its density is not conditioned on any column; leave out --given")
    seen, sheet = (None, None) if given is None else read_input(given, reading, model=fitted, file=model)
    with about(model if given is None else given):
        rows = fitted.sample(n, seen, seed)
    numbers = None if seen is None else pa.array(np.repeat(np.arange(seen.num_rows), n))
    write_output(rows, output, sheet, numbers, escape_formulas)
    if output is not None:
        complain(f"wrote {rows.num_rows:,} rows to {output}")
