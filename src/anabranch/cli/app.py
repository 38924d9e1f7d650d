"""The commands put together, and the program's entry point."""

from __future__ import annotations

import signal
import sys
from types import FrameType
from typing import Annotated, Any, NoReturn

import typer

from anabranch.cli.cluster import cluster
from anabranch.cli.compress import compress, decompress
from anabranch.cli.detect import detect
from anabranch.cli.errors import complain
from anabranch.cli.fit import fit
from anabranch.cli.gallery import gallery
from anabranch.cli.impute import impute
from anabranch.cli.info import info
from anabranch.cli.query import query
from anabranch.cli.report import report
from anabranch.cli.sample import sample
from anabranch.cli.score import score
from anabranch.version import __version__

# typer keeps this class to itself under changing names; what the user typed wrongly is always one
_UsageError: Any = typer.BadParameter.__bases__[0]

app = typer.Typer(
    name="anabranch",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)


def _show_version(asked: bool) -> None:
    if asked:
        typer.echo(f"anabranch {__version__}")
        raise typer.Exit


@app.callback()
def _anabranch(
    version: Annotated[bool, typer.Option("--version", callback=_show_version, help="Print the version.")] = False,
) -> None:
    """Densities of the rows of a table, or of images: fit, score, sample, fill gaps, ask, compress; and a gallery."""


for _command in (fit, score, sample, impute, query, detect, cluster, report, info, compress, decompress, gallery):
    app.command()(_command)


def main() -> None:
    """Run the command line. Bad input and bad usage end with one line on standard error and exit code 2."""
    signal.signal(signal.SIGTERM, _terminate)
    try:
        code = app(prog_name="anabranch", standalone_mode=False)
    except _UsageError as error:
        # without a command at all it is empty, and the help has been shown instead
        if message := error.format_message():
            asked = getattr(error, "ctx", None)
            command = "anabranch" if asked is None else asked.command_path
            complain(f"{message.rstrip('.')}; see '{command} --help'")
        code = error.exit_code
    sys.exit(code if isinstance(code, int) else 0)


def _terminate(number: int, frame: FrameType | None) -> NoReturn:
    # as an exception, so that what is half-written is removed on the way out
    raise SystemExit(128 + number)
