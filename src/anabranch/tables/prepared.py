"""A table made ready for a fit: its schema, its encoded rows, and which of them are fitted and which are held out."""

from __future__ import annotations

import warnings
from collections.abc import Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor

from anabranch.checks import read_tensor
from anabranch.tables.architecture import MIXED
from anabranch.tables.columns import Categorical, Column, TableWarning, Time
from anabranch.tables.columns.apart import FREQUENT
from anabranch.tables.columns.column import Float64
from anabranch.tables.frame import TableError, as_table
from anabranch.tables.schema import Schema
from anabranch.tables.stream import TableStream
from anabranch.tables.types import flat, is_number
from anabranch.tables.wild import Usual, warning_of
from anabranch.training.splitting import split_rows

Index = NDArray[np.int64]

# 80 % to fit, 10 % to stop by, 10 % to report on: below this, the last two say nothing
_LEAST_ROWS = 50
# further out, in standard deviations, float32 is about to lose the square
_FARTHEST = 1e15
# rows of a stream that are held out for each of the two purposes, at most
_HELD_OUT = 10_000


@dataclass(frozen=True)
class Prepared:
    """A table made ready for a fit.

    Attributes:
        schema: of its columns.
        model: "any-order", "depth", "flow" or "vae", chosen where nothing was said.
        table: as Arrow; of a stream its sample.
        stream: that is fitted, or None.
        x: encoded rows (n, D).
        context: encoded given columns (n, c), or None.
        split: training, validation and test rows among these, without those set apart.
        apart: rows with wild values, by their numbers in the data, -1 where that is not known.
        numbers: of all rows in the data, likewise.
        usual: between which numbers values are usual; None of a table of `mixed` columns.
        rows: in the data.
        fitted: of these.
    """

    schema: Schema
    model: str
    table: pa.Table
    stream: TableStream | None
    x: Float64
    context: Float64 | None
    split: tuple[Index, Index, Index]
    apart: list[int]
    numbers: Index
    usual: Usual | None
    rows: int
    fitted: int

    @property
    def mixed(self) -> bool:
        """Whether columns of all kinds are modelled, each in its own unit."""
        return self.model in MIXED

    def tensors(self, index: Index, like: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Some of the encoded rows, and their contexts, in the dtype of `like`, or in PyTorch's default."""
        x = self.schema.tensor(self.x[index], torch.get_default_dtype() if like is None else like.dtype)
        return x, None if self.context is None else read_tensor("context", self.context[index], like)


def prepare(
    table: Any,
    columns: Sequence[str] | None,
    given: Sequence[str],
    kinds: Mapping[str, str | Column] | None,
    model: str | None,
    seed: int,
) -> Prepared:
    """Read a table, split its rows, and encode them by what the training rows say of the columns; as `fit_table` states.

    Raises:
        ValueError: options that are not as described.
        TableError: a table that cannot be fitted; it names the column and the row.

    Warns:
        TableWarning: rows that are set apart; columns whose likelihoods can grow without bound.
    """
    stream = table if isinstance(table, TableStream) else None
    rows = table.rows if isinstance(table, TableStream) else (table := as_table(table)).num_rows
    _check_rows(rows, _LEAST_ROWS, "fit on 80 % of them and judge on the rest")
    if stream is None:
        numbers = np.arange(rows)
        train, validate, test = split_rows(rows, seed)
    else:
        used = None if columns is None else [*columns, *(name for name in given if name not in columns)]
        table, numbers = stream.sample(seed, None if used is None else _present(stream, used))
        train, validate, test = split_rows(len(numbers), seed)
        validate, test = validate[:_HELD_OUT], test[:_HELD_OUT]
    with _sampled(stream):
        schema, model = _schema(table, columns, given, train, kinds, model)
        x, context = schema.encode(table)
    numbers = np.r_[numbers, np.full(len(x) - len(numbers), -1)]
    usual, wild = _wild(schema, x, context, model in MIXED)
    (train, validate, test), apart = _set_apart(schema, (x, context), wild, (train, validate, test), numbers)
    fitted = len(train) if stream is None else rows - len(validate) - len(test)
    if model not in MIXED:
        _check_rows(
            table.num_rows, 2 * (len(schema.columns) + len(schema.given)), "estimate the covariance of so many columns"
        )
        counted = np.r_[train, validate, test]
        _check_distances(schema, x[counted], None if context is None else context[counted], numbers[counted])
        _warn_of_linear_dependence(schema, x[train])
    split = train, validate, test
    return Prepared(schema, model, table, stream, x, context, split, apart, numbers, usual, rows, fitted)


@contextmanager
def _sampled(stream: TableStream | None) -> Iterator[None]:
    """What is wrong with a row of a stream's sample is not said as if it were the row of the file."""
    try:
        yield
    except TableError as error:
        if stream is None:
            raise
        raise TableError(f"{stream.path}, of which rows in random order were read: {error}") from error


def _wild(schema: Schema, x: Float64, context: Float64 | None, mixed: bool) -> tuple[Usual | None, NDArray[np.bool_]]:
    """What is usual among columns of numbers, and which encoded values (rows, columns) are wild; of others, those so far out
    that the density cannot tell how far.
    """
    if mixed:
        given = np.zeros((len(x), len(schema.given)), dtype=bool)
        return None, np.concatenate([schema.beyond(x, torch.get_default_dtype()), given], axis=1)
    both = x if context is None else np.concatenate([x, context], axis=1)
    usual = Usual.of(both)
    return usual, usual.wild(both)


def _set_apart(
    schema: Schema,
    encoded: tuple[Float64, Float64 | None],
    wild: NDArray[np.bool_],
    split: tuple[NDArray[np.int64], ...],
    numbers: NDArray[np.int64],
) -> tuple[list[NDArray[np.int64]], list[int]]:
    """Training, validation and test rows without those that hold a wild value; and these, by their numbers in the data, -1
    where that is not known.
    """
    apart = np.asarray(wild.any(axis=1))
    if apart.any():
        some = np.flatnonzero(apart)
        x, context = (None if part is None else part[some] for part in encoded)
        table = schema.decode(np.empty((0, 0)) if x is None else x, context)
        names = [*schema.columns, *schema.given]
        values = np.column_stack([_as_floats(table.column(name)) for name in names])
        follows = "such rows are set apart: they are neither fitted nor counted in the report"
        warnings.warn(warning_of(names, values, wild[some], numbers[some], follows), TableWarning, stacklevel=4)
    rows = [part[~apart[part]] for part in split]
    return rows, [int(numbers[row]) for part in split for row in part[apart[part]]]


def _as_floats(values: pa.ChunkedArray) -> Float64:
    """The numbers of a column, for print; NaN of others, of which none is wild."""
    if not is_number(values.type):
        return np.full(len(values), np.nan)
    return np.asarray(values.cast(pa.float64(), safe=False).to_numpy(), dtype=np.float64)


def _check_rows(rows: int, least: int, purpose: str) -> None:
    if rows < least:
        raise TableError(f"the table has {rows} rows, and it takes at least {least} to {purpose}; add rows")


def _check_distances(schema: Schema, x: Float64, context: Float64 | None, numbers: NDArray[np.int64]) -> None:
    """A value the training rows have nothing like would overflow, in a row that was drawn for validation or test."""
    for names, values in ((schema.columns, x), (schema.given, context)):
        if values is None:
            continue
        far = np.argwhere(~(np.abs(values) <= _FARTHEST))
        if len(far):
            row, column = far[0]
            raise TableError(
                f"column {names[column]!r}: the value in row {numbers[row]} (rows count from 0) is "
                f"{abs(values[row, column]):.1g} standard deviations from the others; correct or remove that row"
            )


def _warn_of_linear_dependence(schema: Schema, x: Float64) -> None:
    """Columns that determine each other leave no volume, and a density over no volume is infinite."""
    if len(schema.columns) < 2:
        return
    values, vectors = np.linalg.eigh(np.cov(x, rowvar=False))
    if values[0] < 1e-9 * values[-1]:
        involved = [name for name, weight in zip(schema.columns, vectors[:, 0], strict=True) if abs(weight) > 0.05]
        warnings.warn(
            f"columns {', '.join(map(repr, involved))} are a linear function of each other; a density can grow there "
            "without bound, so its log-likelihood means little: leave one of them out",
            TableWarning,
            stacklevel=4,
        )


def _schema(
    table: pa.Table,
    columns: Sequence[str] | None,
    given: Sequence[str],
    train: NDArray[np.int64],
    kinds: Mapping[str, str | Column] | None,
    model: str | None,
) -> tuple[Schema, str]:
    """The schema that the model takes, and the model, which is for the table to say if the user does not."""
    if model in ("depth", "flow"):
        if kinds:
            raise ValueError(
                f"kinds: expected none with model={model!r}, which takes every column as continuous, got some"
            )
        return Schema.standardised(table, columns, given, rows=train), model
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        schema = Schema.infer(table, columns, given, rows=train, kinds=kinds)
    _warn_of_identifiers(schema, table, kinds or ())
    if model is None and not kinds and not _discrete(schema, table) and not _gaps(schema, table):
        numbers = all(not isinstance(part, Categorical) for part in schema.given_parts)
        times = any(isinstance(part, Time) for part in schema.given_parts)
        if numbers and not times:
            return Schema.standardised(table, columns, given, rows=train), "depth"
    for one in caught:  # of the schema that is taken
        warnings.warn(one.message, one.category, stacklevel=4)
    return schema, "any-order" if model is None else model


def _warn_of_identifiers(schema: Schema, table: pa.Table, declared: Container[str]) -> None:
    """Categories of which most rows have one of their own tell nothing of other rows. What was declared is left alone."""
    for part in (*schema.parts, *schema.given_parts):
        if not isinstance(part, Categorical) or part.name in declared:
            continue
        levels = part.encode(flat(table.column(part.name)))
        levels = levels[~np.isnan(levels)]
        alone = int((np.unique(levels, return_counts=True)[1] == 1).sum())
        if alone > max(20, len(levels) / 2):
            warnings.warn(
                f"column {part.name!r}: {alone:,} of {len(levels):,} rows have a value that no other row has; if it is an "
                "identifier, leave it out (columns=, --columns), for it tells nothing of other rows",
                TableWarning,
                stacklevel=5,
            )


def _discrete(schema: Schema, table: pa.Table) -> bool:
    """Whether some value of a modelled column has a probability that means something: not one that is rare and far out."""
    for part in schema.parts:
        if part.discrete:
            return True
        if len(part.atoms_encoded):
            z = part.encode(flat(table.column(part.name)))
            if any(int((z == code).sum()) >= FREQUENT for code in part.atoms_encoded):
                return True
    return False


def _present(stream: TableStream, names: Sequence[str]) -> list[str]:
    """The columns among those asked for that the stream has; the schema says which it lacks."""
    return [name for name in names if name in stream.column_names] or stream.column_names


def _gaps(schema: Schema, table: pa.Table) -> bool:
    return any(bool(np.isnan(part.encode(flat(table.column(part.name)))).any()) for part in schema.parts)
