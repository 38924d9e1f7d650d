"""Bad input as one line on standard error and exit code 2: no traceback, nothing half-written."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
import typer

from anabranch.training import NonFiniteError

BAD_INPUT = 2
INTERRUPTED = 130


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Around a command: what is wrong with its input ends it with one line.

    An error of another kind is a mistake of ours, and keeps its traceback so that it can be reported.
    """
    try:
        yield
    except KeyboardInterrupt:
        complain("interrupted; nothing was written")
        raise typer.Exit(INTERRUPTED) from None
    except BrokenPipeError:
        # whoever read our output has seen enough, as `head` does; Python would complain once more when it flushes
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(1) from None
    except OSError as error:
        complain(_of_system(error))
        raise typer.Exit(BAD_INPUT) from None
    except (MemoryError, torch.OutOfMemoryError):
        complain("out of memory; give fewer rows, or a smaller model")
        raise typer.Exit(BAD_INPUT) from None
    except (ValueError, NonFiniteError) as error:
        complain(str(error))
        raise typer.Exit(BAD_INPUT) from None


@contextmanager
def about(path: Path, unseen: str = "") -> Iterator[None]:
    """What is wrong with a table inside is the matter of this file: errors and warnings name it.

    Args:
        path: of the file.
        unseen: what the command offers for values that were not fitted.
    """
    from anabranch.tables import TableError, TableWarning  # noqa: PLC0415 (pyarrow loads with it)
    from anabranch.tables.columns.reading import UnseenError  # noqa: PLC0415

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("ignore")
        warnings.simplefilter("always", TableWarning)
        try:
            yield
        except TableError as error:
            offered = f"; or give {unseen}" if unseen and isinstance(error, UnseenError) else ""
            raise ValueError(f"{path}: {error}{offered}") from error
        finally:
            for warning in caught:
                complain(f"warning: {path}: {warning.message}")


def complain(text: str) -> None:
    """Write one line on standard error."""
    typer.echo(f"anabranch: {' '.join(text.split())}", err=True)


def _of_system(error: OSError) -> str:
    """Without the number that Python puts in front, and with the file."""
    if error.strerror is None:
        return str(error)
    return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
