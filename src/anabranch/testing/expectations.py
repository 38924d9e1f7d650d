"""How a check says what it expected."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor


def expect(condition: bool, subject: object, message: str) -> None:
    """Raise AssertionError with one line that names the class under test."""
    if not condition:
        raise AssertionError(f"{type(subject).__name__}: {message}")


def expect_close(got: Tensor, wanted: Tensor, subject: object, what: str, tolerance: float) -> None:
    """Expect equal shapes, and |got - wanted| within tolerance (1 + |wanted|); infinities must be equal."""
    expect(got.shape == wanted.shape, subject, f"{what}: expected shape {tuple(wanted.shape)}, got {tuple(got.shape)}")
    got, wanted = got.detach().double(), wanted.detach().double()
    same = (got == wanted) | (got.isnan() & wanted.isnan())
    error = torch.where(same, 0.0, (got - wanted).abs() / (1 + wanted.abs()))
    worst = float(error.max()) if error.numel() else 0.0
    expect(worst <= tolerance, subject, f"{what}: expected a difference within {tolerance:g}, got {worst:g}")


@contextmanager
def expecting_value_error(subject: object, what: str) -> Iterator[None]:
    """Expect the block to raise ValueError, in words that say what was expected and what came."""
    try:
        yield
    except ValueError as error:
        expect("expected" in str(error), subject, f"{what}: the ValueError does not say what was expected: {error}")
        return
    raise AssertionError(f"{type(subject).__name__}: {what}: expected a ValueError, got none")


def expect_fullgraph(function: Callable[..., object], arguments: tuple[object, ...], subject: object) -> None:
    """Expect `torch.compile(fullgraph=True)` to take the function whole."""
    torch._dynamo.reset()
    try:
        torch.compile(function, backend="eager", fullgraph=True)(*arguments)
    except Exception as error:
        reason = str(error).strip().splitlines()
        raise AssertionError(
            f"{type(subject).__name__}: expected torch.compile(fullgraph=True) to take it, got {reason[:1]}"
        ) from error
    finally:
        torch._dynamo.reset()
