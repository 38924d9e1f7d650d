"""The columns of a table, modelled and given: inferred, or all of them standardised."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anabranch.tables.choice import choose
from anabranch.tables.columns import Column, TableWarning
from anabranch.tables.faults import Faults
from anabranch.tables.frame import as_table
from anabranch.tables.inference import infer_column
from anabranch.tables.real import check_real, real_column
from anabranch.tables.types import flat


def inferred(
    table: Any,
    columns: Sequence[str] | None,
    given: Sequence[str],
    rows: NDArray[np.integer[Any]] | None,
    kinds: Mapping[str, str | Column] | None,
) -> tuple[list[Column], list[Column]]:
    """The columns of `Schema.infer`."""
    table = as_table(table)
    chosen, given = choose(table, columns, given)
    kinds = dict(kinds or {})
    unknown = [name for name in kinds if name not in (*chosen, *given)]
    if unknown:
        raise ValueError(f"kinds: expected columns of the schema, {', '.join(map(repr, chosen))}, got {unknown[0]!r}")
    found, faults = {}, Faults()
    for name in (*chosen, *given):
        with faults.put_off():
            found[name] = infer_column(name, table.column(name), rows, kinds.get(name))
    faults.raise_all()
    for name, column in found.items():
        if column.name != name:
            raise ValueError(f"kinds[{name!r}]: expected a column of that name, got {column.name!r}")
    for name in chosen:
        _warn_of_ties(found[name], table.column(name))
    return [found[name] for name in chosen], [found[name] for name in given]


def standardised(
    table: Any, columns: Sequence[str] | None, given: Sequence[str], rows: NDArray[np.integer[Any]] | None
) -> tuple[list[Column], list[Column]]:
    """The columns of `Schema.standardised`."""
    table = as_table(table)
    chosen, given = choose(table, columns, given)
    every = [*chosen, *given]
    found, faults = {}, Faults()
    for name in every:
        with faults.put_off():
            check_real(table, name, truth=name in given)
            found[name] = real_column(name, table.column(name), rows, modelled=name in chosen)
    faults.raise_all()
    return [found[name] for name in chosen], [found[name] for name in given]


def _warn_of_ties(column: Column, values: Any) -> None:
    """A continuous column of which many values repeat that are no atoms: its density can grow at each of them."""
    if column.discrete:
        return
    z = column.encode(flat(values))
    z = z[~np.isnan(z) & ~np.isin(z, column.atoms_encoded)]
    ties = 1 - len(np.unique(z)) / max(1, len(z))
    if ties > 0.5:
        warnings.warn(
            f"column {column.name!r}: {100 * ties:.0f}% of its values repeat others, though it is taken as continuous; a "
            "density can grow at each of them, so its log-likelihood means little: declare its kind (kinds=), 'rounded' or "
            "'ordinal'",
            TableWarning,
            stacklevel=4,
        )
