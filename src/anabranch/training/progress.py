"""What a fit shows while it runs."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn


class FitProgress:
    """A bar over the steps of a fit, with losses and the time left, on standard error.

    Where that is neither a terminal nor a notebook, nothing is drawn.

    Args:
        steps: how many there will be.
        shown: whether to show it at all.
    """

    def __init__(self, steps: int, shown: bool) -> None:
        console = Console(stderr=True)
        self._progress = Progress(
            TextColumn("fit"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[losses]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=console,
            disable=not (shown and (console.is_terminal or console.is_jupyter)),
        )
        self._held_out = ""
        self._task = self._progress.add_task("fit", total=steps, losses="")

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def step(self, loss: float) -> None:
        """One step is done, with this loss on its batch."""
        self._progress.update(self._task, advance=1, losses=f"loss {loss:.3f}{self._held_out}")

    def epoch(self, validation: float | None) -> None:
        """One epoch is done, with this loss on the validation rows."""
        self._held_out = "" if validation is None else f"  validation {validation:.3f}"
