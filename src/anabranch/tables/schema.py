"""What the columns of a table are, and how they become standardised numbers and come back."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from anabranch.described import Described
from anabranch.tables.frame import TableError, as_table

Float64 = NDArray[np.float64]

# a value in more rows than this is an atom: no density is finite there
_ATOM_FRACTION = 0.05
_ATOM_ROWS = 10
# float64 holds every whole number up to here
_LARGEST_EXACT = 2**53


class TableWarning(UserWarning):
    """Something about a table for which its likelihoods should be read with caution."""


class Schema(Described):
    r"""The columns of a table as standardised numbers, and back.

    Each modelled column becomes z = (x - loc) / scale, so a density of z is one of x with

    .. math:: \log p(x) = \log p(z) + \texttt{log\_det}, \qquad \texttt{log\_det} = -\sum_i \log \texttt{scale}_i .

    All of this is done in float64: a column of 1.7e9 with a spread of 1 keeps its digits. Usually made by `Schema.infer`.

    Args:
        columns: names of the modelled columns.
        loc, scale: one number for each of them, in its unit.
        types: what `decode` gives them back as, "float" (32 bits) or "double"; "double" by default.
        given: names of the columns on which the density is conditioned.
        given_loc, given_scale: one number for each of these.

    Raises:
        ValueError: lengths that do not fit, a name that is there twice, a scale that is not positive.

    Example:
        >>> import pyarrow
        >>> from anabranch.tables import Schema
        >>> table = pyarrow.table({"height": [1.5, 1.7, 1.9], "weight": [50, 70, 90]})
        >>> schema = Schema.infer(table)
        >>> x, context = schema.encode(table)
        >>> x.mean(axis=0).round(6) + 0.0
        array([0., 0.])
        >>> schema.decode(x).to_pydict()
        {'height': [1.5, 1.7, 1.9], 'weight': [50.0, 70.0, 90.0]}
    """

    def __init__(
        self,
        columns: Sequence[str],
        loc: Sequence[float],
        scale: Sequence[float],
        types: Sequence[str] | None = None,
        given: Sequence[str] = (),
        given_loc: Sequence[float] = (),
        given_scale: Sequence[float] = (),
    ) -> None:
        super().__init__()
        self.columns = tuple(_read_names("columns", columns))
        self.given = tuple(_read_names("given", given))
        self.loc, self.scale = _read_numbers("loc", loc), _read_numbers("scale", scale)
        self.given_loc, self.given_scale = _read_numbers("given_loc", given_loc), _read_numbers("scale", given_scale)
        self.types = ("double",) * len(self.columns) if types is None else tuple(types)
        names = [*self.columns, *self.given]
        if not self.columns or len(set(names)) < len(names):
            raise ValueError(f"columns, given: expected different names and some column to model, got {names}")
        for name, values, wanted in (
            ("loc", self.loc, self.columns),
            ("scale", self.scale, self.columns),
            ("types", self.types, self.columns),
            ("given_loc", self.given_loc, self.given),
            ("given_scale", self.given_scale, self.given),
        ):
            if len(values) != len(wanted):
                raise ValueError(f"{name}: expected {len(wanted)}, one for each column, got {len(values)}")
        if not all(scale > 0 for scale in (*self.scale, *self.given_scale)):
            raise ValueError("scale: expected positive numbers, got others")
        if not set(self.types) <= {"float", "double"}:
            raise ValueError(f"types: expected 'float' or 'double' for each column, got {self.types}")

    @classmethod
    def infer(
        cls,
        table: Any,
        columns: Sequence[str] | None = None,
        given: Sequence[str] = (),
        rows: NDArray[np.integer[Any]] | None = None,
    ) -> Schema:
        """The schema of a table, with the mean and the standard deviation of each column as loc and scale.

        Every column that is used has to hold finite numbers. Modelled columns are floats or integers; integers come back as
        float64, since their density is one of real numbers. Given columns may be booleans too.

        Args:
            table: a pyarrow table or a data frame.
            columns: the columns to model; all that are not given, by default.
            given: the columns on which to condition.
            rows: (n,), the rows from which to take means and deviations, the training rows; all by default.

        Raises:
            TableError: a column that is missing, holds text, gaps, NaN or infinite values, or one value only. It names the
                column and the first such row, counted from 0.

        Warns:
            TableWarning: one value fills more than a twentieth of a modelled column: a density can grow there without bound.
        """
        table = as_table(table)
        given = _read_names("given", given)
        everything = [name for name in table.column_names if name not in given]
        chosen = everything if columns is None else _read_names("columns", columns)
        if not chosen:
            raise TableError("columns: expected some column to model, got none besides those given")
        for name in chosen:
            if name in given or chosen.count(name) > 1:
                where = "in both columns and given" if name in given else "named twice in columns"
                raise TableError(f"column {name!r} is {where}; name it once")
        _check_present(table, [*chosen, *given], "but was asked for")
        _check_types(table, chosen, given)

        locs, scales = [], []
        for name in [*chosen, *given]:
            values = _column(table, name)
            values = values if rows is None else values[rows]
            loc, scale = _standard(name, values, everything=rows is None)
            locs.append(loc)
            scales.append(scale)
            if name in chosen:
                _warn_of_atoms(name, values)
        types = [
            "float" if table.schema.field(name).type in (pa.float16(), pa.float32()) else "double" for name in chosen
        ]
        d = len(chosen)
        return cls(chosen, locs[:d], scales[:d], types, given, locs[d:], scales[d:])

    @property
    def log_det(self) -> float:
        """log |det dz/dx| of the standardisation, nats per row: what is added to a log-density of z to get that of x."""
        return -math.fsum(math.log(scale) for scale in self.scale)

    def encode(self, table: Any) -> tuple[Float64, Float64 | None]:
        """The standardised rows of a table.

        Returns:
            x (rows, columns), and the context (rows, given columns), or None without given columns. Both float64.

        Raises:
            TableError: the table lacks a column, or one holds text, gaps, NaN or infinite values. Other columns are ignored.
        """
        table = as_table(table)
        _check_present(table, [*self.columns, *self.given], "which the model has")
        _check_types(table, self.columns, self.given)
        x = _standardised(table, self.columns, self.loc, self.scale)
        return x, self.encode_given(table) if self.given else None

    def encode_given(self, table: Any) -> Float64:
        """The standardised given columns of a table alone, (rows, given columns), float64.

        Raises:
            TableError: as for `encode`.
        """
        table = as_table(table)
        _check_present(table, self.given, "on which the model's density is conditioned")
        _check_types(table, (), self.given)
        return _standardised(table, self.given, self.given_loc, self.given_scale)

    def decode(self, x: Float64, context: Float64 | None = None) -> pa.Table:
        """The table of standardised rows: the inverse of `encode`.

        Args:
            x: (rows, columns).
            context: (rows, given columns); with it the given columns come first, as float64.
        """
        names, arrays = list(self.columns), []
        if context is not None:
            names = [*self.given, *names]
            arrays = [pa.array(context[:, i] * self.given_scale[i] + self.given_loc[i]) for i in range(len(self.given))]
        for i, kind in enumerate(self.types):
            values = np.asarray(x[:, i], dtype=np.float64) * self.scale[i] + self.loc[i]
            arrays.append(pa.array(values.astype(np.float32) if kind == "float" else values))
        return pa.Table.from_arrays(arrays, names=names)


def _read_names(name: str, names: Sequence[str]) -> list[str]:
    # a string is a sequence of names too, each of one letter
    if isinstance(names, str):
        raise ValueError(f"{name}: expected a list of names, got the string {names!r}; give [{names!r}]")
    return list(names)


def _read_numbers(name: str, values: Sequence[float]) -> tuple[float, ...]:
    numbers = tuple(float(value) for value in values)
    if not all(math.isfinite(number) for number in numbers):
        raise ValueError(f"{name}: expected finite numbers, got {numbers}")
    return numbers


def _check_present(table: pa.Table, names: Sequence[str], why: str) -> None:
    missing = [name for name in names if name not in table.column_names]
    if missing:
        have = ", ".join(map(repr, table.column_names[:20])) + (", ..." if table.num_columns > 20 else "")
        some = f"column {missing[0]!r}" if len(missing) == 1 else f"columns {', '.join(map(repr, missing))}"
        raise TableError(f"the table has no {some}, {why}; it has {have}")


def _check_types(table: pa.Table, columns: Sequence[str], given: Sequence[str]) -> None:
    for name in columns:
        _check_type(table, name, discrete=False)
    for name in given:
        _check_type(table, name, discrete=True)


def _check_type(table: pa.Table, name: str, discrete: bool) -> None:
    kind = table.schema.field(name).type
    if _is_numeric(kind) or (discrete and pa.types.is_boolean(kind)):
        return
    if pa.types.is_null(kind):
        raise TableError(f"column {name!r} is empty, it holds gaps only; leave it out")
    if pa.types.is_boolean(kind):
        what = "holds true and false, which have no density"
    elif pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        row, text = _first_text(table.column(name))
        what = f"holds text ({text!r} in row {row})"
    else:
        what = f"holds no numbers but {kind}"
    numeric = [field.name for field in table.schema if _is_numeric(field.type)]
    if not numeric:
        raise TableError(f"column {name!r} {what}, and no column of the table holds numbers")
    listed = ",".join(numeric[:20]) + (",..." if len(numeric) > 20 else "")
    raise TableError(f"column {name!r} {what}; choose among the numeric columns with --columns (columns=): {listed}")


def _is_numeric(kind: pa.DataType) -> bool:
    return bool(pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_decimal(kind))


def _first_text(column: pa.ChunkedArray) -> tuple[int, str]:
    """The first value that is not the text of a number (a single stray word makes a text column of a numeric one)."""
    first: tuple[int, str] | None = None
    for row, value in enumerate(column.to_pylist()):
        if value is None:
            continue
        first = first or (row, value)
        try:
            float(value)
        except ValueError:
            return row, value
    return first or (0, "")


def _column(table: pa.Table, name: str) -> Float64:
    """A column as finite float64 numbers (rows,)."""
    column = table.column(name)
    if column.null_count:
        rows = np.flatnonzero(column.is_null().to_numpy())
        raise TableError(_not_finite(name, "a gap", rows, table.num_rows))
    if pa.types.is_integer(column.type):
        extremes = pc.min_max(column).as_py()
        if max(-extremes["min"], extremes["max"]) > _LARGEST_EXACT:
            raise TableError(
                f"column {name!r} holds whole numbers beyond 2^53, which would lose their last digits; subtract an offset "
                "from it, or leave it out"
            )
    values: Float64 = column.cast(pa.float64(), safe=False).to_numpy()
    bad = np.flatnonzero(~np.isfinite(values))
    if len(bad):
        value = values[bad[0]]
        raise TableError(_not_finite(name, "NaN" if np.isnan(value) else "infinity", bad, table.num_rows))
    return values


def _not_finite(name: str, what: str, bad: NDArray[np.integer[Any]], rows: int) -> str:
    count = f"{len(bad)} of {rows} rows {'holds' if len(bad) == 1 else 'hold'} one"
    return (
        f"column {name!r}: expected finite numbers, got {what} in row {bad[0]} (rows count from 0; {count}); "
        "remove or fill such rows"
    )


def _standard(name: str, values: Float64, everything: bool) -> tuple[float, float]:
    """Mean and standard deviation, without overflow for the largest of numbers and without loss for narrow ones."""
    first = float(values[0])
    if bool((values == first).all()):
        rows = "every row" if everything else "every training row"
        raise TableError(f"column {name!r} is constant, it holds {first:g} in {rows}; leave it out")
    # powers of two: multiplying by them is exact
    exponent = int(np.frexp(np.abs(values).max())[1])
    small = np.ldexp(values, -exponent)
    mean = float(small.mean())
    deviation = small - mean
    largest = float(np.abs(deviation).max())
    spread = math.sqrt(float(np.square(deviation / largest).mean())) * largest
    loc, scale = math.ldexp(mean, exponent), math.ldexp(spread, exponent)
    if scale == 0:
        raise TableError(
            f"column {name!r} spreads over less than the smallest of floats; multiply it by a large number"
        )
    return loc, scale


def _standardised(table: pa.Table, names: Sequence[str], loc: Sequence[float], scale: Sequence[float]) -> Float64:
    z = np.empty((table.num_rows, len(names)))
    for i, name in enumerate(names):
        # in units of a power of two near the scale: exact, and x - loc cannot overflow where z does not
        mantissa, exponent = math.frexp(scale[i])
        with np.errstate(over="ignore"):
            z[:, i] = (np.ldexp(_column(table, name), -exponent) - math.ldexp(loc[i], -exponent)) / mantissa
    return z


def _warn_of_atoms(name: str, values: Float64) -> None:
    distinct, counts = np.unique(values, return_counts=True)
    most = int(counts.argmax())
    if counts[most] >= _ATOM_ROWS and counts[most] > _ATOM_FRACTION * len(values):
        share = 100 * counts[most] / len(values)
        warnings.warn(
            f"column {name!r} holds the value {distinct[most]:g} in {share:.0f}% of its rows; a density can grow there "
            "without bound, so its log-likelihood means little: leave the column out or take it as given",
            TableWarning,
            stacklevel=3,
        )
