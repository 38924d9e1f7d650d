"""Bad input as one line on standard error and exit code 2: no traceback, nothing half-written."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
import typer

from anabranch.training import NonFiniteError

BAD_INPUT = 2
INTERRUPTED = 130
NOT_WRITTEN = 1


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
    """Errors and warnings about a table inside name this file.

    Args:
        path: of the file.
        unseen: what the command offers for values that were not fitted.
    """
    from anabranch.tables import TableError, TableWarning  # noqa: PLC0415 (pyarrow loads with it)
    from anabranch.tables.columns.reading import UnseenError  # noqa: PLC0415

    def in_words(error: ValueError) -> str | None:
        offered = f"; or give {unseen}" if unseen and isinstance(error, UnseenError) else ""
        return f"{error}{offered}" if isinstance(error, TableError) else None

    with naming(path, TableWarning, in_words):
        yield


@contextmanager
def naming(path: Path, warning: type[Warning], in_words: Callable[[ValueError], str | None]) -> Iterator[None]:
    """Errors and warnings inside name this file.

    Args:
        path: of the file.
        warning: the kind of warning that is shown; others are not.
        in_words: what an error says beside the name of the file; None for an error that passes as it is.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("ignore")
        warnings.simplefilter("always", warning)
        try:
            yield
        except ValueError as error:
            if (text := in_words(error)) is None:
                raise
            raise ValueError(f"{path}: {text}") from error
        finally:
            for one in caught:
                complain(f"warning: {path}: {one.message}")


def complain(text: str) -> None:
    """Write one line on standard error."""
    typer.echo(f"anabranch: {' '.join(text.split())}", err=True)


def _of_system(error: OSError) -> str:
    """Without the number that Python puts in front, and with the file."""
    if error.strerror is None:
        return str(error)
    return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
