"""`anabranch gallery`."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from anabranch.cli.errors import INTERRUPTED, complain, one_line_errors


@one_line_errors()
def gallery(
    name: Annotated[
        str,
        typer.Argument(
            help="pinwheel-5, pinwheel-3, circles, circles-32-labels, circles-64-labels, mnist-clusters, table-clusters, "
            "depth-against-naive, plane, arm, images, vae or diffusion."
        ),
    ],
    seeds: Annotated[int, typer.Option(help="How many, from 0.")] = 4,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for NAME.json and the pictures.")] = Path(
        "gallery"
    ),
    data: Annotated[
        str | None,
        typer.Option(
            help="Folder with mnist.npz, penbased.npz, satimage.npz; without them smaller data are taken. Of images "
            "and vae: digits (the default), fashion or mnist.",
        ),
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option(
            help="Of images and vae, with --data fashion or mnist: .npz with x, and xt if there is a test set."
        ),
    ] = None,
    minutes: Annotated[
        float | None, typer.Option(help="Of each fit of images; by default 3 for digits, 20 on a CPU, 12 on a GPU.")
    ] = None,
    epochs: Annotated[
        int | None,
        typer.Option(help="At most so many in each fit, for a quick look; of arm, images, vae and diffusion."),
    ] = None,
) -> None:
    """Run an experiment, with pictures: mixtures of flows beside a Gaussian mixture and the optimum; autoregressive models;
    flows of images; autoencoders; diffusions.

    Minutes for each seed. Every number of the table at the end is a mean over the seeds, with their standard deviation.
    """
    from anabranch.gallery import run_experiment  # noqa: PLC0415 (slow to import)
    from anabranch.gallery.experiments import TAKING  # noqa: PLC0415
    from anabranch.gallery.results import summary  # noqa: PLC0415

    written, begun = output / f"{name}.json", time.time()
    try:
        of_images = name in TAKING["file"]
        folder = Path("../shared/data" if data is None or of_images else data)
        images = data if of_images and data is not None else "digits"
        results = run_experiment(
            name, output, seeds, folder, lambda result: complain(_line(result)), epochs, images, file, minutes
        )
    except KeyboardInterrupt:
        if not written.exists() or written.stat().st_mtime < begun - 1:  # clocks of file systems are coarse
            raise
        complain(f"interrupted; {written} has the seeds that were done")
        raise typer.Exit(INTERRUPTED) from None
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    table = Table(title=f"{name}, {seeds} seed{'s' * (seeds > 1)}", title_justify="left")
    heads, *rows = summary(results)
    for i, head in enumerate(heads):
        table.add_column(head, justify="right" if i else "left")
    for row in rows:
        table.add_row(*row)
    Console(file=sys.stdout, highlight=False, width=None if sys.stdout.isatty() else 160).print(table, markup=False)
    complain(f"wrote {output / name}.json and pictures")


def _line(result: Any) -> str:
    numbers = [f"seed {result.seed}"]
    if result.log_likelihood is not None:
        numbers.append(f"log-likelihood {result.log_likelihood:.3f}")
    if result.lower_bound is not None:
        numbers.append(f"lower bound {result.lower_bound:.3f}")
    if result.bits_per_dimension is not None:
        numbers.append(f"{result.bits_per_dimension:.3f} bits per dimension")
    if result.accuracy is not None:
        numbers.append(f"accuracy {result.accuracy:.3f}")
    if result.adjusted_rand is not None:
        numbers.append(f"adjusted Rand {result.adjusted_rand:.3f}")
    if result.seconds is not None:
        numbers.append(f"{result.seconds:.0f} s")
    return f"{result.method}: {', '.join(numbers)}"
