"""A case of the conformance suite, and small parts that many of them share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from anabranch.draws import drawing
from anabranch.testing.randomize import randomize


@dataclass(frozen=True)
class Case:
    """A component to check: how to build it, the size of its context, and where its data live.

    Attributes:
        build: makes it, with random weights.
        context: size of its context, or its shape; 0 for none.
        features: of one x, or its shape, for transforms and networks.
        domain: makes data from standard normal numbers, for transforms that do not take all numbers.
        compiles: whether `torch.compile(fullgraph=True)` takes it.
        truth: makes the same density, known exactly, of one of which a bound is known.
    """

    build: Callable[[], Any]
    context: int | tuple[int, ...] = 0
    features: int | tuple[int, ...] = 3
    domain: Callable[[Tensor], Tensor] = lambda x: x
    compiles: bool = True
    truth: Callable[[Any], Any] | None = None

    def make(self) -> Any:
        """Build it, with weights away from their start, the same every time."""
        with drawing(0):
            return randomize(self.build(), scale=0.2)

    def x(self, rows: int = 4) -> Tensor:
        """Some rows of data."""
        generator = torch.Generator().manual_seed(1)
        return self.domain(torch.randn(rows, *as_shape_of(self.features), generator=generator))

    def contexts(self, rows: int = 4) -> Tensor | None:
        """Some contexts."""
        generator = torch.Generator().manual_seed(2)
        return torch.randn(rows, *as_shape_of(self.context), generator=generator) if self.context else None


def as_shape_of(size: int | tuple[int, ...]) -> tuple[int, ...]:
    """A size as a shape."""
    return (size,) if isinstance(size, int) else size
