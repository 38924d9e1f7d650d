"""Options of `anabranch fit`, read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from anabranch.cli.names import split_settings
from anabranch.storage import read_metadata


def read_kinds(text: str, available: Sequence[str], strict: bool = True) -> dict[str, str]:
    """Kinds of columns, a=categorical,b=bounded; names may hold commas and equals signs of their own.

    With `strict` what is no column is an error; otherwise it is for a later call to find.
    """
    kinds, rest = split_settings(text, available)
    if rest and strict:
        raise ValueError(
            f"--kinds: expected columns of the table and their kinds, such as a=categorical,b=bounded, got {rest!r}"
        )
    return kinds


def read_schedule(path: Path) -> dict[str, Any]:
    """The steps of the fit that made a model."""
    report = read_metadata(path)["metadata"].get("report") or {}
    schedule: dict[str, Any] | None = report.get("schedule")
    if schedule is None:
        epochs = report.get("options", {}).get("epochs")
        instead = f"give --epochs {epochs}, as it was" if epochs else "it did not come to its end"
        raise ValueError(f"--steps-of: {path} was fitted within no budget of time; {instead}")
    return schedule


def read_sizes(text: str) -> list[int]:
    """Whole numbers separated by commas."""
    try:
        return [int(piece) for piece in text.split(",")]
    except ValueError:
        raise ValueError(
            f"--hidden: expected whole numbers separated by commas, such as 128,128, got {text!r}"
        ) from None
