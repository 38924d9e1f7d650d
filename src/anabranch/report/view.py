"""What a report looks at: rows of a table, and what the model says of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor

from anabranch.checks import reference_tensor
from anabranch.densities import Density
from anabranch.models import AnyOrder
from anabranch.queries.seeded import seeded
from anabranch.tables import Schema, TableModel
from anabranch.tables.columns.column import Float64
from anabranch.tables.fit_table import split_rows

Numbers = NDArray[np.int64]

# rows on pictures, rows whose calibration is checked, and cells of these, at most
_PICTURED, _CHECKED, _CELLS = 5_000, 2_000, 200_000
# rows that are scored, at most, to see whether they are those that the fit held out
_HELD_OUT = 100_000
# the mean log p of the held-out rows is the one that the fit reported, up to rounding
_SAME = 1e-3
# rows times columns in one batch
_BATCH = 2**17


@dataclass(frozen=True)
class View:
    """Rows of a table beside a model.

    Attributes:
        model: of the table.
        fit: the record that `anabranch fit` left in the model's file, or None.
        table: (rows), the rows that are looked at.
        numbers: (rows), which rows of the whole table they are.
        all_rows: how many that has.
        x, context: (rows, columns) and (rows, context size), encoded, NaN for gaps; no context without given columns.
        log_p: (rows), nats in the data's own units.
        held_out: (rows), which of them the fit has not seen; None if that is not known.
        seed: of everything random.
    """

    model: TableModel
    fit: Mapping[str, Any] | None
    table: pa.Table
    numbers: Numbers
    all_rows: int
    x: Float64
    context: Float64 | None
    log_p: Float64
    held_out: NDArray[np.bool_] | None
    seed: int

    @classmethod
    def of(
        cls, model: TableModel, table: pa.Table, fit: Mapping[str, Any] | None, rows: int, all_rows: int, seed: int
    ) -> View:
        """The view of a table, of `rows` of it at most, drawn at random; `all_rows` that it is itself drawn from."""
        numbers = np.arange(table.num_rows)
        if len(numbers) > rows:
            numbers = np.sort(np.random.default_rng([seed, 1]).choice(len(numbers), rows, replace=False))
        held_out = _held_out(model, table, fit) if all_rows == table.num_rows else None
        table = table.select([*model.schema.given, *model.schema.columns]).take(pa.array(numbers))
        x, context = model.schema.encode(table)
        log_p = model.log_prob_encoded(x, context) + model.schema.log_det(x)
        mask = None if held_out is None else np.isin(numbers, held_out)
        mask = mask if mask is not None and mask.any() else None
        return cls(model, fit, table, numbers, all_rows, x, context, log_p, mask, seed)

    @property
    def schema(self) -> Schema:
        """Of the model."""
        return self.model.schema

    @property
    def density(self) -> Density:
        """Of the encoded columns."""
        return self.model.density

    @property
    def any_order(self) -> AnyOrder | None:
        """The density, if it is one of any order."""
        return self.density if isinstance(self.density, AnyOrder) else None

    @property
    def gaps(self) -> NDArray[np.bool_]:
        """(rows, columns)."""
        return np.isnan(self.x)

    @property
    def pictured(self) -> Numbers:
        """The rows on pictures, by their place in the view."""
        return some_of(np.arange(len(self.x)), _PICTURED, self.seed, 2)

    @property
    def checked(self) -> Numbers:
        """The rows whose calibration is checked: held-out ones, where they are known."""
        rows = np.arange(len(self.x)) if self.held_out is None else np.flatnonzero(self.held_out)
        most = min(_CHECKED, max(100, _CELLS // len(self.schema.columns)))
        return some_of(rows, most, self.seed, 3)

    def tensor(self, rows: Numbers) -> Tensor:
        """Encoded rows in the density's dtype."""
        return as_tensor(self.model, self.x[rows])

    def contexts(self, rows: Numbers) -> Tensor | None:
        """Their contexts."""
        return (
            None if self.context is None else torch.from_numpy(self.context[rows]).to(as_tensor(self.model, self.x[:1]))
        )

    def draws(self, rows: Numbers, each: int, purpose: int) -> Float64:
        """(rows, each, columns), encoded: new rows, with the given columns of these if there are any."""
        contexts = self.contexts(rows)
        wanted = len(rows) * each
        size = max(each, _BATCH // len(self.schema.columns) // each * each)
        parts = []
        with torch.no_grad(), self.seeded(purpose):
            for begin in range(0, wanted, size):
                end = min(wanted, begin + size)
                if contexts is None:
                    drawn = self.density.sample((end - begin,))
                else:
                    drawn = self.density.sample(
                        (), contexts[begin // each : end // each].repeat_interleave(each, dim=0)
                    )
                parts.append(drawn.cpu().numpy().astype(np.float64))
        return np.concatenate(parts).reshape(len(rows), each, -1)

    def value(self, row: int, column: int) -> Any:
        """A cell as Python's own value, None for a gap."""
        return self.table.column(self.schema.columns[column])[row].as_py() if not self.gaps[row, column] else None

    @contextmanager
    def seeded(self, purpose: int) -> Iterator[None]:
        """Draws inside are those of the seed, others for each purpose."""
        number = int(np.random.SeedSequence([self.seed, purpose]).generate_state(1)[0])
        with seeded(self.density, number):
            yield


def some_of(rows: Numbers, most: int, seed: int, purpose: int) -> Numbers:
    """So many of these rows, in their order."""
    if len(rows) <= most:
        return rows
    return np.sort(np.random.default_rng([seed, purpose]).choice(rows, most, replace=False))


def as_tensor(model: TableModel, x: Float64) -> Tensor:
    """Encoded rows in the dtype and on the device of a model."""
    like = reference_tensor(model.density)
    if like is None:
        return model.schema.tensor(x, torch.float32)
    return model.schema.tensor(x, like.dtype, like.device)


def _held_out(model: TableModel, table: pa.Table, fit: Mapping[str, Any] | None) -> Numbers | None:
    """The rows that the fit held out, if this is the table that was fitted.

    The split follows from the number of rows and the seed; that it is the same table shows in the mean log-likelihood of
    those rows, which is the reported one.
    """
    if fit is None or fit["rows"]["all"] != table.num_rows or fit["scores"][0]["mean"] is None:
        return None
    _, _, test = split_rows(table.num_rows, fit["seed"])
    if len(test) != fit["rows"]["test"] or len(test) > _HELD_OUT:
        return None
    x, context = model.schema.encode(table.take(pa.array(test)))
    reported = float(fit["scores"][0]["mean"])
    with np.errstate(invalid="ignore"):
        mean = float((model.log_prob_encoded(x, context) + model.schema.log_det(x)).mean())
    return test if abs(mean - reported) <= _SAME * max(1.0, abs(reported)) else None
