"""Columns by number: which a query is about, and what was observed of others."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from anabranch.checks import instance_of, reference_tensor
from anabranch.densities import Density
from anabranch.queries.region import Interval


class Columns(Protocol):
    """Names and units of a density's columns, for questions asked in words.

    A density knows its columns by number and holds their values as it was fitted to them, standardised or otherwise encoded.

    .. code-block:: text

        names                    the names, by number
        number(name)             -> int; KeyError if there is no such column
        encode(column, value)    -> float, for a number or a word; ValueError if that can be no value of the column.
                                    Of numbers it is increasing.
        interval(column, relation, value)   -> Interval of encoded values: those whose own are = != < <= > >= the value,
                                    which but for = and != need not be one of the column's; ValueError without an order
        decode(column, x)        -> array (n) of the column's own values, for an array x (n): numbers, words, or NumPy's
                                    datetime64 or timedelta64
        levels(column)           -> the encoded values of a column of categories, None for numbers
        affine(column)           -> (loc, scale) if the column's own values are loc + scale x, otherwise None
        log_det(column, x)       -> log |dx / dvalue| at an encoded value; 0 where values have probabilities
    """

    @property
    def names(self) -> list[str]: ...

    def number(self, name: str) -> int: ...

    def encode(self, column: int, value: float | str) -> float: ...

    def interval(self, column: int, relation: str, value: float | str) -> Interval: ...

    def decode(self, column: int, x: NDArray[np.float64]) -> NDArray[Any]: ...

    def levels(self, column: int) -> list[float] | None: ...

    def affine(self, column: int) -> tuple[float, float] | None: ...

    def log_det(self, column: int, x: float) -> float: ...


class Plain:
    """Columns named as given, whose values are the density's own numbers.

    Args:
        names: one for each column.

    Raises:
        ValueError: a name twice.

    Example:
        >>> from anabranch.queries import Plain
        >>> Plain(["x", "y"]).number("y")
        1
    """

    def __init__(self, names: Iterable[str]) -> None:
        self.names = [str(name) for name in names]
        if len(set(self.names)) < len(self.names):
            raise ValueError(f"names: expected different ones, got {self.names}")

    def number(self, name: str) -> int:
        """The column of that name."""
        if name not in self.names:
            raise KeyError(name)
        return self.names.index(name)

    def encode(self, column: int, value: float | str) -> float:
        """The value itself, a number."""
        try:
            number = float(value)
        except ValueError:
            number = math.nan
        if not math.isfinite(number):
            raise ValueError(f"column {self.names[column]!r}: expected a finite number, got {value!r}")
        return number

    def interval(self, column: int, relation: str, value: float | str) -> Interval:
        """The numbers themselves."""
        return Interval.of(relation, self.encode(column, value))

    def decode(self, column: int, x: NDArray[np.float64]) -> NDArray[Any]:
        """x itself."""
        return x

    def levels(self, column: int) -> list[float] | None:
        """None: every column holds numbers."""
        return None

    def affine(self, column: int) -> tuple[float, float] | None:
        """Nothing is shifted or scaled."""
        return 0.0, 1.0

    def log_det(self, column: int, x: float) -> float:
        """0."""
        return 0.0


def check_density(density: Density) -> int:
    """How many columns a density has.

    Raises:
        ValueError: it is no density over vectors.
    """
    instance_of("density", density, Density)
    if len(density.event_shape) != 1:
        raise ValueError(f"density: expected one over vectors, got event shape {tuple(density.event_shape)}")
    return density.event_shape[0]


def read_columns(columns: int | Iterable[int], features: int) -> list[int]:
    """Numbers of columns, at least one and none twice.

    Raises:
        ValueError: they are not.
    """
    given = [columns] if isinstance(columns, (int, np.integer)) else list(columns)
    wanted = f"columns: expected different whole numbers from 0 to {features - 1}, at least one, got {given}"
    if any(isinstance(i, bool) or not isinstance(i, (int, np.integer)) for i in given):
        raise ValueError(wanted)
    chosen = [int(i) for i in given]
    if not chosen or len(set(chosen)) < len(chosen) or not all(0 <= i < features for i in chosen):
        raise ValueError(wanted)
    return chosen


def read_observed(observed: Mapping[int, Any] | None, density: Density) -> tuple[list[int], Tensor]:
    """Which columns were observed, and what in them: (observed,), in the density's dtype.

    Raises:
        ValueError: a column that does not exist; a value that is no finite number. NaN means "not observed" in
            rows with gaps, but not here: such a column is left out.
    """
    features = check_density(density)
    if observed is not None and not isinstance(observed, Mapping):
        raise ValueError(f"observed: expected a mapping from columns to values, got {type(observed).__name__}")
    items = dict(observed or {})
    columns = read_columns(items.keys(), features) if items else []
    like = reference_tensor(density)
    values = []
    for column, value in items.items():
        try:
            number = float(value)
        except (TypeError, ValueError):
            raise ValueError(f"observed: expected a number for column {column}, got {value!r}") from None
        if not math.isfinite(number):
            hint = "; leave out a column that was not observed" if math.isnan(number) else ""
            raise ValueError(f"observed: expected a finite number for column {column}, got {number}{hint}")
        values.append(number)
    return columns, tensor_like(values, like)


def tensor_like(values: Any, like: Tensor | None) -> Tensor:
    """Numbers in the dtype and on the device of `like`; torch's defaults without it."""
    if like is None:
        return torch.tensor(values, dtype=torch.get_default_dtype())
    return torch.tensor(values, dtype=like.dtype, device=like.device)


def others(columns: Iterable[int], features: int) -> list[int]:
    """All columns but these, in their order."""
    taken = set(columns)
    return [i for i in range(features) if i not in taken]


def pairs(columns: Iterable[int], values: Tensor) -> str:
    """What was observed, for messages."""
    return ", ".join(f"{value:g} in column {i}" for i, value in zip(columns, values.tolist(), strict=True))
