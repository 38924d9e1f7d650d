"""Gaps of a table filled from a model of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from anabranch.checks import one_of, positive_int, seed_number
from anabranch.draws import drawing
from anabranch.queries import impute
from anabranch.tables.best import best_rows
from anabranch.tables.columns import Column
from anabranch.tables.columns.column import Float64
from anabranch.tables.encoded_density import EncodedDensity
from anabranch.tables.frame import TableError, as_table
from anabranch.tables.returned import Filling, with_gaps_filled
from anabranch.tables.unseen import set_aside

# a model evaluates about so many numbers at a time to choose the best value of one gap
_POINTS = 8


def imputed(
    model: EncodedDensity, frame: Any, draws: int | None, best: bool | str, seed: int | None, unseen: str = "error"
) -> Any:
    """`TableModel.impute`."""
    if best is not False and draws is not None:
        raise ValueError(f"draws, best: expected one of both, got draws={draws} and best={best!r}")
    count = 1 if draws is None else positive_int("draws", draws)
    seed = None if seed is None else seed_number(seed)
    one_of("unseen", unseen, ("error", "null"))
    table = as_table(frame)
    known, new = set_aside(model.schema, table, unseen)
    x, context = model.schema.encode(known)
    kept = new.cells(model.schema.columns)
    filled = np.repeat(x[None], count, axis=0)
    gappy = np.flatnonzero((np.isnan(x) & ~kept).any(axis=1))
    with drawing(seed):
        some = None if context is None else context[gappy]
        for rows, z, given in model.batches(x[gappy], some, count if best is False else _POINTS):
            far = torch.isinf(z).nonzero()
            if len(far):
                row, column = int(gappy[rows][far[0, 0]]), model.schema.columns[int(far[0, 1])]
                raise TableError(
                    f"column {column!r}: expected a value that the model's {model.dtype} holds, got "
                    f"{table.column(column)[row]} in row {row} (rows count from 0); correct it, or leave a gap"
                )
            if best is False:
                filled[:, gappy[rows]] = impute(model.density, z, draws=count, context=given).cpu().numpy()
            else:
                filled[0, gappy[rows]] = best_rows(model.density, model.schema.parts, z, given, best)
    gaps = np.isnan(x) & ~kept
    frames = [with_gaps_filled(frame, _fillings(model.schema.parts, gaps, one)) for one in filled]
    return frames if draws is not None else frames[0]


def _fillings(parts: list[Column], filling: NDArray[np.bool_], filled: Float64) -> dict[str, Filling]:
    """For the columns that have cells to fill (rows, columns), where these are, and the values that were decoded."""
    result = {}
    for i, part in enumerate(parts):
        gaps = filling[:, i]
        if gaps.any():
            result[part.name] = gaps, part.decode(filled[gaps, i])
    return result
