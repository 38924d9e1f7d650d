"""Rows and cells scored by the model of a table: log p, and how surprising a cell is beside the others of its row."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from anabranch.draws import drawing
from anabranch.queries import leave_one_out
from anabranch.tables.columns import TableWarning
from anabranch.tables.columns.column import Float64
from anabranch.tables.encoded_density import EncodedDensity
from anabranch.tables.frame import TableError
from anabranch.tables.unseen import Unseen

# encoded values have deviation 1 or about
_FAR = 10.0


# draws of an estimate for each row
SAMPLES = 1000
# standard errors above which few draws outweigh the others, and the share of rows from which on that is worth a warning
_ROUGH, _ROUGH_SHARE = 0.3, 0.1


def log_prob(model: EncodedDensity, table: pa.Table, new: Unseen, unseen: str) -> Float64:
    """`TableModel.log_prob` of a table whose unseen values were set aside."""
    expect_exact(model)
    return estimate(model, table, new, unseen, SAMPLES, 0)[0]


def estimate(
    model: EncodedDensity, table: pa.Table, new: Unseen, unseen: str, samples: int, seed: int | None
) -> tuple[Float64, Float64]:
    """`TableModel.estimate` of a table whose unseen values were set aside."""
    x, context = model.schema.encode(table)
    scored = ~new.any_in_row if unseen == "-inf" else np.ones(len(x), dtype=bool)
    result, error = np.full(len(x), -np.inf), np.zeros(len(x))
    numbers = np.flatnonzero(scored)
    x, context = x[scored], None if context is None else context[scored]
    log_p, error[scored] = estimate_encoded(model, x, context, numbers, samples, seed)
    result[scored] = log_p + model.schema.log_det(x)
    return result, error


def surprise(model: EncodedDensity, table: pa.Table, new: Unseen, unseen: str) -> Float64:
    """`TableModel.surprise` of a table whose unseen values were set aside."""
    expect_exact(model)
    x, context = model.schema.encode(table)
    known = np.ones(len(x), dtype=bool) if model.density.gaps else ~new.any_in_row
    if not model.density.gaps:
        model.schema.check_gaps(x[known])
    result = np.full_like(x, np.nan)
    numbers = np.flatnonzero(known)
    with torch.no_grad():
        for rows, values, given in model.batches(x[numbers], None if context is None else context[numbers]):
            result[numbers[rows]] = -leave_one_out(model.density, values, given).value.cpu().numpy()
    result = result - model.schema.log_dets(x)
    result[new.cells(model.schema.columns) & (unseen == "-inf")] = np.inf
    return result


def log_prob_encoded(
    model: EncodedDensity, x: Float64, context: Float64 | None, numbers: NDArray[np.integer[Any]] | None
) -> Float64:
    """`TableModel.log_prob_encoded`."""
    expect_exact(model)
    return estimate_encoded(model, x, context, numbers, SAMPLES, 0)[0]


def estimate_encoded(
    model: EncodedDensity,
    x: Float64,
    context: Float64 | None,
    numbers: NDArray[np.integer[Any]] | None,
    samples: int,
    seed: int | None,
) -> tuple[Float64, Float64]:
    """`TableModel.estimate_encoded`."""
    numbers = np.arange(len(x)) if numbers is None else numbers
    if not model.density.gaps:
        model.schema.check_gaps(x)
    result, error = np.empty(len(x)), np.zeros(len(x))
    with torch.no_grad(), drawing(seed):
        for rows, values, given in model.batches(x, context):
            log_p, off = model.density.estimate(values, given, samples)
            result[rows], error[rows] = log_p.cpu().numpy(), off.cpu().numpy()
    # a distance that the density's dtype cannot square overflows on the way, to NaN or to -inf: the limit is -inf
    result[model.schema.beyond(x, model.dtype).any(axis=1)] = -np.inf
    bad = np.flatnonzero(np.isnan(result) | (result == np.inf))
    if len(bad):
        raise TableError(
            f"row {numbers[bad[0]]} (rows count from 0): the model gives {result[bad[0]]} there ({len(bad)} of {len(x)} "
            f"rows); its values are far from those it was fitted to{_furthest(model, x, context, bad[0])}, so check or "
            "remove such rows"
        )
    far = np.flatnonzero(np.isneginf(result))
    if len(far):
        warnings.warn(
            f"row {numbers[far[0]]} (rows count from 0) is so far from what the model was fitted to that its "
            f"log-likelihood is -inf ({len(far)} of {len(x)} rows){_furthest(model, x, context, far[0])}",
            TableWarning,
            stacklevel=4,
        )
    rough = np.flatnonzero(error > _ROUGH)
    if len(rough) > _ROUGH_SHARE * len(x):
        warnings.warn(
            f"the standard error of log p is above {_ROUGH} at {len(rough)} of {len(x)} rows, first row {numbers[rough[0]]} "
            f"(rows count from 0): a few of the {samples} draws outweigh the others, and log p may be nats too "
            "low; raise samples",
            TableWarning,
            stacklevel=4,
        )
    return result, error


def expect_exact(model: EncodedDensity) -> None:
    """Raise ValueError for a density of which only a bound, or an estimate, is known."""
    if model.density.likelihood != "exact":
        raise ValueError(
            f"log_prob: expected a model whose log p is exact, got a {type(model.density).__name__}, of which "
            "it is estimated; TableModel.estimate and 'anabranch score' give the estimate with its standard error"
        )


def _furthest(model: EncodedDensity, x: Float64, context: Float64 | None, row: int) -> str:
    """Which column of an encoded row is furthest out, with its value; nothing where none is far."""
    parts = [*model.schema.parts, *model.schema.given_parts]
    z = x[row] if context is None else np.r_[x[row], model.schema.from_context(context[row : row + 1])[0]]
    levels = np.array([len(getattr(part, "levels", ())) > 0 for part in parts])
    atoms = np.array([bool(np.isin(value, part.atoms_encoded)) for value, part in zip(z, parts, strict=True)])
    distance = np.where(levels | atoms | np.isnan(z), 0.0, np.abs(z))
    worst = int(distance.argmax())
    if not distance[worst] > _FAR:
        return ""
    value = parts[worst].decode(z[worst : worst + 1])[0]
    return f", furthest in column {parts[worst].name!r}, {value}"
