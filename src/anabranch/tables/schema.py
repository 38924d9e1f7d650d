"""What the columns of a table are, and how they become numbers and come back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from anabranch.checks import instance_of
from anabranch.described import Described
from anabranch.families import Family
from anabranch.tables.choice import check_present
from anabranch.tables.columns import Column
from anabranch.tables.columns.column import Float64
from anabranch.tables.columns_of import inferred, standardised
from anabranch.tables.encoding import encoded, encoded_given, tensor_of
from anabranch.tables.faults import Faults
from anabranch.tables.frame import TableError, as_table
from anabranch.tables.real import not_finite
from anabranch.tables.schema_text import as_text, rows_of, units_of


class Schema(Described):
    r"""The columns of a table as numbers, one float64 for each value, and back.

    A density of the encoded row z is one of the row x in the columns' own units, and a probability where they are discrete:

    .. math:: \log p(x) = \log p(z) + \sum_i \log |dz_i / dx_i|, \qquad \text{the sum over columns that have a density.}

    Usually made by `Schema.infer`, and edited with `with_column`.

    Args:
        columns: the modelled columns.
        given: columns on which the density is conditioned.

    Raises:
        ValueError: none to model, or two of one name.

    Example:
        >>> import pyarrow
        >>> from anabranch.tables import Schema
        >>> table = pyarrow.table({"height": [1.52, 1.71, None, 1.9], "colour": ["red", "blue", "red", "red"]})
        >>> schema = Schema.infer(table)
        >>> x, context = schema.encode(table)
        >>> schema.decode(x).to_pydict()
        {'height': [1.52, 1.71, None, 1.9], 'colour': ['red', 'blue', 'red', 'red']}
        >>> schema.unit
        'nats per row; density in height; probability of colour'
    """

    def __init__(self, columns: Sequence[Column], given: Sequence[Column] = ()) -> None:
        super().__init__()
        for column in (*columns, *given):
            instance_of("columns", column, Column)
        self.modelled = nn.ModuleList(columns)
        self.conditions = nn.ModuleList(given)
        self.columns = tuple(column.name for column in columns)
        self.given = tuple(column.name for column in given)
        names = [*self.columns, *self.given]
        if not self.columns or len(set(names)) < len(names):
            raise ValueError(f"columns, given: expected different names and some column to model, got {names}")

    @classmethod
    def infer(
        cls,
        table: Any,
        columns: Sequence[str] | None = None,
        given: Sequence[str] = (),
        rows: NDArray[np.integer[Any]] | None = None,
        kinds: Mapping[str, str | Column] | None = None,
    ) -> Schema:
        """The schema of a table: what kind each column is (see `infer_column`), and the statistics it needs.

        Args:
            table: a data frame of pandas, polars, pyarrow or another that narwhals reads, or a 2-D NumPy array, whose
                columns are then x0, x1, ...
            columns: the columns to model; all that are not given, by default.
            given: the columns on which to condition.
            rows: (n,), the rows from which to take statistics, the training rows; all by default. What a column can hold,
                its categories, bounds and steps, is read off all rows.
            kinds: for some columns, by name: the word for their kind, or a `Column`, in place of what would be inferred.

        Raises:
            TableError: a column that is missing, or of no kind: gaps only, one value only, infinite or mixed values, names
                of rows. It names all such columns, and where one is to blame the first such row, counted from 0.
            ValueError: kinds of columns that are not used, or that do not exist.

        Warns:
            TableWarning: many values of a continuous column repeat, beside its atoms.
        """
        return cls(*inferred(table, columns, given, rows, kinds))

    @classmethod
    def standardised(
        cls,
        table: Any,
        columns: Sequence[str] | None = None,
        given: Sequence[str] = (),
        rows: NDArray[np.integer[Any]] | None = None,
    ) -> Schema:
        """The schema of a table of numbers without gaps, every column continuous, z = (x - mean) / standard deviation.

        Both are of the values that are not wild (`wild.Usual`).

        What a density of real vectors takes. Modelled columns are floats or integers, which come back as float64; given
        columns may be truth values too.

        Raises:
            TableError: a column that is missing, holds text, gaps, NaN or infinite values, or one value only. It names the
                column and the first such row, counted from 0.

        Warns:
            TableWarning: one value fills more than a twentieth of a modelled column: a density can grow there without bound.
        """
        return cls(*standardised(table, columns, given, rows))

    @property
    def parts(self) -> list[Column]:
        """The modelled columns."""
        return [_column(part) for part in self.modelled]

    @property
    def given_parts(self) -> list[Column]:
        """The given columns."""
        return [_column(part) for part in self.conditions]

    @property
    def context_size(self) -> int:
        """How many numbers the context has, 0 without given columns."""
        return sum(part.context_size for part in self.given_parts)

    @property
    def discrete(self) -> bool:
        """Whether some modelled column has probabilities, all of it or atoms."""
        return any(part.discrete or len(part.atoms_encoded) for part in self.parts)

    @property
    def unit(self) -> str:
        """The unit of log p, in words."""
        return f"nats per row; {units_of(self.parts)}"

    def column(self, name: str) -> Column:
        """A column by its name, modelled or given.

        Raises:
            ValueError: there is none of that name.
        """
        for part in (*self.parts, *self.given_parts):
            if part.name == name:
                return part
        raise ValueError(
            f"expected one of the columns {', '.join(map(repr, (*self.columns, *self.given)))}, got {name!r}"
        )

    def with_column(self, column: Column) -> Schema:
        """The schema with another column in place of the one of that name.

        Raises:
            ValueError: there is none of that name.

        Example:
            >>> import pyarrow
            >>> from anabranch.tables import Schema
            >>> from anabranch.tables.columns import Bounded
            >>> schema = Schema.infer(pyarrow.table({"share": [0.25, 0.375, 0.8125]}))
            >>> schema.with_column(Bounded("share", 0.0, 1.0)).column("share").kind
            'bounded'
        """
        self.column(column.name)
        replace = {column.name: column}
        return Schema(
            [replace.get(part.name, part) for part in self.parts],
            [replace.get(part.name, part) for part in self.given_parts],
        )

    def select(self, columns: Sequence[str]) -> Schema:
        """The schema of some of the modelled columns, in this order, and all given ones."""
        return Schema([self.column(name) for name in columns], self.given_parts)

    def families(self) -> list[Family]:
        """A new family for each modelled column, of its encoded values."""
        return [part.family() for part in self.parts]

    def log_det(self, x: Float64) -> Float64:
        """(rows,), nats: what is added to log p of encoded rows x (rows, columns) for that in the columns' own units."""
        return self.log_dets(x).sum(axis=1)

    def log_dets(self, x: Float64) -> Float64:
        """The same for each column, (rows, columns)."""
        return np.stack([part.log_det(x[:, i]) for i, part in enumerate(self.parts)], axis=1)

    def encode(self, table: Any) -> tuple[Float64, Float64 | None]:
        """The encoded rows of a table.

        Returns:
            x (rows, columns), NaN for gaps, and the context (rows, context_size), or None without given columns. Both
            float64.

        Raises:
            TableError: the table lacks a column, or one holds what it cannot; a gap in a given column. Other columns are
                ignored.
        """
        table = as_table(table)
        check_present(table, [*self.columns, *self.given], "which the model has")
        return encoded(self.parts, table), self.encode_given(table) if self.given else None

    def encode_given(self, table: Any) -> Float64:
        """The encoded given columns of a table alone, (rows, context_size), float64.

        Raises:
            TableError: as for `encode`.
        """
        table = as_table(table)
        check_present(table, self.given, "on which the model's density is conditioned")
        return encoded_given(self.given_parts, table)

    def encode_row(self, values: Mapping[str, Any]) -> Float64:
        """One observation, by the columns' names and in their units, as an encoded row (columns,), NaN where nothing is.

        Raises:
            ValueError: a column that is not modelled.
            TableError: a value that its column cannot hold.

        Example:
            >>> import pyarrow
            >>> from anabranch.tables import Schema
            >>> schema = Schema.infer(pyarrow.table({"a": [0.1, 0.25, 0.7], "c": ["x", "y", "x"]}))
            >>> schema.encode_row({"c": "y"})
            array([nan,  1.])
        """
        x = np.full(len(self.columns), np.nan)
        for name, value in values.items():
            if name not in self.columns:
                raise ValueError(f"expected one of the columns {', '.join(map(repr, self.columns))}, got {name!r}")
            part = self.column(name)
            if value is None:
                continue
            x[self.columns.index(name)] = part.encode(part.read(value))[0]
        return x

    def beyond(self, x: Float64, dtype: torch.dtype) -> NDArray[np.bool_]:
        """Which encoded values (rows, columns) lie so far out, in columns that have a density, that their distances have no
        square in a density's dtype; atoms are at no distance.
        """
        largest = np.sqrt(torch.finfo(dtype).max) / len(self.columns)
        far = [
            np.zeros(len(x), dtype=bool) if part.discrete else (np.abs(z) > largest) & ~np.isin(z, part.atoms_encoded)
            for part, z in zip(self.parts, x.T, strict=True)
        ]
        return np.stack(far, axis=1)

    def from_context(self, context: Float64) -> Float64:
        """The encoded values (rows, given columns) of contexts (rows, context_size)."""
        ends = np.cumsum([part.context_size for part in self.given_parts])
        pieces = np.split(np.asarray(context, dtype=np.float64), ends[:-1], axis=1)
        both = zip(self.given_parts, pieces, strict=True)
        return np.stack([part.from_context(piece) for part, piece in both], axis=1)

    def decode(self, x: Float64, context: Float64 | None = None) -> pa.Table:
        """The table of encoded rows: the inverse of `encode`.

        Args:
            x: (rows, columns), NaN for gaps.
            context: (rows, context_size); with it the given columns come first.
        """
        names, arrays = list(self.columns), []
        if context is not None:
            names = [*self.given, *names]
            ends = np.cumsum([part.context_size for part in self.given_parts])
            pieces = np.split(np.asarray(context, dtype=np.float64), ends[:-1], axis=1)
            for part, piece in zip(self.given_parts, pieces, strict=True):
                arrays.append(part.decode(part.from_context(piece)))
        arrays += [part.decode(np.asarray(x[:, i], dtype=np.float64)) for i, part in enumerate(self.parts)]
        return pa.Table.from_arrays(arrays, names=names)

    def tensor(self, x: Float64, dtype: torch.dtype, device: torch.device | None = None) -> Tensor:
        """Encoded rows (rows, columns) in a model's dtype.

        Atoms stay what they are in float32 too; a value beside one that would be rounded to it becomes the next number.
        """
        return tensor_of(self.parts, x, dtype, device)

    def check_gaps(self, x: Float64) -> None:
        """Raise TableError if some encoded value is a gap: for densities that take none."""
        faults = Faults()
        for name, z in zip(self.columns, x.T, strict=True):
            gaps = np.flatnonzero(np.isnan(z))
            with faults.put_off():
                if len(gaps):
                    raise TableError(not_finite(name, "a gap", gaps, len(z)))
        faults.raise_all()

    def rows(self) -> list[tuple[str, str, str, str]]:
        """Name, role, kind and description of every column, for print."""
        return rows_of(self.parts, self.given_parts)

    def __repr__(self) -> str:
        return as_text(self.rows())


def _column(part: nn.Module) -> Column:
    instance_of("columns", part, Column)
    return part  # type: ignore[return-value]
