"""The contract of a column of a table."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from anabranch.described import Described
from anabranch.families import Family
from anabranch.tables.columns.written import read_value
from anabranch.tables.frame import TableError
from anabranch.tables.types import type_of

Float64 = NDArray[np.float64]
Rows = NDArray[np.integer[Any]]


class TableWarning(UserWarning):
    """Something about a table for which its likelihoods should be read with caution."""


class Column(Described, ABC):
    r"""One column of a table: values in the owner's type and unit on one side, one float64 number a row on the other.

    .. code-block:: text

        encode(values)   -> (rows), float64; NaN for a gap          values: an Arrow array, gaps null or NaN
        decode(z)        -> an Arrow array of the column's type      the inverse, NaN becomes null
        log_det(z)       -> (rows), nats: log |dz/dx| where x has a density, 0 where it has a probability, or is a gap
        family()         -> the `Family` of z, for a model of the column
        context(z)       -> (rows, context_size): what a density is conditioned on, if the column is given
        read(value)      -> an Arrow array of one, for a value as people write it
        cut(value, included)   -> z and whether it is included: what is at most (or below) the value is so in z too

    so that log p(x) = log p(z) + log_det(z) is a density in the column's own unit, or a probability. Where x is discrete
    decode(encode(x)) is x bit for bit; where it is continuous, up to the rounding of float64 at the size of its location.

    To write your own: call `super().__init__(name, type)` and define the rest; `infer` makes a column of data.

    Attributes:
        kind: what it is, in a word.
        discrete: whether every value has a probability.

    Args:
        name: of the column.
        type: the Arrow type that `decode` gives back, by its name.
    """

    kind: ClassVar[str]
    discrete: bool = False
    context_size: int = 1

    def __init__(self, name: str, type: str) -> None:
        super().__init__()
        self.name = str(name)
        self.type_name = type
        self.arrow_type: pa.DataType = type_of(type)

    @classmethod
    @abstractmethod
    def infer(cls, name: str, values: pa.Array, rows: Rows | None = None) -> Self:
        """The column of some values: what can be is read off all of them, statistics off `rows`, by default all.

        Raises:
            TableError: they are no such column; it names the column and the row.
        """

    @abstractmethod
    def encode(self, values: pa.Array) -> Float64: ...

    @abstractmethod
    def decode(self, z: Float64) -> pa.Array: ...

    @abstractmethod
    def log_det(self, z: Float64) -> Float64: ...

    @abstractmethod
    def family(self) -> Family: ...

    @property
    @abstractmethod
    def description(self) -> str:
        """What it knows of its values, in a few words."""

    @property
    def atoms_encoded(self) -> Float64:
        """Encoded values that have a probability beside a density; float32 holds them exactly."""
        return np.empty(0)

    @property
    def unit(self) -> str:
        """Whether log p of it is of a density or of a probability."""
        return f"probability of {self.name}" if self.discrete else f"density in {self.name}"

    def read(self, value: Any) -> pa.Array:
        """One value, of Python or in words ("12.5", "Ideal", "2024-05-17", "true"), as an Arrow array of one.

        Raises:
            TableError: text that is no value of the column's type.
        """
        return read_value(self.name, value, self.arrow_type)

    def cut(self, value: Any, included: bool) -> tuple[float, bool]:
        r"""Where z divides the column's values at one that need not be among them:

        .. math:: x \le v \iff z \le c, \qquad \text{or with} < \text{in place of the second} \le \text{if it says so.}

        Args:
            value: v, as for `read`.
            included: whether x = v is on the lower side.

        Returns:
            c, minus or plus infinity beyond all values, and whether z = c is on the lower side.

        Raises:
            TableError: the column's values have no order, or v is no number or time.
        """
        raise TableError(f"column {self.name!r} holds categories, which have no order; ask for = or !=")

    def context(self, z: Float64) -> Float64:
        """(rows, context_size)."""
        return z[:, None]

    def from_context(self, context: Float64) -> Float64:
        """z of what `context` gave."""
        return context[:, 0]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r}: {self.description})"
