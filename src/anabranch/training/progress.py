"""What a fit shows while it runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from anabranch.training.course import Course


class FitProgress:
    """A bar over the steps of a fit, or over its budget of time, with losses and the time left, on standard error.

    Within a budget it says too whether the validation loss still improves. Where standard error is neither a terminal nor
    a notebook, nothing is drawn.

    Args:
        course: of the fit.
        shown: whether to show it at all.
        console: where; standard error by default.
    """

    def __init__(self, course: Course, shown: bool, console: Console | None = None) -> None:
        console = Console(stderr=True) if console is None else console
        self._course = course
        left: list[ProgressColumn]
        if course.seconds is None:
            left = [TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn()]
        else:
            left = [TextColumn("{task.fields[state]}, at most"), TextColumn("{task.fields[left]} left")]
        self._progress = Progress(
            TextColumn("fit"),
            BarColumn(),
            TextColumn("{task.fields[step]}"),
            TextColumn("{task.fields[losses]}"),
            *left,
            console=console,
            disable=not (shown and (console.is_terminal or console.is_jupyter)),
        )
        self._held_out = ""
        total = course.steps if course.seconds is None else course.seconds
        self._task = self._progress.add_task("fit", total=total, losses="", step="", state="improves", left="")

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def step(self, loss: float, step: int, seconds: float) -> None:
        """So many steps are done, after so many seconds, the last of them with this loss on its batch."""
        losses = f"loss {loss:.3f}{self._held_out}"
        if self._course.seconds is None:
            self._progress.update(self._task, completed=step, losses=losses, step=f"{step}/{self._course.steps}")
            return
        left = max(0, round(self._course.seconds - seconds))
        self._progress.update(
            self._task,
            completed=min(seconds, self._course.seconds),
            losses=losses,
            step=f"step {step}",
            state=self._course.doing,
            left=f"{left // 60}:{left % 60:02}",
        )

    def epoch(self, validation: float | None) -> None:
        """One epoch is done, with this loss on the validation rows."""
        self._held_out = "" if validation is None else f"  validation {validation:.3f}"


@contextmanager
def waiting(text: str, shown: bool) -> Iterator[None]:
    """A spinner on standard error, where that is a terminal."""
    console = Console(stderr=True)
    if not (shown and console.is_terminal):
        yield
        return
    with console.status(text):
        yield
