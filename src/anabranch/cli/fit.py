"""`anabranch fit`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from anabranch.cli.errors import about, one_line_errors
from anabranch.cli.files import check_not_read, check_output
from anabranch.cli.fit_images import fit_image_file, for_images
from anabranch.cli.fit_options import read_kinds, read_schedule, read_sizes
from anabranch.cli.images import ARRAY, LABELS, PANEL
from anabranch.cli.keeping import show_and_save, unfinished
from anabranch.cli.kinds import show_columns
from anabranch.cli.names import split_names
from anabranch.cli.reading import read_input, reads_tables, refuse_options
from anabranch.cli.reports import show_report


class Model(StrEnum):
    """What `--model` may be."""

    ANY_ORDER = "any-order"
    DEPTH = "depth"
    FLOW = "flow"
    VAE = "vae"


class Structure(StrEnum):
    """What `--structure` may be."""

    AUTOREGRESSIVE = "autoregressive"
    COUPLING = "coupling"


@one_line_errors()
@reads_tables
def fit(
    table: Annotated[
        Path,
        typer.Argument(
            help="The table: .csv, .csv.gz, .parquet, .arrow, .feather, .npy, .npz; or a folder of .parquet. Or images of "
            "one size: a folder of .png, or an array of 3 or 4 dimensions, .npy or .npz."
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Where to write the model.")],
    columns: Annotated[
        str | None, typer.Option(metavar="COLS", help="Columns to model, a,b,c; by default all that are not given.")
    ] = None,
    given: Annotated[str | None, typer.Option(metavar="COLS", help="Columns to condition on, a,b,c.")] = None,
    kinds: Annotated[
        str | None,
        typer.Option(
            metavar="COL=KIND,...", help="Kinds of columns in place of what is inferred, a=categorical,b=bounded."
        ),
    ] = None,
    model: Annotated[
        Model | None,
        typer.Option(
            help="Any order, for columns of all kinds and gaps; a mixture over the depths of a flow, or the flow, for "
            "numbers; or vae, an autoencoder of columns of all kinds and gaps, whose log p is estimated. By default what "
            "the table needs, and depth if it needs nothing."
        ),
    ] = None,
    structure: Annotated[Structure, typer.Option(help="Of the spline blocks.")] = Structure.AUTOREGRESSIVE,
    blocks: Annotated[
        int | None, typer.Option(help="How many; by default 5 of splines, 2 of any order. Of images layers, 8.")
    ] = None,
    hidden: Annotated[
        str | None,
        typer.Option(
            metavar="SIZES",
            help="Hidden sizes of each spline block, by default 128,128, or the width, 256. Of images the units of a "
            "layer, 16 to 96 by the time there is.",
        ),
    ] = None,
    bins: Annotated[int, typer.Option(help="Bins of each spline.")] = 8,
    orders: Annotated[
        int, typer.Option(help="Of a model of any order, how many orders of the columns its joint averages.")
    ] = 1,
    latent: Annotated[
        int | None, typer.Option(help="Of an autoencoder, how many hidden numbers; by default 8.")
    ] = None,
    epochs: Annotated[
        int | None,
        typer.Option(help="Passes over the rows, at most: the same fit on every machine. By default --minutes says."),
    ] = None,
    minutes: Annotated[
        float | None,
        typer.Option(
            help="To fit, at most; by default 5 where no epochs are given. A fit ends by itself when the rows to stop by "
            "get no better; the report says if it could still improve."
        ),
    ] = None,
    steps_of: Annotated[
        Path | None,
        typer.Option(
            metavar="MODEL", help="A model whose fit took the steps to be taken again, in place of --minutes."
        ),
    ] = None,
    batch_size: Annotated[
        int | None,
        typer.Option(
            help="Rows in one step, by default 512 (any order: 256; images: 16 to 32), at most an eighth of them."
        ),
    ] = None,
    learning_rate: Annotated[
        float | None,
        typer.Option(help="The highest reached, by default 5e-3 (any order: 2e-3, vae: 2e-2, images: 1e-2)."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of everything random.")] = 0,
    stream: Annotated[
        bool, typer.Option("--stream", help="Read a Parquet file in pieces, never whole; a folder always is.")
    ] = False,
    device: Annotated[str, typer.Option(help="Where to train: cpu, cuda, ...")] = "cpu",
    keep: Annotated[
        bool,
        typer.Option(
            "--keep",
            help="Ctrl-C, or a loss that is not finite, ends the fit with the best weights so far, which are reported and "
            "written as the model. Without it they are written beside it, as OUTPUT with .interrupted in its name.",
        ),
    ] = False,
    checkpoint: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Where to keep what the fit has come to, once a minute. The same command goes on from there, "
            "whatever ended the last one. The file is not removed.",
        ),
    ] = None,
    labels: LABELS = None,
    array: ARRAY = None,
    levels: Annotated[
        int | None,
        typer.Option(help="Of a pixel, 2 to 256; by default as many as the images show.", rich_help_panel=PANEL),
    ] = None,
    *,
    reading: dict[str, Any],
) -> None:
    """Fit a density to the rows of a table, or to images, and write it to a file.

    Eight tenths of the rows are fitted, one tenth says when to stop, and the last is held out: its log-likelihood is
    reported, in nats per row and in the data's own units, beside that of two simple densities: a Gaussian copula and
    independent columns, or of numbers alone a Gaussian mixture and a Gaussian.

    Images are fitted by a PixelCNN, reported in nats an image and bits per dimension, beside independent pixels and zstd.

    The fit goes on while the rows to stop by get better, for 5 minutes at most (--minutes); baselines take some more.
    """
    from anabranch.tables import TableStream, fit_table  # noqa: PLC0415 (slow to import)

    check_output(output)
    if checkpoint is not None:
        check_output(checkpoint)
        check_not_read(checkpoint, "the checkpoint", table=table, model=output)
        if checkpoint.resolve() == output.resolve():
            raise ValueError(f"--checkpoint: expected another file than the model's, got {checkpoint} for both")
    pace: dict[str, Any] = {
        "epochs": epochs,
        "minutes": minutes,
        "batch_size": batch_size,
        "learning_rate": learning_rate,
        "seed": seed,
        "device": device,
        "keep": keep,
        "checkpoint": checkpoint,
    }
    only_images: dict[str, Any] = {"labels": labels, "array": array, "levels": levels}
    only_tables = {
        **{"columns": columns, "given": given, "kinds": kinds, "model": model, "steps-of": steps_of},
        **{
            "stream": stream or None,
            "latent": latent,
            "orders": None if orders == 1 else orders,
            "bins": None if bins == 8 else bins,
        },
        **{"structure": None if structure is Structure.AUTOREGRESSIVE else structure, **reading},
    }
    if for_images(table, only_images, only_tables):
        fit_image_file(table, output, hidden=hidden, blocks=blocks, **only_images, **pace)
        return
    sizes = None if hidden is None else read_sizes(hidden)
    data: Any
    remembered: dict[str, Any] | None = None
    if stream or table.is_dir():
        refuse_options(reading, table)
        data = TableStream(table)
    else:  # kinds decide what the texts of a column are read as
        data, sheet = read_input(
            table, reading, None if kinds is None else lambda names: read_kinds(kinds, names, strict=False)
        )
        remembered = None if sheet is None else sheet.remember()
        del sheet  # the texts of all cells are no use to a fit
    check_not_read(output, "the model", table=table)
    with unfinished(output, table.name, checkpoint), about(table):
        fitted, report = fit_table(
            data,
            None if columns is None else split_names(columns, data.column_names),
            () if given is None else split_names(given, data.column_names),
            kinds=None if kinds is None else read_kinds(kinds, data.column_names),
            model=None if model is None else model.value,
            structure=structure.value,
            blocks=blocks,
            hidden=sizes,
            bins=bins,
            orders=orders,
            latent=latent,
            schedule=None if steps_of is None else read_schedule(steps_of),
            **pace,
        )
    plain = report.to_dict()
    metadata = {"table": table.name, "report": plain}
    metadata |= {} if remembered is None else {"reading": remembered}

    def show() -> None:
        show_report(table.name, plain)
        show_columns(fitted.schema)

    show_and_save(fitted, output, metadata, show)
