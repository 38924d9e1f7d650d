"""What a fit came to, printed."""

from __future__ import annotations

import sys
from typing import Any

from anabranch.training.outcome import course_in_words


def show_report(name: str, report: dict[str, Any]) -> None:
    """Print what a fit came to, from a `Report` or an `ImageReport` as plain data."""
    from rich.console import Console  # noqa: PLC0415 (only needed here)

    # what is not read on a terminal has no width to fit into
    console = Console(file=sys.stdout, highlight=False, width=None if sys.stdout.isatty() else 120)
    image = "dimensions" in report
    console.print(_facts(name, report, "image" if image else "row"), markup=False)
    console.print()
    console.print(_scores_of_images(report) if image else _scores(report), markup=False)
    if report.get("unit"):
        console.print(f"Unit: {report['unit']}.", markup=False)
    rows = "images" if image else "rows"
    console.print(f"After ±: the standard error over the held-out {rows}; that of a gain is of paired differences.")
    if image:
        console.print("zstd compresses the held-out images together, as one block.")


def _facts(name: str, report: dict[str, Any], row: str) -> Any:
    """What was fitted, and how."""
    from rich.table import Table  # noqa: PLC0415 (only needed here)

    rows = report["rows"]
    facts = Table.grid(padding=(0, 2))
    facts.add_column(style="bold", no_wrap=True)
    facts.add_column(overflow="fold")
    facts.add_row(
        "images" if row == "image" else "table",
        f"{name}, {rows['all']:,} {row}s: {rows['training']:,} fitted, {rows['validation']:,} to stop by, "
        f"{rows['test']:,} held out (seed {report['seed']})",
    )
    if row == "image":
        facts.add_row("pixels", report["pixels"])
        if report["classes"] is not None:
            facts.add_row("labels", ", ".join(report["classes"]))
    else:
        facts.add_row("columns", ", ".join(report["columns"]))
        if report["given"]:
            facts.add_row("given", ", ".join(report["given"]))
    facts.add_row("model", f"{report['model']}, {report['parameters']:,} parameters")
    facts.add_row(
        "fit",
        f"{course_in_words(report, row)}; it took {report['seconds']['fit']:.0f} s, "
        f"and the baselines {report['seconds']['baselines']:.0f} s",
    )
    return facts


def _scores(report: dict[str, Any]) -> Any:
    from rich.table import Table  # noqa: PLC0415 (only needed here)

    scores = Table(title="Held-out log-likelihood, nats per row in the data's own units", title_justify="left")
    scores.add_column("density")
    scores.add_column("log p", justify="right")
    scores.add_column("the model gains", justify="right")
    for i, score in enumerate(report["scores"]):
        gain = "" if i == 0 else _with_error(score["gain"], score["gain_standard_error"])
        scores.add_row(score["name"], _with_error(score["mean"], score["standard_error"]), gain)
    return scores


def _scores_of_images(report: dict[str, Any]) -> Any:
    from rich.table import Table  # noqa: PLC0415 (only needed here)

    scores = Table(title="Held-out images: nats per image, and bits per dimension", title_justify="left")
    scores.add_column("density")
    for title in ("-log p", "the model gains", "bits per dimension"):
        scores.add_column(title, justify="right")
    for i, score in enumerate(report["scores"]):
        gain = "" if i == 0 else _with_error(score["gain"], score["gain_standard_error"])
        bits = report["bits_per_dimension"][score["name"]]
        nats = None if score["mean"] is None else -score["mean"]
        scores.add_row(
            score["name"],
            "inf" if nats is None else _with_error(nats, score["standard_error"]),
            gain,
            "inf" if bits is None else f"{bits:.3f}",
        )
    return scores


def _with_error(value: float | None, error: float | None) -> str:
    # what is infinite is None in a report
    return "-inf" if value is None else f"{value:.3f}" + ("" if error is None else f" ± {error:.3f}")
