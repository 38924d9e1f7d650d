"""The contract of an encoding: what X holds, as the numbers that a density is fitted to, and back."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from anabranch.described import Described
from anabranch.families import Family
from anabranch.queries.impute_any_order import Middle

Float64 = NDArray[np.float64]


class Encoding(Described, ABC):
    r"""Rows of X on one side, what a density sees of them on the other.

    .. code-block:: text

        read(X)           -> x (rows, columns), float64: a number for each value, NaN for a gap
        encode(x)         -> z (rows, numbers): what a density is fitted to
        log_det(z)        -> (rows), nats: what is added to log p(z) for log p in the columns' own units
        decode(z)         -> x
        write(x)          -> rows of the kind that X was

    so that log p(X) = log p(z) + log_det(z), a density in the columns' own units, or a probability where they are discrete.
    `Scaling` is the encoding of numbers, `SchemaEncoding` that of data frames whose columns are of any kind.
    """

    @abstractmethod
    def read(self, rows: Any) -> Float64:
        """x (rows, columns): a number for each value, NaN for a gap."""

    @abstractmethod
    def encode(self, x: Float64) -> Float64:
        """z (rows, numbers): what a density is fitted to."""

    @abstractmethod
    def log_det(self, z: Float64) -> Float64:
        """What is added to log p(z) for log p in the columns' own units, (rows), nats."""

    @abstractmethod
    def decode(self, z: Float64) -> Float64:
        """x of z: the inverse of `encode`."""

    @abstractmethod
    def write(self, x: Float64, like: Any = None, gaps: NDArray[np.bool_] | None = None) -> Any:
        """Rows of the kind that X was.

        Args:
            x: (rows, columns), without gaps.
            like: these rows with gaps, of which everything else stays as it is.
            gaps: (rows, columns), where `like` has them.
        """

    @abstractmethod
    def off_constant(self, x: Float64) -> NDArray[np.bool_]:
        """Which rows (rows) have another value in a column that never changed."""

    @abstractmethod
    def unit(self, names: Sequence[str]) -> str:
        """The unit of log p in words, for columns of these names."""

    @abstractmethod
    def families(self) -> list[Family] | None:
        """One for each column of z; None for real numbers of about mean 0 and deviation 1."""

    @abstractmethod
    def middles(self, strategy: str) -> list[Middle | None] | None:
        """What stands in gaps of each column, the "mean" or "median" in its own unit, as `best_guess` takes it."""

    def tensor(self, z: Float64) -> Tensor:
        """z in float32, for a fit."""
        return torch.from_numpy(z.astype(np.float32))
