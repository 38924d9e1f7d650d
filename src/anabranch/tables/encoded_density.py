"""A density of encoded rows, and how rows of a table reach it: in its dtype, on its device, some at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from anabranch.checks import reference_tensor
from anabranch.densities import Density
from anabranch.tables.columns.column import Float64
from anabranch.tables.schema import Schema

# numbers in one batch, rows times columns: a model's working memory is some hundred times that
_BATCH_NUMBERS = 2**17


@dataclass(frozen=True)
class EncodedDensity:
    """A density of the rows that a schema encodes: what scores, draws and fills rows needs no more of a `TableModel`.

    Attributes:
        schema: the columns.
        density: of their encoded values, with a context of the encoded given columns if there are any.
    """

    schema: Schema
    density: Density

    def batches(
        self, x: Float64, context: Float64 | None, copies: int = 1
    ) -> Iterator[tuple[slice, Tensor, Tensor | None]]:
        """Encoded rows as tensors, few enough at a time for so many copies: which rows, they, and their contexts."""
        size = max(1, self.batch_rows // copies)
        for begin in range(0, len(x), size):
            rows = slice(begin, begin + size)
            given = None if context is None else self.tensor(context[rows])
            yield rows, self.schema.tensor(x[rows], self.dtype, self.device), given

    @property
    def batch_rows(self) -> int:
        """How many rows the density evaluates or draws at a time."""
        return max(1, min(8192, _BATCH_NUMBERS // len(self.schema.columns)))

    @property
    def dtype(self) -> torch.dtype:
        """Of the density."""
        like = reference_tensor(self.density)
        return torch.float32 if like is None else like.dtype

    @property
    def device(self) -> torch.device:
        """Of the density."""
        like = reference_tensor(self.density)
        return torch.device("cpu") if like is None else like.device

    def tensor(self, values: Float64) -> Tensor:
        """Numbers in the density's dtype, on its device."""
        with np.errstate(over="ignore"):
            return torch.from_numpy(values).to(self.dtype).to(self.device)
