"""The rows of a table that surprise a model most, and the columns that make them so."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from anabranch.checks import positive_int
from anabranch.models import AnyOrder
from anabranch.tables.columns import TableWarning
from anabranch.tables.columns.column import Float64
from anabranch.tables.frame import as_table
from anabranch.tables.model import TableModel

# rows by which to say what is usual in a column: of a model with and without a formula for it
_USUAL, _USUAL_ESTIMATED = 2_000, 100


@dataclass(frozen=True)
class Cell:
    """A cell of a surprising row.

    Attributes:
        column: its column.
        value: what it holds.
        excess: -log p(value | rest of the row), nats above what is usual in the column.
    """

    column: str
    value: Any
    excess: float


@dataclass(frozen=True)
class Surprise:
    """A surprising row.

    Attributes:
        row: its number, from 0.
        log_likelihood: log p of it, nats, in the columns' own units.
        excess: -log p, nats above what is usual for a row that has values in the same columns.
        cells: the cells that make it so, the most surprising first; those above what is usual alone.
    """

    row: int
    log_likelihood: float
    excess: float
    cells: tuple[Cell, ...]


def detect(
    model: TableModel, table: Any, top: int = 20, columns: int = 3, seed: int = 0, unseen: str = "error"
) -> list[Surprise]:
    r"""Rows by how unlikely they are, each with the cells that are unlikely given the rest of it.

    Rows are ranked by -log p(row). Where rows have gaps that is compared with what is usual for the columns that they have,

    .. math:: -\log p(x) - \sum_{i\ \text{observed}} u_i,

    with u_i the mean of column i's term of the chain rule, or a row that has little would always seem likely. Cells are
    judged by -log p(x_i | rest), less its mean over the column. Both means are of 2,000 rows of the table, or of 100 where
    p(x_i | rest) is an estimate. Differences do not depend on units.

    Args:
        model: the model.
        table: a data frame with its columns.
        top: how many rows.
        columns: how many cells of each, at most.
        seed: of the rows by which the usual is told.
        unseen: what a value that its column cannot hold is, as for `TableModel.log_prob`; with "-inf" its row is of infinite
            surprise, and so comes first.

    Raises:
        ValueError: `TableModel.surprise`.
        TableError: a table that the model does not take.
    """
    top, columns = positive_int("top", top), positive_int("columns", columns)
    table = as_table(table)
    own_table = table
    table, new = model.known(table, unseen)
    x, context = model.schema.encode(table)
    impossible = new.any_in_row & (unseen == "-inf")
    log_p = np.full(len(x), -np.inf)
    seen = np.flatnonzero(~impossible)
    if len(seen):
        log_p[seen] = model.log_prob_encoded(x[seen], None if context is None else context[seen], seen)
        log_p[seen] += model.schema.log_det(x[seen])
    names = model.schema.columns
    exact = isinstance(model.density, AnyOrder)
    some = seen[np.random.default_rng(seed).permutation(len(seen))[: _USUAL if exact else _USUAL_ESTIMATED]]
    excess = excess_of_rows(model, x, context, log_p, some)
    chosen = np.argsort(-excess, kind="stable")[:top]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TableWarning)  # said of the whole table already
        cells = model.surprise(own_table.take(pa.array(np.concatenate([chosen, some]))), unseen)
    own, others = cells[: len(chosen)], cells[len(chosen) :]
    counted = np.isfinite(others)
    usual = np.where(counted, others, 0.0).sum(axis=0) / np.maximum(1, counted.sum(axis=0))
    with np.errstate(invalid="ignore"):
        above = own - usual
    found = []
    for row, line in zip(chosen.tolist(), above, strict=True):
        order = [i for i in np.argsort(-np.nan_to_num(line, nan=-np.inf), kind="stable")[:columns] if line[i] > 0]
        worst = tuple(Cell(names[i], _value(own_table.column(names[i])[row]), float(line[i])) for i in order)
        found.append(Surprise(row, float(log_p[row]), float(excess[row]), worst))
    return found


def _value(scalar: pa.Scalar) -> Any:
    """A value as it was written: a float of 32 bits has seven digits."""
    value = scalar.as_py()
    return float(str(np.float32(value))) if value is not None and pa.types.is_float32(scalar.type) else value


def excess_of_rows(
    model: TableModel, x: Float64, context: Float64 | None, log_p: Float64, some: NDArray[np.integer[Any]]
) -> Float64:
    """-log p of encoded rows (rows, columns), less what is usual for rows that have the same columns: (rows,), nats.

    Args:
        model: the model.
        x, context: the rows, NaN for gaps.
        log_p: of the rows, in own units.
        some: numbers of the rows by which the usual is told.
    """
    observed = ~np.isnan(x)
    if observed.all() or not isinstance(model.density, AnyOrder):
        finite = np.isfinite(log_p[some])
        return -log_p + (float(log_p[some][finite].mean()) if finite.any() else 0.0)
    terms = np.empty((len(some), x.shape[1]))
    own = None if context is None else context[some]
    with torch.no_grad():
        for rows, z, given in model.encoded.batches(x[some], own):
            terms[rows] = model.density.terms(z, context=given).double().cpu().numpy()
    terms += model.schema.log_dets(x[some])
    seen = observed[some] & np.isfinite(terms)
    means = np.where(seen, terms, 0.0).sum(axis=0) / np.maximum(1, seen.sum(axis=0))
    return np.asarray(observed @ means - log_p)
