"""What a report looks at: rows of a table, and what the model says of them."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor

from anabranch.checks import reference_tensor
from anabranch.densities import Density
from anabranch.draws import drawing
from anabranch.models import AnyOrder
from anabranch.tables import Schema, TableModel, TableWarning
from anabranch.tables.columns.column import Float64
from anabranch.training.splitting import split_rows

Numbers = NDArray[np.int64]

# rows on pictures, rows whose calibration is checked, and cells of these, at most
_PICTURED, _CHECKED, _CELLS = 5_000, 2_000, 200_000
# rows that are scored, at most, to see whether they are those that the fit held out
_HELD_OUT = 100_000
# the mean log p of the held-out rows is the one that the fit reported, up to rounding
_SAME = 1e-3
# rows times columns in one batch
_BATCH = 2**17
# draws for each row, where log p is an estimate: as many as the fit's record is of
_SAMPLES = 1_000


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
        log_p, error: (rows) each, nats in the data's own units, and its standard error, 0 where it is exact.
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
    error: Float64
    held_out: NDArray[np.bool_] | None
    seed: int

    @classmethod
    def of(
        cls, model: TableModel, table: pa.Table, fit: Mapping[str, Any] | None, rows: int, all_rows: int, seed: int
    ) -> View:
        """The view of a table, of `rows` of it at most, drawn at random; `all_rows` that it is itself drawn from."""
        schema = model.schema
        # all of it, so that an error names the row of the table
        x, context = schema.encode(table)
        if not model.density.gaps:
            schema.check_gaps(x)
        numbers = some_of(np.arange(len(x)), rows, seed, 1)
        log_p, error = np.full(len(x), np.nan), np.zeros(len(x))

        def score(some: Numbers) -> None:
            given = None if context is None else context[some]
            log_p[some], error[some] = model.estimate_encoded(x[some], given, samples=_SAMPLES)
            log_p[some] += schema.log_det(x[some])

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", TableWarning)  # of rows that are impossible: the page says how many
            score(numbers)
            test = None if fit is None or all_rows != len(x) else _test_rows(len(x), fit)
            if test is not None:
                score(test[np.isnan(log_p[test])])
        held_out = None
        if test is not None and fit is not None and _as_reported(log_p[test], error[test], fit):
            held_out = np.isin(numbers, test)
            held_out = held_out if held_out.any() else None
        table = table.select([*schema.given, *schema.columns]).take(pa.array(numbers))
        context = None if context is None else context[numbers]
        scored = log_p[numbers], error[numbers]
        return cls(model, fit, table, numbers, all_rows, x[numbers], context, *scored, held_out, seed)

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
    def estimated(self) -> bool:
        """Whether log p is an estimate, and what it follows from a bound."""
        return self.density.likelihood != "exact"

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

    def log_prob_of_draws(self, z: Float64, context: Float64 | None) -> Float64:
        """log p of encoded draws (n, columns), nats in the data's own units, estimated as that of rows is; -inf for one
        that is not finite.

        No warning and no error: a draw that the model itself cannot score is no fault of the table.
        """
        possible = ~np.isinf(z).any(axis=1)
        result = np.full(len(z), -np.inf)
        size = max(1, _BATCH // len(self.schema.columns))
        with torch.no_grad(), self.seeded(10):
            for rows in np.array_split(np.flatnonzero(possible), max(1, -(-len(z) // size))):
                given = None if context is None else torch.from_numpy(context[rows])
                x = as_tensor(self.model, z[rows])
                log_p, _ = self.density.estimate(x, None if given is None else given.to(x), _SAMPLES)
                result[rows] = log_p.double().cpu().numpy()
        return np.nan_to_num(result + self.schema.log_det(z), nan=-np.inf, posinf=-np.inf)

    def value(self, row: int, column: int) -> Any:
        """A cell as Python's own value, None for a gap."""
        return self.table.column(self.schema.columns[column])[row].as_py() if not self.gaps[row, column] else None

    def seeded(self, purpose: int) -> AbstractContextManager[None]:
        """Draws inside are those of the seed, others for each purpose."""
        return drawing(int(np.random.SeedSequence([self.seed, purpose]).generate_state(1)[0]))


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


def _test_rows(rows: int, fit: Mapping[str, Any]) -> Numbers | None:
    """The rows that the fit held out, if it was to a table of so many rows: its split follows from that and the seed."""
    if fit["rows"]["all"] != rows:
        return None
    _, _, test = split_rows(rows, fit["seed"])
    test = test[~np.isin(test, fit.get("set_apart", []))]
    return test if len(test) == fit["rows"]["test"] and len(test) <= _HELD_OUT else None


def _as_reported(log_p: Float64, error: Float64, fit: Mapping[str, Any]) -> bool:
    """Whether the mean log-likelihood of the rows held out is the one of the record: another table's would not be."""
    reported = fit["scores"][0]["mean"]
    if reported is None:
        return False
    # both are estimates, if one is
    slack = 4 * 2**0.5 * float(np.sqrt(np.square(error).sum())) / len(error)
    return bool(abs(log_p.mean() - reported) <= _SAME * max(1.0, abs(reported)) + slack)
