"""`anabranch score`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from anabranch.cli.errors import about, complain, one_line_errors
from anabranch.cli.files import Unseen, check_table_output, load_table_model, write_output

_COLUMN = "log_likelihood"


@one_line_errors()
def score(
    model: Annotated[Path, typer.Argument(help="A model that 'anabranch fit' wrote.")],
    table: Annotated[Path, typer.Argument(help="The table to score, with the columns the model was fitted on.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Where to write it; standard output, as CSV, by default.")
    ] = None,
    unseen: Annotated[
        Unseen,
        typer.Option(help="A value that was not fitted, such as a new category: an error, a gap, or probability 0."),
    ] = Unseen.ERROR,
) -> None:
    """Add a column `log_likelihood` to a table: nats per row, in the data's own units.

    Of a row with gaps it is that of what was observed, where the model takes gaps.
    """
    import pyarrow as pa  # noqa: PLC0415 (slow to import)

    from anabranch.tables import read_table  # noqa: PLC0415

    check_table_output(output, table=table)
    fitted = load_table_model(model)
    data = read_table(table)
    if _COLUMN in data.column_names:
        raise ValueError(f"{table}: has a column {_COLUMN!r} already; rename or remove it")
    with about(table, "--unseen null or --unseen -inf"):
        log_p = fitted.log_prob(data, unseen.value)
    write_output(data.append_column(_COLUMN, pa.array(log_p)), output)
    possible = log_p[np.isfinite(log_p)]
    mean = f"{float(np.mean(possible)):.3f} nats per row" if len(possible) else "all of probability 0"
    none = f", but {len(log_p) - len(possible):,} of probability 0" if 0 < len(possible) < len(log_p) else ""
    complain(f"scored {len(log_p):,} rows, {mean}{none}" + _wrote(output))


def _wrote(output: Path | None) -> str:
    return "" if output is None else f"; wrote {output}"
