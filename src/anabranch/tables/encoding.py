"""A table's columns as numbers, and these as tensors in which atoms stay what they are."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from anabranch.tables.columns import Column, Continuous
from anabranch.tables.columns.column import Float64
from anabranch.tables.faults import Faults
from anabranch.tables.frame import TableError
from anabranch.tables.real import not_finite
from anabranch.tables.types import flat


def encoded(parts: Sequence[Column], table: pa.Table) -> Float64:
    """Columns of a table that has them, (rows, columns), NaN for gaps.

    Raises:
        TableError: one holds what it cannot; all such columns are named.
    """
    values, faults = [], Faults()
    for part in parts:
        with faults.put_off():
            values.append(part.encode(_typed(part, table)))
    faults.raise_all()
    return np.stack(values, axis=1)


def encoded_given(parts: Sequence[Column], table: pa.Table) -> Float64:
    """Given columns of a table that has them, as contexts (rows, context size).

    Raises:
        TableError: one holds what it cannot, or a gap; all such columns are named.
    """
    pieces, faults = [], Faults()
    for part in parts:
        with faults.put_off():
            values = _typed(part, table)
            values = values.cast(pa.int8()) if _truth_as_number(part, values) else values
            z = part.encode(values)
            gaps = np.flatnonzero(np.isnan(z))
            if len(gaps):
                raise TableError(not_finite(part.name, "a gap", gaps, table.num_rows) + ", since it is given")
            pieces.append(part.context(z))
    faults.raise_all()
    return np.concatenate(pieces, axis=1)


def tensor_of(parts: Sequence[Column], x: Float64, dtype: torch.dtype, device: torch.device | None) -> Tensor:
    """Encoded rows (rows, columns) in a dtype; a value that would be rounded to an atom beside it becomes the next
    number.
    """
    with np.errstate(over="ignore"):
        result = torch.from_numpy(np.ascontiguousarray(x, dtype=np.float64)).to(dtype)
    if dtype == torch.float64:
        return result.to(device)
    for i, part in enumerate(parts):
        for code in part.atoms_encoded:
            same = result[:, i] == torch.tensor(code, dtype=dtype)
            near = same & torch.from_numpy(x[:, i] != code)
            up = torch.nextafter(result[:, i], torch.tensor(torch.inf, dtype=dtype))
            result[:, i] = torch.where(near, up, result[:, i])
    return result.to(device)


def _typed(part: Column, table: pa.Table) -> pa.Array:
    """The values of a column in one piece; of one that is nothing but gaps, gaps of its type."""
    values = flat(table.column(part.name))
    return values.cast(part.arrow_type) if pa.types.is_null(values.type) else values


def _truth_as_number(part: Column, values: pa.Array) -> bool:
    return isinstance(part, Continuous) and pa.types.is_boolean(values.type)
