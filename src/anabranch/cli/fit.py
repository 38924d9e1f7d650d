"""`anabranch fit`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import suppress
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from anabranch.cli.errors import BAD_INPUT, INTERRUPTED, NOT_WRITTEN, about, complain, one_line_errors
from anabranch.cli.files import check_not_read, check_output
from anabranch.cli.keeping import rescue, save_somewhere
from anabranch.cli.kinds import show_columns
from anabranch.cli.names import split_names, split_settings
from anabranch.cli.reading import read_input, reads_tables, refuse_options
from anabranch.storage import read_metadata
from anabranch.training import NonFiniteError


class Model(StrEnum):
    """What `--model` may be."""

    ANY_ORDER = "any-order"
    DEPTH = "depth"
    FLOW = "flow"


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
            help="The table: .csv, .csv.gz, .parquet, .arrow, .feather, .npy, .npz; or a folder of .parquet."
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
            "numbers. By default what the table needs, and depth if it needs nothing."
        ),
    ] = None,
    structure: Annotated[Structure, typer.Option(help="Of the spline blocks.")] = Structure.AUTOREGRESSIVE,
    blocks: Annotated[int | None, typer.Option(help="How many; by default 5 of splines, 2 of any order.")] = None,
    hidden: Annotated[
        str | None,
        typer.Option(metavar="SIZES", help="Hidden sizes of each spline block, by default 128,128, or the width, 256."),
    ] = None,
    bins: Annotated[int, typer.Option(help="Bins of each spline.")] = 8,
    orders: Annotated[
        int, typer.Option(help="Of a model of any order, how many orders of the columns its joint averages.")
    ] = 1,
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
        int | None, typer.Option(help="Rows in one step, by default 512 (any order: 256), at most an eighth of them.")
    ] = None,
    learning_rate: Annotated[
        float | None, typer.Option(help="The highest reached, by default 5e-3 (any order: 2e-3).")
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
    *,
    reading: dict[str, Any],
) -> None:
    """Fit a density to the rows of a table and write it to a file.

    Eight tenths of the rows are fitted, one tenth says when to stop, and the last is held out: its log-likelihood is
    reported, in nats per row and in the data's own units, beside that of two simple densities: a Gaussian copula and
    independent columns, or of numbers alone a Gaussian mixture and a Gaussian.

    The fit goes on while the rows to stop by get better, for 5 minutes at most (--minutes); baselines take some more.
    """
    from anabranch.tables import TableStream, fit_table  # noqa: PLC0415 (slow to import)

    check_output(output)
    sizes = None if hidden is None else _read_sizes(hidden)
    data: Any
    remembered: dict[str, Any] | None = None
    if stream or table.is_dir():
        refuse_options(reading, table)
        data = TableStream(table)
    else:  # kinds decide what the texts of a column are read as
        data, sheet = read_input(
            table, reading, None if kinds is None else lambda names: _read_kinds(kinds, names, strict=False)
        )
        remembered = None if sheet is None else sheet.remember()
        del sheet  # the texts of all cells are no use to a fit
    check_not_read(output, "the model", table=table)
    if checkpoint is not None:
        check_output(checkpoint)
        check_not_read(checkpoint, "the checkpoint", table=table, model=output)
        if checkpoint.resolve() == output.resolve():
            raise ValueError(f"--checkpoint: expected another file than the model's, got {checkpoint} for both")
    try:
        with about(table):
            fitted, report = fit_table(
                data,
                None if columns is None else split_names(columns, data.column_names),
                () if given is None else split_names(given, data.column_names),
                kinds=None if kinds is None else _read_kinds(kinds, data.column_names),
                model=None if model is None else model.value,
                structure=structure.value,
                blocks=blocks,
                hidden=sizes,
                bins=bins,
                orders=orders,
                epochs=epochs,
                minutes=minutes,
                schedule=None if steps_of is None else _read_schedule(steps_of),
                batch_size=batch_size,
                learning_rate=learning_rate,
                seed=seed,
                device=device,
                keep=keep,
                checkpoint=checkpoint,
            )
    except BaseException as error:
        if isinstance(error, (KeyboardInterrupt, SystemExit)) and checkpoint is not None and checkpoint.exists():
            complain(f"the same command goes on from {checkpoint}")
        _end_unfinished(error, output, table.name)
        raise
    plain = report.to_dict()
    metadata = {"table": table.name, "report": plain}
    metadata |= {} if remembered is None else {"reading": remembered}
    try:
        # before the file, which may not be writable any more; and the file whatever becomes of what is printed
        with suppress(KeyboardInterrupt):
            show_report(table.name, plain)
            show_columns(fitted.schema)
            sys.stdout.flush()
    finally:
        written = save_somewhere(fitted, output, metadata)
        if written == output:
            complain(f"wrote {output}")
    if written != output:
        raise typer.Exit(NOT_WRITTEN)


def _end_unfinished(error: BaseException, output: Path, table: str) -> None:
    """Write what a fit that did not end has come to, if anything, and say where: with one line, where that is all to say."""
    path = rescue(error, output, table)
    if path is None:
        return
    where = f"the best weights so far are in {path}, a model for every command (--keep: a report too)"
    if isinstance(error, KeyboardInterrupt):
        complain(f"interrupted; {where}")
        raise typer.Exit(INTERRUPTED) from None
    if isinstance(error, (NonFiniteError, ValueError)):
        complain(f"{error}; {where}")
        raise typer.Exit(BAD_INPUT) from None
    complain(where)


def show_report(name: str, report: dict[str, Any]) -> None:
    """Print what a fit came to, from a `Report` as plain data."""
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    from anabranch.training.outcome import course_in_words  # noqa: PLC0415

    # what is not read on a terminal has no width to fit into
    console = Console(file=sys.stdout, highlight=False, width=None if sys.stdout.isatty() else 120)
    rows = report["rows"]
    facts = Table.grid(padding=(0, 2))
    facts.add_column(style="bold", no_wrap=True)
    facts.add_column(overflow="fold")
    facts.add_row(
        "table",
        f"{name}, {rows['all']:,} rows: {rows['training']:,} fitted, {rows['validation']:,} to stop by, "
        f"{rows['test']:,} held out (seed {report['seed']})",
    )
    facts.add_row("columns", ", ".join(report["columns"]))
    if report["given"]:
        facts.add_row("given", ", ".join(report["given"]))
    facts.add_row("model", f"{report['model']}, {report['parameters']:,} parameters")
    facts.add_row(
        "fit",
        f"{course_in_words(report)}; it took {report['seconds']['fit']:.0f} s, "
        f"and the baselines {report['seconds']['baselines']:.0f} s",
    )
    console.print(facts, markup=False)
    unit = report.get("unit")
    scores = Table(title="Held-out log-likelihood, nats per row in the data's own units", title_justify="left")
    scores.add_column("density")
    scores.add_column("log p", justify="right")
    scores.add_column("the model gains", justify="right")
    for i, score in enumerate(report["scores"]):
        gain = "" if i == 0 else _with_error(score["gain"], score["gain_standard_error"])
        scores.add_row(score["name"], _with_error(score["mean"], score["standard_error"]), gain)
    console.print()
    console.print(scores, markup=False)
    if unit:
        console.print(f"Unit: {unit}.", markup=False)
    console.print("After ±: the standard error over the held-out rows; that of a gain is of paired differences.")


def _with_error(value: float | None, error: float | None) -> str:
    # what is infinite is None in a report
    return "-inf" if value is None else f"{value:.3f}" + ("" if error is None else f" ± {error:.3f}")


def _read_kinds(text: str, available: Sequence[str], strict: bool = True) -> dict[str, str]:
    """Kinds of columns, a=categorical,b=bounded; names may hold commas and equals signs of their own.

    With `strict` what is no column is an error; otherwise it is for a later call to find.
    """
    kinds, rest = split_settings(text, available)
    if rest and strict:
        raise ValueError(
            f"--kinds: expected columns of the table and their kinds, such as a=categorical,b=bounded, got {rest!r}"
        )
    return kinds


def _read_schedule(path: Path) -> dict[str, Any]:
    """The steps of the fit that made a model."""
    report = read_metadata(path)["metadata"].get("report") or {}
    schedule: dict[str, Any] | None = report.get("schedule")
    if schedule is None:
        epochs = report.get("options", {}).get("epochs")
        instead = f"give --epochs {epochs}, as it was" if epochs else "it did not come to its end"
        raise ValueError(f"--steps-of: {path} was fitted within no budget of time; {instead}")
    return schedule


def _read_sizes(text: str) -> list[int]:
    try:
        return [int(piece) for piece in text.split(",")]
    except ValueError:
        raise ValueError(
            f"--hidden: expected whole numbers separated by commas, such as 128,128, got {text!r}"
        ) from None
