"""`anabranch info`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

import anabranch as ab
from anabranch.cli.errors import one_line_errors
from anabranch.cli.kinds import show_columns
from anabranch.cli.reports import show_report
from anabranch.densities.density import Likelihood
from anabranch.storage import read_metadata

_KNOWN: dict[Likelihood, str] = {
    "exact": "Log-likelihoods are",
    "bound": "Only lower bounds of log-likelihoods are known,",
    "estimate": "Only estimates of log-likelihoods are known,",
}


@one_line_errors()
def info(model: Annotated[Path, typer.Argument(help="A model file.")]) -> None:
    """Print what a model file holds."""
    from rich.console import Console  # noqa: PLC0415 (only needed here)

    from anabranch.images import ImageModel  # noqa: PLC0415
    from anabranch.tables import TableModel  # noqa: PLC0415

    header = read_metadata(model)
    loaded = ab.load(model)
    console = Console(file=sys.stdout, highlight=False, width=None if sys.stdout.isatty() else 120)
    kind = header["description"]["class"]
    numbers = sum(parameter.numel() for parameter in loaded.parameters())
    console.print(
        f"{model}: {kind}, {numbers:,} parameters, written by anabranch {header['version']}",
        markup=False,
        soft_wrap=True,
    )
    metadata = header["metadata"]
    if isinstance(loaded, TableModel):
        show_columns(loaded.schema, most=None)
        console.print(f"{_KNOWN[loaded.density.likelihood]} in {loaded.unit}.", markup=False)
    elif isinstance(loaded, ImageModel):
        console.print(f"Images: {loaded.pixels}.", markup=False)
        if loaded.classes is not None:
            console.print(f"Labels: {', '.join(map(str, loaded.classes))}.", markup=False)
        console.print(f"Log-likelihoods are in {loaded.unit}.", markup=False)
    elif isinstance(loaded, ab.densities.Density):
        console.print(f"Likelihood: {loaded.likelihood}.", markup=False)
    report = metadata.pop("report", None)
    metadata.pop("reading", None)  # for the commands that read tables for the model
    if report is not None:
        console.print()
        show_report(metadata.pop("table", metadata.pop("images", "a table")), report)
    for name, value in metadata.items():
        console.print(f"{name}: {value}", markup=False, soft_wrap=True)
