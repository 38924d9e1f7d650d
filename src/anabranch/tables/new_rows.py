"""New rows of a table, drawn from a model of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from anabranch.checks import positive_int, seed_number
from anabranch.draws import drawing
from anabranch.tables.columns.column import Float64
from anabranch.tables.encoded_density import EncodedDensity
from anabranch.tables.frame import TableError, as_table


def new_rows(model: EncodedDensity, n: int, given: Any, seed: int | None) -> pa.Table:
    """`TableModel.sample`."""
    n, seed = positive_int("n", n), None if seed is None else seed_number(seed)
    schema = model.schema
    seen, context = None, None
    if schema.given:
        if given is None:
            raise ValueError(
                f"given: expected a table with the column{'s' * (len(schema.given) > 1)} "
                f"{', '.join(map(repr, schema.given))}, since the model's density is conditioned on them, got none"
            )
        seen = as_table(given)
        context = np.repeat(schema.encode_given(seen), n, axis=0)
    elif given is not None:
        raise ValueError(
            "given: expected none, since the model's density is not conditioned on any column, got a table"
        )
    with drawing(seed):
        x = _draw(model, n, context)
    bad = np.flatnonzero(~np.isfinite(x).all(axis=1))
    if len(bad):
        where = "what it draws" if seen is None else f"what it draws for row {bad[0] // n} of given (rows count from 0)"
        raise TableError(
            f"the model gives {x[bad[0]].tolist()} in {where} ({len(bad)} of {len(x)} draws); "
            "the given values are far from those it was fitted to, so check or remove such rows"
        )
    drawn = schema.decode(x)
    if seen is None:
        return drawn
    index = np.repeat(np.arange(seen.num_rows), n)
    kept = [seen.column(name).take(pa.array(index)) for name in schema.given]
    return pa.Table.from_arrays([*kept, *drawn.columns], names=[*schema.given, *schema.columns])


def _draw(model: EncodedDensity, n: int, context: Float64 | None) -> Float64:
    """Encoded rows (n, columns), or one for each context, so many at a time as the model takes."""
    total = n if context is None else len(context)
    size = model.batch_rows
    drawn = []
    for begin in range(0, total, size):
        if context is None:
            batch = model.density.sample((min(size, total - begin),))
        else:
            batch = model.density.sample((), model.tensor(context[begin : begin + size]))
        drawn.append(batch.cpu().numpy().astype(np.float64))
    return np.concatenate(drawn)
