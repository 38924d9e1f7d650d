"""`anabranch compress` and `anabranch decompress`."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import anabranch as ab
from anabranch.atomic import replacing
from anabranch.cli.array_files import check_array_output, read_array, write_array
from anabranch.cli.errors import about, complain, one_line_errors
from anabranch.cli.files import (
    check_not_read,
    check_output,
    check_table_output,
    is_of_images,
    load_table_model,
    write_output,
)
from anabranch.cli.images import ARRAY, check_image_output, images_as_levels, refuse_options, write_levels
from anabranch.cli.names import split_settings
from anabranch.cli.reading import EscapeFormulas, read_input, reads_tables

if TYPE_CHECKING:
    from anabranch.compression import Compressed

_Model = Annotated[
    Path,
    typer.Option(
        "--model",
        "-m",
        help="Of any order, which 'anabranch fit --model any-order' wrote; or of images; or autoregressive, for arrays.",
    ),
]


@one_line_errors()
@reads_tables
def compress(
    table: Annotated[
        Path,
        typer.Argument(
            help="A table with the columns the model was fitted on; or .npy, .npz with whole numbers; or images."
        ),
    ],
    model: _Model,
    output: Annotated[Path, typer.Option("--output", "-o", help="Where to write the compressed rows.")],
    precision: Annotated[
        str | None,
        typer.Option(
            metavar="COL=STEP,...",
            help="Columns of real numbers of which values within half a step will do; all others are kept bit for bit.",
        ),
    ] = None,
    compare: Annotated[
        bool, typer.Option(help="Print what zstd, xz and Parquet make of the same rows, which may take longer.")
    ] = True,
    array: ARRAY = None,
    *,
    reading: dict[str, Any],
) -> None:
    """Write rows in as many bits as a model finds them surprising, and print how many these are.

    'anabranch decompress' with the same model gives the rows back, on this machine; elsewhere too, or it refuses.
    """
    from anabranch.compression import compress as compressed  # noqa: PLC0415 (slow to import)
    from anabranch.compression import compress_array  # noqa: PLC0415
    from anabranch.compression.others import other_sizes, other_sizes_of_array  # noqa: PLC0415

    check_output(output)
    check_not_read(output, "the compressed rows", table=table, model=model)
    fitted = ab.load(model)
    if is_of_images(model) or isinstance(fitted, ab.models.Autoregressive):
        got = "images" if is_of_images(model) else "an array"
        refuse_options(table, {"precision": precision, **reading}, got)
        if got == "images":
            x, density = images_as_levels(fitted, table, array)
        else:
            refuse_options(table, {"array": array}, got, "images")
            x, density = read_array(table), fitted
        with _in(table):
            result = compress_array(x, density, owner=fitted)
        others = other_sizes_of_array(x) if compare else {}
    else:
        refuse_options(table, {"array": array}, "a table", "images")
        fitted = load_table_model(model)
        data, sheet = read_input(table, reading, model=fitted, file=model)
        del sheet  # cells as they are written: what is compressed are their values
        steps = None if precision is None else _read_precision(precision, data.column_names)
        with about(table):
            result = compressed(data, fitted, steps)
        others = other_sizes(data) if compare else {}
    with replacing(output) as temporary:
        temporary.write_bytes(result.data)
    _show(result, output, others, model.stat().st_size)
    complain(f"compressed {result.rows:,} rows{_kept(result)}; wrote {output}")


@one_line_errors()
def decompress(
    file: Annotated[Path, typer.Argument(help="What 'anabranch compress' wrote.")],
    model: _Model,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="Where to write the rows; standard output, a table as CSV, by default. Of images .npy, .npz or a folder.",
        ),
    ] = None,
    escape_formulas: EscapeFormulas = False,
) -> None:
    """Read back the rows that 'anabranch compress' wrote, with the same model."""
    from anabranch.compression import decompress as decompressed  # noqa: PLC0415 (slow to import)
    from anabranch.compression import decompress_array  # noqa: PLC0415

    read = {"compressed file": file, "model": model}
    of_images = is_of_images(model)
    if of_images:
        check_image_output(output, **read)
    fitted = ab.load(model)
    rows: int
    if of_images:
        data = file.read_bytes()
        with _in(file):
            x = decompress_array(data, fitted.density, owner=fitted)
        write_levels(fitted, x, output)
        rows = len(x)
    elif isinstance(fitted, ab.models.Autoregressive):
        check_array_output(output, **read)
        data = file.read_bytes()
        with _in(file):
            x = decompress_array(data, fitted)
        write_array(x, output)
        rows = len(x)
    else:
        check_table_output(output, **read)
        fitted = load_table_model(model)
        data = file.read_bytes()
        with _in(file):
            table = decompressed(data, fitted)
        write_output(table, output, escape_formulas=escape_formulas)
        rows = table.num_rows
    if output is not None:
        complain(f"wrote {rows:,} rows to {output}")


@contextmanager
def _in(path: Path) -> Iterator[None]:
    """Errors inside name this file."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _read_precision(text: str, available: Sequence[str]) -> dict[str, float]:
    """Columns and steps, a=0.01,b=1."""
    found, rest = split_settings(text, available)
    try:
        steps = {name: float(step) for name, step in found.items()}
    except ValueError:
        rest = rest or text
    if rest:
        raise ValueError(
            f"--precision: expected columns of the table and steps in their units, such as a=0.01,b=1, got {rest!r}"
        )
    return steps


def _kept(result: Compressed) -> str:
    """What is said of values that the model cannot hold."""
    return f" ({result.raw:,} cells that the model cannot hold are kept as they are)" if result.raw else ""


def _show(result: Compressed, output: Path, others: Mapping[str, int], model: int) -> None:
    """Print sizes, beside those of others and with the model's file."""
    from rich.console import Console  # noqa: PLC0415 (only needed here)
    from rich.table import Table  # noqa: PLC0415

    console = Console(file=sys.stdout, highlight=False, width=None if sys.stdout.isatty() else 120)
    size, rows = len(result.data), max(1, result.rows)
    sizes = Table("rows as", "bytes", "bits a row", "times ours", "with the model", title="Sizes", title_justify="left")
    for name, other in {output.name: size, **others}.items():
        both = f"{size + model:,}" if other is size and name == output.name else f"{other:,}"
        sizes.add_row(name, f"{other:,}", f"{8 * other / rows:,.2f}", f"{other / size:.2f}", both)
    console.print(sizes, markup=False)
    tape = 8 * (size - result.described)
    told = result.model_bits + result.gaps
    console.print(
        f"The model's -log2 p is {result.model_bits / rows:,.2f} bits a row, and gaps are {result.gaps / rows:,.2f}: "
        f"the tape is {tape / told if told else 1:.4f} times that. Beside it are {result.described:,} bytes of description.",
        markup=False,
        soft_wrap=True,
    )
