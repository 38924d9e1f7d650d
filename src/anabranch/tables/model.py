"""A density together with the columns it is a density of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Unpack

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from anabranch.checks import positive_int, reference_tensor
from anabranch.densities import Density
from anabranch.described import Described
from anabranch.models import AnyOrder, Subset
from anabranch.queries import Answer, conditional, marginal
from anabranch.queries.sampling import Sampling
from anabranch.tables.columns.column import Float64
from anabranch.tables.encoded_density import EncodedDensity
from anabranch.tables.frame import as_table
from anabranch.tables.imputing import imputed
from anabranch.tables.new_rows import new_rows
from anabranch.tables.questions import ask_table, given_values
from anabranch.tables.schema import Schema
from anabranch.tables.scoring import SAMPLES, estimate, estimate_encoded, log_prob, log_prob_encoded, surprise
from anabranch.tables.unseen import Unseen, set_aside


class TableModel(Described):
    """A density over the columns of a table, in their own units. `fit_table` and `anabranch fit` make one.

    `anabranch.save` writes it and `anabranch.load` reads it, columns and units included.

    Args:
        schema: the columns.
        density: the density of the encoded columns, with a context of the encoded given columns if there are any.
        rows: to how many it was fitted, by which `ask` says whether what is given is like any of them; None if not known.

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

    def __init__(self, schema: Schema, density: Density, rows: int | None = None) -> None:
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
        self.rows = None if rows is None else positive_int("rows", rows)

    @property
    def encoded(self) -> EncodedDensity:
        """The density of encoded rows, and how rows reach it."""
        return EncodedDensity(self.schema, self.density)

    @property
    def unit(self) -> str:
        """The unit of `log_prob`, in words: which columns have a density, and which a probability."""
        return self.schema.unit

    def log_prob(self, table: Any, unseen: str = "error") -> Float64:
        """log p of every row, (rows,), in nats: a density in the columns' own units, a probability where they are discrete.

        Args:
            table: a data frame with the model's columns, in any order; others are ignored. With a density that takes gaps
                (`AnyOrder`) log p of a row is that of what was observed, 0 if that is nothing: the chain rule over what the
                row has, which comes near to the integral over the rest (`marginal` integrates).
            unseen: what a value that its column cannot hold is (a category or a number that was not fitted, a word among
                numbers): "error"; "null", a gap, for densities that take gaps; "-inf", in a row of probability 0.

        Raises:
            ValueError: a density of which log p is not known exactly; `estimate` takes it.
            TableError: a column is missing or holds what it cannot, or a gap where the density takes none; a row for which
                the model gives NaN.

        Warns:
            TableWarning: rows so far out that their density is below any float; their log p is -inf. Unseen values, with
                their number in each column.
        """
        return log_prob(self.encoded, *self.known(table, unseen), unseen)

    def estimate(
        self, table: Any, samples: int = SAMPLES, unseen: str = "error", seed: int | None = 0
    ) -> tuple[Float64, Float64]:
        """log p of every row and its standard error, (rows,) each, nats, in the unit of `log_prob`, whatever is known of it.

        Where it is exact the error is 0. With hidden variables (`fit_table(model="vae")`) it is the logarithm of
        a mean of weighted draws (`Density.estimate`), of a row with gaps that of what was observed.

        Args:
            table: as for `log_prob`.
            samples: draws for each row, 2 at least.
            unseen: as for `log_prob`.
            seed: of the draws; by default always the same. None: torch's global generator goes on.

        Raises:
            TableError: as for `log_prob`.

        Warns:
            TableWarning: as for `log_prob`.
        """
        samples = positive_int("samples", samples, least=2)
        return estimate(self.encoded, *self.known(table, unseen), unseen, samples, seed)

    def known(self, table: Any, unseen: str) -> tuple[pa.Table, Unseen]:
        """A table without values that its columns cannot hold, and which these were: see `log_prob`.

        Raises:
            ValueError: another word than "error", "null" or "-inf"; "null" of a density that takes no gaps.

        Warns:
            TableWarning: there are some, with their number in each column.
        """
        if unseen == "null" and not self.density.gaps:
            raise ValueError(
                f"unseen: expected 'error' or '-inf', since a {type(self.density).__name__} takes no gaps, got 'null'"
            )
        return set_aside(self.schema, as_table(table), unseen)

    def surprise(self, table: Any, unseen: str = "error") -> Float64:
        """-log p(x_i | all else that the row has) of every cell: (rows, columns), nats in the column's unit; NaN for a gap.

        Which cells of a row are unlikely, given its others. Exact for Gaussian mixtures; of `AnyOrder` it is what the
        network says of a cell given all others, which comes near to the quotient of the joint's probabilities; of others
        p(x) is divided by p of the row without the cell, an integral estimated by importance sampling, so choose the rows.

        Args:
            table: as for `log_prob`.
            unseen: as for `log_prob`; with "-inf" such a cell is infinitely surprising, and others of its row are as if it
                was a gap, or NaN where the density takes none.

        Raises:
            ValueError: another density than `AnyOrder` that is conditioned on given columns.
            TableError: as for `log_prob`.

        Warns:
            QueryWarning: integrals of few effective samples.
        """
        return surprise(self.encoded, *self.known(table, unseen), unseen)

    def ask(
        self,
        question: str,
        *,
        tolerance: float | None = None,
        samples: int = 10_000,
        seed: int | None = 0,
        **sampling: Unpack[Sampling],
    ) -> Answer:
        """Answer a question in words, such as "E[price | carat = 1, cut = Ideal]": see `anabranch.queries.grammar`.

        Values are in the columns' own units; with < and the like any number or time will do, with = only what the column can
        hold. If the model is conditioned on given columns, they must all be among what is given.

        Args:
            question: with the names of the columns.
            tolerance: largest standard error wanted, of means, probabilities and quantiles, in encoded units.
            samples: draws to begin with, where the answer takes any.
            seed: of the draws.
            sampling: `proposals`, `chains` and `moves` of `queries.conditional`, where the density has no closed form.

        Raises:
            QuestionError: it cannot be read, names an unknown column, a value that its column cannot hold, or what is
                impossible; the message shows where.

        Warns:
            QueryWarning: an answer too poor to trust; it says what to raise.

        Example:
            >>> from anabranch.densities import GaussianMixture
            >>> from anabranch.tables import Schema, TableModel
            >>> from anabranch.tables.columns import Continuous
            >>> schema = Schema([Continuous("carat", loc=1.0, scale=0.5), Continuous("price", loc=5000.0, scale=1000.0)])
            >>> model = TableModel(schema, GaussianMixture([[-1.0, -1.0], [1.0, 2.0]]))
            >>> print(model.ask("E[price | carat = 1.5]"))
            E[price | carat = 1.5]  6642.39
        """
        like = reference_tensor(self.density)
        options = {"tolerance": tolerance, "samples": samples, "seed": seed, "rows": self.rows, **sampling}
        return ask_table(self.schema, self.density, question, like, **options)

    def impute(
        self,
        table: Any,
        draws: int | None = None,
        best: bool | str = False,
        seed: int | None = None,
        unseen: str = "error",
    ) -> Any:
        """A table with its gaps filled from the model, given what each row has; what was observed stays as it is.

        Args:
            table: a data frame with the model's columns; others are kept as they are.
            draws: how many multiple imputations, each a table: all gaps of a row are drawn jointly, so that what is computed
                from each differs by as much as is not known. None for one draw, as a table by itself.
            best: True or "mean", or "median", in place of draws, for the single best of each gap: the mean or median in the
                column's own unit, of a discrete column's values the nearest to it; of categories the most probable.
            seed: makes the draws repeatable; by default torch's global generator goes on.
            unseen: "error"; or "null": a value that its column cannot hold (see `log_prob`) stays as it is, and says nothing
                of the gaps beside it.

        Returns:
            a table of the library that came (pandas, polars, pyarrow, NumPy), with its index, its types, and its columns in
            their order; or a list of as many as draws.

        Raises:
            ValueError: draws and best at once, or others than described.
            TableError: as for `log_prob`, but gaps are taken whatever the density.

        Warns:
            QueryWarning: chains that have not mixed, for densities without closed form.
        """
        return imputed(self.encoded, table, draws, best, seed, unseen)

    def marginal(self, columns: Sequence[str]) -> TableModel:
        """The model of some of the columns; it shares this one's parameters.

        Exact for Gaussian mixtures and others of closed form; otherwise samples are exact, and log p is an estimate
        (`queries.marginal`), but of `AnyOrder` exact for columns that come first in its order (`models.Subset`).

        Raises:
            ValueError: a column that is not modelled, or twice the same; a model other than of any order that is
                conditioned on given columns: `conditional` on them comes first.
        """
        numbers = self._numbers(columns)
        if isinstance(self.density, AnyOrder):
            return TableModel(self.schema.select(columns), Subset(self.density, numbers), self.rows)
        if self.schema.given:
            raise ValueError(
                f"marginal: expected a model without given columns; take conditional of {', '.join(self.schema.given)} first"
            )
        return TableModel(self.schema.select(columns), marginal(self.density, numbers), self.rows)

    def conditional(self, values: Mapping[str, Any]) -> TableModel:
        """The model of the other columns given these values; it shares this one's parameters.

        Exact for Gaussian mixtures and others of closed form; of `AnyOrder` by weighted draws where others come before these
        columns in its order (`models.Subset`); of an autoencoder by weighted draws of its hidden numbers
        (`models.DecodedDraws`), so that `estimate` has an error; otherwise sampled by Markov chains, with an estimated
        normaliser (`queries.conditional`).

        Args:
            values: by the columns' names, in their own units: {"carat": 1.0, "cut": "Ideal"}; None says nothing. If the
                model is conditioned on given columns, all of them may be here too, and the result is conditioned on none.

        Raises:
            ValueError: a column that is not modelled; none is left; values that the model calls impossible; a model other
                than of any order of which given columns are missing.
            TableError: a value that its column cannot hold.
        """
        told = {name: value for name, value in values.items() if value is not None and name not in self.schema.given}
        x = self.schema.encode_row(told)
        seen = self._numbers(list(told))
        encoded = self.encoded
        numbers = self.schema.tensor(x[None], encoded.dtype, encoded.device)[0, seen]
        rest = [name for name in self.schema.columns if name not in told]
        if not rest:
            raise ValueError(
                "values: expected some column to be left, got all of them; log_prob gives their likelihood"
            )
        some = [name for name in self.schema.given if values.get(name) is not None]
        if isinstance(self.density, AnyOrder) and not some:
            return TableModel(self.schema.select(rest), Subset(self.density, self._numbers(rest), seen, numbers))
        context = encoded.tensor(given_values(self.schema, dict(values))) if self.schema.given else None
        density = conditional(self.density, dict(zip(seen, numbers.tolist(), strict=True)), context)
        return TableModel(Schema([self.schema.column(name) for name in rest]), density)

    def log_prob_encoded(
        self, x: Float64, context: Float64 | None, numbers: NDArray[np.integer[Any]] | None = None
    ) -> Float64:
        """log p of encoded rows (rows, columns), in nats, of a density of encoded numbers.

        Args:
            x, context: the rows.
            numbers: (rows), of the rows in their table, by which errors and warnings name them; from 0 by default.

        Raises:
            TableError: a gap where the density takes none; NaN or infinity of the model, with row and column.

        Warns:
            TableWarning: rows whose log p is -inf, with the first of them and its column.
        """
        return log_prob_encoded(self.encoded, x, context, numbers)

    def estimate_encoded(
        self,
        x: Float64,
        context: Float64 | None,
        numbers: NDArray[np.integer[Any]] | None = None,
        samples: int = SAMPLES,
        seed: int | None = 0,
    ) -> tuple[Float64, Float64]:
        """`estimate` of encoded rows, of a density of encoded numbers; the arguments are those of `log_prob_encoded`."""
        return estimate_encoded(self.encoded, x, context, numbers, samples, seed)

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
        return new_rows(self.encoded, n, given, seed)

    def _numbers(self, columns: Sequence[str]) -> list[int]:
        """Where the columns of these names are."""
        unknown = [name for name in columns if name not in self.schema.columns]
        if unknown:
            have = ", ".join(map(repr, self.schema.columns))
            raise ValueError(f"columns: expected some of {have}, got {unknown[0]!r}")
        return [self.schema.columns.index(name) for name in columns]
