"""The rows of a table that surprise a model most, and the columns that make them so."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from anabranch.checks import positive_int
from anabranch.models import AnyOrder
from anabranch.tables.columns.column import Float64
from anabranch.tables.frame import as_table

if TYPE_CHECKING:
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


def detect(model: TableModel, table: Any, top: int = 20, columns: int = 3, seed: int = 0) -> list[Surprise]:
    r"""Rows by how unlikely they are, each with the cells that are unlikely given the rest of it.

    Rows are ranked by -log p(row). Where rows have gaps it is compared with what is usual for those columns,

    .. math:: -\log p(x) - \sum_{i\ \text{observed}} u_i,

    with u by least squares over the table's rows, or a row that has little would always seem likely. Cells are judged by
    -log p(x_i | rest), less its mean over the column (of 2,000 rows of the table, or of 100 where p(x_i | rest) is an
    estimate). Differences do not depend on units.

    Args:
        model: the model.
        table: a data frame with its columns.
        top: how many rows.
        columns: how many cells of each, at most.
        seed: of the rows by which the usual is told.

    Raises:
        ValueError: `TableModel.surprise`.
        TableError: a table that the model does not take.
    """
    top, columns = positive_int("top", top), positive_int("columns", columns)
    table = as_table(table)
    log_p = model.log_prob(table)
    names = model.schema.columns
    observed = ~np.isnan(model.schema.encode(table)[0])
    excess = -log_p - _usual_of_rows(-log_p, observed)
    chosen = np.argsort(-excess, kind="stable")[:top]
    exact = isinstance(model.density, AnyOrder)
    some = np.random.default_rng(seed).permutation(len(log_p))[: _USUAL if exact else _USUAL_ESTIMATED]
    cells = model.surprise(table.take(pa.array(np.concatenate([chosen, some]))))
    own, others = cells[: len(chosen)], cells[len(chosen) :]
    counted = np.isfinite(others)
    usual = np.where(counted, others, 0.0).sum(axis=0) / np.maximum(1, counted.sum(axis=0))
    above = own - usual
    found = []
    for row, line in zip(chosen.tolist(), above, strict=True):
        order = [i for i in np.argsort(-np.nan_to_num(line, nan=-np.inf), kind="stable")[:columns] if line[i] > 0]
        worst = tuple(Cell(names[i], table.column(names[i])[row].as_py(), float(line[i])) for i in order)
        found.append(Surprise(row, float(log_p[row]), float(excess[row]), worst))
    return found


def _usual_of_rows(surprise: Float64, observed: NDArray[np.bool_]) -> Float64:
    """What -log p usually is for rows that have values in the same columns, (rows,)."""
    finite = np.isfinite(surprise)
    if not finite.any():
        return np.zeros_like(surprise)
    if observed.all():
        return np.full_like(surprise, surprise[finite].mean())
    design = np.concatenate([observed, np.ones((len(observed), 1), dtype=bool)], axis=1).astype(np.float64)
    weights = np.linalg.lstsq(design[finite], surprise[finite], rcond=None)[0]
    return np.asarray(design @ weights)
