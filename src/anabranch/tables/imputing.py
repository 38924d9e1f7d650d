"""Gaps of a table filled from a model of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from numpy.typing import NDArray

from anabranch.checks import one_of, positive_int, seed_number
from anabranch.draws import drawing
from anabranch.queries import impute
from anabranch.tables.best import best_rows
from anabranch.tables.columns import Column
from anabranch.tables.columns.column import Float64
from anabranch.tables.frame import TableError, as_table
from anabranch.tables.types import flat
from anabranch.tables.unseen import set_aside

# of a gap whose best value is asked for there are about so many numbers at a time
_POINTS = 8

if TYPE_CHECKING:
    from anabranch.tables.model import TableModel


def imputed(
    model: TableModel, table: Any, draws: int | None, best: bool | str, seed: int | None, unseen: str = "error"
) -> pa.Table | list[pa.Table]:
    """`TableModel.impute`."""
    if best is not False and draws is not None:
        raise ValueError(f"draws, best: expected one of both, got draws={draws} and best={best!r}")
    count = 1 if draws is None else positive_int("draws", draws)
    seed = None if seed is None else seed_number(seed)
    one_of("unseen", unseen, ("error", "null"))
    table = as_table(table)
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
    tables = [_with_gaps_filled(table, model.schema.parts, gaps, one) for one in filled]
    return tables if draws is not None else tables[0]


def _with_gaps_filled(table: pa.Table, parts: list[Column], filling: NDArray[np.bool_], filled: Float64) -> pa.Table:
    """The table with what was decoded where it is to be filled (rows, columns), everything else as it came."""
    for i, part in enumerate(parts):
        gaps = filling[:, i]
        if not gaps.any():
            continue
        place = table.column_names.index(part.name)
        kind = table.schema.field(place).type
        values = flat(table.column(place))
        drawn = part.decode(filled[:, i])
        own = part.arrow_type if pa.types.is_null(values.type) else values.type
        result = pc.if_else(pa.array(gaps), drawn.cast(own, safe=False), values.cast(own))
        if pa.types.is_dictionary(kind):
            result = _as_categories(result, table.column(place), kind)
        table = table.set_column(place, part.name, result)
    return table


def _as_categories(values: pa.Array, like: pa.ChunkedArray, kind: pa.DictionaryType) -> pa.Array:
    """Values with the categories of another column, in its order, and those behind that it lacks."""
    known = like.unify_dictionaries().chunk(0).dictionary if like.num_chunks else pa.array([], kind.value_type)
    new = pc.filter(values.unique(), pc.invert(pc.is_in(values.unique(), value_set=known)))
    levels = pa.concat_arrays([known, new.drop_null().cast(known.type)])
    index = pc.index_in(values.cast(known.type), value_set=levels)
    return pa.DictionaryArray.from_arrays(index, levels, ordered=kind.ordered)
