"""How a check says what it expected."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from anabranch.checks import written


def expect(condition: bool | Tensor, subject: object, message: str) -> None:
    """Raise AssertionError with one line that names the class under test."""
    if not condition:
        raise AssertionError(f"{type(subject).__name__}: {message}")


def expect_close(
    got: Tensor, wanted: Tensor, subject: object, what: str, tolerance: float, at: Tensor | None = None, name: str = "x"
) -> None:
    """Expect equal shapes, and |got - wanted| within tolerance (1 + |wanted|); infinities and NaN must be equal.

    Args:
        got, wanted: (rows, ...).
        subject, what: as the message names them.
        tolerance: of the difference.
        at: (rows, *event), of which the message gives the row that is worst off.
        name: of those.
    """
    expect(got.shape == wanted.shape, subject, f"{what}: expected shape {tuple(wanted.shape)}, got {tuple(got.shape)}")
    got, wanted = got.detach().double(), wanted.detach().double()
    same = (got == wanted) | (got.isnan() & wanted.isnan())
    error = torch.where(same, 0.0, (got - wanted).abs() / (1 + wanted.abs()))
    error = error.nan_to_num(nan=torch.inf)
    worst = float(error.max()) if error.numel() else 0.0
    where = "" if at is None or worst <= tolerance else f" at {name} = {written(at[_worst_row(error, len(at))])}"
    expect(worst <= tolerance, subject, f"{what}: expected a difference within {tolerance:g}, got {worst:g}{where}")


def _worst_row(error: Tensor, rows: int) -> int:
    return int(error.reshape(rows, -1).amax(dim=-1).argmax())


@contextmanager
def checking(subject: object, what: str) -> Iterator[None]:
    """Turn whatever the block raises into an AssertionError of one line that names the class under test."""
    try:
        yield
    except AssertionError:
        raise
    except Exception as error:
        raise AssertionError(f"{type(subject).__name__}: {what}: expected no error, got {first_line(error)}") from error


@contextmanager
def expecting_value_error(subject: object, what: str) -> Iterator[None]:
    """Expect the block to raise ValueError, in words that say what was expected and what came."""
    try:
        yield
    except ValueError as error:
        clear = "expected" in str(error) and "got" in str(error)
        expect(
            clear, subject, f"{what}: expected a ValueError that says what was expected and what it got, got: {error}"
        )
    except Exception as error:
        raise AssertionError(
            f"{type(subject).__name__}: {what}: expected a ValueError, got {first_line(error)}"
        ) from error
    else:
        raise AssertionError(f"{type(subject).__name__}: {what}: expected a ValueError, got none")


def expect_fullgraph(function: Callable[..., object], arguments: tuple[object, ...], subject: object) -> None:
    """Expect `torch.compile(fullgraph=True)` to take the function whole."""
    torch.compiler.reset()
    try:
        torch.compile(function, backend="eager", fullgraph=True)(*arguments)
    except Exception as error:
        raise AssertionError(
            f"{type(subject).__name__}: expected torch.compile(fullgraph=True) to take it, got {first_line(error)}"
        ) from error
    finally:
        torch.compiler.reset()


def first_line(error: Exception) -> str:
    """The kind of an error and the first line of its message."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
