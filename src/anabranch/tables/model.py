"""A density together with the columns it is a density of."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from anabranch.checks import positive_int, reference_tensor, seed_number
from anabranch.densities import Density
from anabranch.described import Described
from anabranch.models import AnyOrder
from anabranch.tables.columns import TableWarning
from anabranch.tables.columns.column import Float64
from anabranch.tables.frame import TableError, as_table
from anabranch.tables.schema import Schema

# numbers in one batch, rows times columns: a model's working memory is some hundred times that
_BATCH_NUMBERS = 2**17


class TableModel(Described):
    """A density over the columns of a table, in their own units. `fit_table` and `anabranch fit` make one.

    `anabranch.save` writes it and `anabranch.load` reads it, columns and units included.

    Args:
        schema: the columns.
        density: the density of the encoded columns, with a context of the encoded given columns if there are any.

    Raises:
        ValueError: the density has another number of features, or of context features, than the schema has columns.

    Example:
        >>> import pyarrow, torch
        >>> import anabranch as ab
        >>> from anabranch.tables import Schema, TableModel
        >>> from anabranch.tables.columns import Continuous
        >>> schema = Schema([Continuous("height", loc=170.0, scale=10.0)])
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
        given = torch.Size([schema.context_size]) if schema.given else None
        if density.context_shape != given:
            raise ValueError(
                f"density: expected context shape {given and tuple(given)}, "
                f"got {density.context_shape and tuple(density.context_shape)}"
            )
        self.schema = schema
        self.density = density

    @property
    def unit(self) -> str:
        """The unit of `log_prob`, in words: which columns have a density, and which a probability."""
        return self.schema.unit

    def log_prob(self, table: Any) -> Float64:
        """log p of every row, (rows,), in nats: a density in the columns' own units, a probability where they are discrete.

        Args:
            table: a data frame with the model's columns, in any order; others are ignored. With a density that takes gaps
                (`AnyOrder`) log p of a row is that of what was observed, the marginal over the rest; 0 if that is nothing.

        Raises:
            TableError: a column is missing or holds what it cannot, or a gap where the density takes none; a row for which
                the model gives NaN.

        Warns:
            TableWarning: rows so far out that their density is below any float; their log p is -inf.
        """
        x, context = self.schema.encode(table)
        return self.log_prob_encoded(x, context) + self.schema.log_det(x)

    def surprise(self, table: Any) -> Float64:
        """-log p(x_i | all else that the row has) of every cell: (rows, columns), nats in the column's unit; NaN for a gap.

        Which cells of a row are unlikely, given its others. Of an `AnyOrder` density.

        Raises:
            ValueError: the density is another.
            TableError: as for `log_prob`.
        """
        density = self._any_order("surprise")
        x, context = self.schema.encode(table)
        result = np.empty_like(x)
        with torch.no_grad():
            for rows, values, given in self._batches(x, context):
                result[rows] = -density.leave_one_out(values, given).cpu().numpy()
        return result - self.schema.log_dets(x)

    def marginal(self, columns: Sequence[str]) -> TableModel:
        """The model of some of the columns, exact; it shares this one's parameters. Of an `AnyOrder` density.

        Raises:
            ValueError: the density is another; a column that is not modelled, or twice the same.
        """
        density = self._any_order("marginal")
        return TableModel(self.schema.select(columns), density.marginal(self._numbers(columns)))

    def conditional(self, values: Mapping[str, Any]) -> TableModel:
        """The model of the other columns given these values, exact, with this one's parameters. Of an `AnyOrder` density.

        Args:
            values: by the columns' names, in their own units: {"carat": 1.0, "cut": "Ideal"}; None says nothing.

        Raises:
            ValueError: the density is another; a column that is not modelled; none is left.
            TableError: a value that its column cannot hold.
        """
        density = self._any_order("conditional")
        x = self.schema.encode_row(values)
        rest = [name for name in self.schema.columns if name not in values]
        seen = self._numbers(list(values))
        told = self.schema.tensor(x[None], self._dtype, _device(self.density))[0, seen]
        return TableModel(self.schema.select(rest), density.conditional(seen, told))

    def log_prob_encoded(self, x: Float64, context: Float64 | None) -> Float64:
        """log p of encoded rows (rows, columns), in nats, of a density of encoded numbers."""
        if not self.density.gaps:
            self.schema.check_gaps(x)
        result = np.empty(len(x))
        with torch.no_grad():
            for rows, values, given in self._batches(x, context):
                result[rows] = self.density.log_prob(values, given).cpu().numpy()
        # a distance that the density's dtype cannot square overflows on the way, to NaN or to -inf: the limit is -inf
        like = reference_tensor(self.density)
        largest = np.sqrt(torch.finfo(torch.float32 if like is None else like.dtype).max) / len(self.schema.columns)
        smooth = np.array([not part.discrete for part in self.schema.parts])
        result[(smooth & (np.abs(x) > largest)).any(axis=1)] = -np.inf
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
        """New rows, with the columns' names, units and types, and no gaps.

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

    def _any_order(self, what: str) -> AnyOrder:
        if not isinstance(self.density, AnyOrder):
            raise ValueError(
                f"{what}: expected a model of any order (fit_table(model='any-order')), got a {type(self.density).__name__}"
            )
        return self.density

    def _numbers(self, columns: Sequence[str]) -> list[int]:
        """Where the columns of these names are."""
        unknown = [name for name in columns if name not in self.schema.columns]
        if unknown:
            have = ", ".join(map(repr, self.schema.columns))
            raise ValueError(f"columns: expected some of {have}, got {unknown[0]!r}")
        return [self.schema.columns.index(name) for name in columns]

    def _batches(self, x: Float64, context: Float64 | None) -> Iterator[tuple[slice, Tensor, Tensor | None]]:
        """Encoded rows as tensors, few enough at a time: which rows, they, and their contexts."""
        size = self._batch_rows()
        for begin in range(0, len(x), size):
            rows = slice(begin, begin + size)
            given = None if context is None else self._tensor(context[rows])
            yield rows, self.schema.tensor(x[rows], self._dtype, _device(self.density)), given

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

    @property
    def _dtype(self) -> torch.dtype:
        like = reference_tensor(self.density)
        return torch.float32 if like is None else like.dtype

    def _tensor(self, values: Float64) -> Tensor:
        with np.errstate(over="ignore"):
            return torch.from_numpy(values).to(self._dtype).to(_device(self.density))


def _device(density: Density) -> torch.device:
    like = reference_tensor(density)
    return torch.device("cpu") if like is None else like.device
