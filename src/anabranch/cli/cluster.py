"""`anabranch cluster`."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer
from numpy.typing import NDArray

from anabranch.cli.errors import complain, one_line_errors
from anabranch.cli.files import check_not_read, check_output, check_table_output, write_output
from anabranch.cli.names import split_names

if TYPE_CHECKING:
    import pyarrow

_ADDED = ("cluster", "cluster_probability")


@one_line_errors()
def cluster(
    table: Annotated[Path, typer.Argument(help="The table.")],
    clusters: Annotated[int, typer.Option("--clusters", "-k", help="How many; fewer come back if some have no row.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Where to write it; standard output, as CSV, by default.")
    ] = None,
    columns: Annotated[
        str | None, typer.Option(metavar="COLS", help="Columns to cluster by, a,b,c, of numbers; all by default.")
    ] = None,
    balance: Annotated[
        float, typer.Option(help="How strongly all clusters shall be used; lower for clusters of very different size.")
    ] = 1.0,
    epochs: Annotated[
        int | None, typer.Option(help="Passes over the rows; by default fewer the more there are.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of everything random.")] = 0,
    save: Annotated[
        Path | None, typer.Option(help="Where to write the clusterer, for estimators.MixtureClusterer.load.")
    ] = None,
) -> None:
    """Add columns `cluster`, from 0, and `cluster_probability` to a table.

    Clusters are the components of a mixture of normals behind a flow that they share, so they need not be ellipses. Gaps are
    to be filled first ('anabranch impute').
    """
    import pyarrow as pa  # noqa: PLC0415 (slow to import)

    from anabranch.estimators import MixtureClusterer  # noqa: PLC0415
    from anabranch.tables import read_table  # noqa: PLC0415

    check_table_output(output, table=table)
    if save is not None:
        check_output(save)
        check_not_read(save, "the clusterer", table=table)
        if output is not None and save.resolve() == output.resolve():
            raise ValueError(f"--output, --save: expected two files, got {save} for both")
    data = read_table(table)
    taken = [name for name in _ADDED if name in data.column_names]
    if taken:
        raise ValueError(f"{table}: has a column {taken[0]!r} already; rename or remove it")
    names = data.column_names if columns is None else split_names(columns, data.column_names)
    x = _numbers(data, names, table)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = MixtureClusterer(clusters, balance=balance, epochs=epochs, random_state=seed).fit(x)
        shares = found.predict_proba(x)
    for warning in caught:
        if warning.category.__name__ in ("ConvergenceWarning", "TableWarning"):
            complain(f"warning: {table}: {warning.message}")
    if save is not None:
        found.save(save)
    sizes = np.bincount(found.labels_, minlength=shares.shape[1])
    result = data.append_column(_ADDED[0], pa.array(found.labels_, pa.int64()))
    write_output(result.append_column(_ADDED[1], pa.array(shares.max(axis=1))), output)
    complain(
        f"{shares.shape[1]} clusters of {', '.join(f'{size:,}' for size in sizes)} rows, {found.score(x):.3f} nats per row"
        + ("" if output is None else f"; wrote {output}")
    )


def _numbers(data: pyarrow.Table, names: Sequence[str], path: Path) -> NDArray[np.float64]:
    """Columns of numbers without gaps as float64 (rows, columns)."""
    from anabranch.tables.types import flat, is_number  # noqa: PLC0415

    lacking = [name for name in names if name not in data.column_names]
    if lacking:
        have = ", ".join(map(repr, data.column_names[:20]))
        raise ValueError(f"{path}: the table has no column {lacking[0]!r}; it has {have}")
    found = []
    for name in names:
        values = flat(data.column(name))
        if not is_number(values.type):
            numeric = [one.name for one in data.schema if is_number(one.type)]
            raise ValueError(
                f"{path}: column {name!r} holds {values.type}, where clustering takes numbers; choose with --columns: "
                + (",".join(numeric[:20]) or "there are none")
            )
        x = values.cast("float64", safe=False).to_numpy(zero_copy_only=False).astype(np.float64)
        bad = np.flatnonzero(~np.isfinite(x))
        if len(bad):
            what = "infinity" if np.isinf(x[bad[0]]) else "a gap"
            raise ValueError(
                f"{path}: column {name!r}: expected finite numbers, got {what} in row {bad[0]} (rows count from 0; "
                f"{len(bad)} of {len(x)} rows); fill gaps with 'anabranch impute', or remove such rows"
            )
        found.append(x)
    return np.stack(found, axis=1)
