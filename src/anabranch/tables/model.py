"""A density together with the columns it is a density of."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from anabranch.checks import positive_int, reference_tensor, seed_number
from anabranch.densities import Density
from anabranch.described import Described
from anabranch.tables.frame import TableError, as_table
from anabranch.tables.schema import Float64, Schema, TableWarning

# numbers in one batch, rows times columns: a model's working memory is some hundred times that
_BATCH_NUMBERS = 2**17


class TableModel(Described):
    """A density over the columns of a table, in their own units. `fit_table` and `anabranch fit` make one.

    `anabranch.save` writes it and `anabranch.load` reads it, columns and units included.

    Args:
        schema: the columns.
        density: the density of the standardised columns, with a context of the standardised given columns if there are any.

    Raises:
        ValueError: the density has another number of features, or of context features, than the schema has columns.

    Example:
        >>> import pyarrow, torch
        >>> import anabranch as ab
        >>> from anabranch.tables import Schema, TableModel
        >>> schema = Schema(["height"], loc=[170.0], scale=[10.0])
        >>> model = TableModel(schema, ab.densities.Normal.standard(1))
        >>> model.log_prob(pyarrow.table({"height": [170.0]})).round(4)
        array([-3.2215])
        >>> model.sample(3, seed=0).column_names
        ['height']
    """

    def __init__(self, schema: Schema, density: Density) -> None:
        super().__init__()
        wanted = torch.Size([len(schema.columns)])
        if density.event_shape != wanted:
            raise ValueError(f"density: expected event shape {tuple(wanted)}, got {tuple(density.event_shape)}")
        given = torch.Size([len(schema.given)]) if schema.given else None
        if density.context_shape != given:
            raise ValueError(
                f"density: expected context shape {given and tuple(given)}, "
                f"got {density.context_shape and tuple(density.context_shape)}"
            )
        self.schema = schema
        self.density = density

    def log_prob(self, table: Any) -> Float64:
        """log p of every row, (rows,), in nats, of a density in the columns' own units.

        Args:
            table: a pyarrow table or a data frame with the model's columns, in any order; others are ignored.

        Raises:
            TableError: a column is missing or holds text, gaps, NaN or infinite values; a row for which the model gives NaN.

        Warns:
            TableWarning: rows so far out that their density is below any float; their log p is -inf.
        """
        x, context = self.schema.encode(table)
        return self.log_prob_encoded(x, context) + self.schema.log_det

    def log_prob_encoded(self, x: Float64, context: Float64 | None) -> Float64:
        """log p of standardised rows (rows, columns), in nats, of a density in standardised units."""
        result = np.empty(len(x))
        size = self._batch_rows()
        with torch.no_grad():
            for begin in range(0, len(x), size):
                rows = slice(begin, begin + size)
                c = None if context is None else self._tensor(context[rows])
                result[rows] = self.density.log_prob(self._tensor(x[rows]), c).cpu().numpy()
        # a distance that the density's dtype cannot square overflows on the way, to NaN or to -inf: the limit is -inf
        like = reference_tensor(self.density)
        largest = np.sqrt(torch.finfo(torch.float32 if like is None else like.dtype).max) / len(self.schema.columns)
        result[(np.abs(x) > largest).any(axis=1)] = -np.inf
        bad = np.flatnonzero(np.isnan(result) | (result == np.inf))
        if len(bad):
            raise TableError(
                f"row {bad[0]} (rows count from 0): the model gives {result[bad[0]]} there ({len(bad)} of {len(x)} rows); "
                "its values are far from those it was fitted to, so check or remove such rows"
            )
        far = np.flatnonzero(np.isneginf(result))
        if len(far):
            warnings.warn(
                f"row {far[0]} (rows count from 0) is so far from what the model was fitted to that its log-likelihood is "
                f"-inf ({len(far)} of {len(x)} rows)",
                TableWarning,
                stacklevel=3,
            )
        return result

    def sample(self, n: int, given: Any = None, seed: int | None = None) -> pa.Table:
        """New rows, with the columns' names, units and floating types (integer columns come as float64).

        Args:
            n: how many; with given columns, how many for each row of `given`.
            given: a table with the given columns; they come first in the result, as they are in `given`, and the n rows
                drawn for a row of it follow each other.
            seed: makes the draws repeatable; by default torch's global generator goes on.

        Raises:
            ValueError: given columns are needed and not there, or the reverse.
            TableError: they hold what `log_prob` does not take either, or values so far out that what the model draws there
                is not finite.
        """
        n, seed = positive_int("n", n), None if seed is None else seed_number(seed)
        seen, context = None, None
        if self.schema.given:
            if given is None:
                raise ValueError(
                    f"given: expected a table with the column{'s' * (len(self.schema.given) > 1)} "
                    f"{', '.join(map(repr, self.schema.given))}, since the model's density is conditioned on them, got none"
                )
            seen = as_table(given)
            context = np.repeat(self.schema.encode_given(seen), n, axis=0)
        elif given is not None:
            raise ValueError(
                "given: expected none, since the model's density is not conditioned on any column, got a table"
            )
        home = _device(self.density)
        with torch.random.fork_rng(devices=[home] if home.type == "cuda" else [], enabled=seed is not None):
            if seed is not None:
                torch.manual_seed(seed)
            x = self._draw(n, context)
        bad = np.flatnonzero(~np.isfinite(x).all(axis=1))
        if len(bad):
            where = (
                "what it draws" if seen is None else f"what it draws for row {bad[0] // n} of given (rows count from 0)"
            )
            raise TableError(
                f"the model gives {x[bad[0]].tolist()} in {where} ({len(bad)} of {len(x)} draws); "
                "the given values are far from those it was fitted to, so check or remove such rows"
            )
        drawn = self.schema.decode(x)
        if seen is None:
            return drawn
        index = np.repeat(np.arange(seen.num_rows), n)
        kept = [seen.column(name).take(pa.array(index)) for name in self.schema.given]
        return pa.Table.from_arrays([*kept, *drawn.columns], names=[*self.schema.given, *self.schema.columns])

    def _draw(self, n: int, context: Float64 | None) -> Float64:
        total = n if context is None else len(context)
        size = self._batch_rows()
        drawn = []
        for begin in range(0, total, size):
            if context is None:
                batch = self.density.sample((min(size, total - begin),))
            else:
                batch = self.density.sample((), self._tensor(context[begin : begin + size]))
            drawn.append(batch.cpu().numpy().astype(np.float64))
        return np.concatenate(drawn)

    def _batch_rows(self) -> int:
        return max(1, min(8192, _BATCH_NUMBERS // len(self.schema.columns)))

    def _tensor(self, values: Float64) -> Tensor:
        like = reference_tensor(self.density)
        with np.errstate(over="ignore"):
            dtype = torch.float32 if like is None else like.dtype
            return torch.from_numpy(values).to(dtype).to(_device(self.density))


def _device(density: Density) -> torch.device:
    like = reference_tensor(density)
    return torch.device("cpu") if like is None else like.device
