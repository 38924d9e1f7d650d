"""`anabranch score`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from anabranch.cli.errors import about, complain, one_line_errors
from anabranch.cli.files import Unseen, check_table_output, is_of_images, load_table_model, write_output
from anabranch.cli.images import ARRAY, LABELS, refuse_options, score_images
from anabranch.cli.reading import EscapeFormulas, read_input, reads_tables

_COLUMN, _ERROR = "log_likelihood", "standard_error"


@one_line_errors()
@reads_tables
def score(
    model: Annotated[Path, typer.Argument(help="A model that 'anabranch fit' wrote.")],
    table: Annotated[
        Path, typer.Argument(help="The table to score, with the columns the model was fitted on; or images.")
    ],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Where to write it; standard output, as CSV, by default.")
    ] = None,
    unseen: Annotated[
        Unseen,
        typer.Option(help="A value that was not fitted, such as a new category: an error, a gap, or probability 0."),
    ] = Unseen.ERROR,
    escape_formulas: EscapeFormulas = False,
    labels: LABELS = None,
    array: ARRAY = None,
    *,
    reading: dict[str, Any],
) -> None:
    """Add a column `log_likelihood` to a table: nats per row, in the data's own units.

    Of a row with gaps it is that of what was observed, where the model takes gaps. Of an autoencoder it is an estimate,
    and a column `standard_error` says how far it may be off.

    Of images: writes a table with a row for each of them, `image`, `log_likelihood` in nats, and `bits_per_dimension`.
    """
    import pyarrow as pa  # noqa: PLC0415 (slow to import)

    check_table_output(output, table=table)
    only_tables = {"unseen": None if unseen is Unseen.ERROR else unseen, **reading}
    if is_of_images(model):
        refuse_options(model, only_tables, "images")
        scores, told = score_images(model, table, array, labels)
        write_output(scores, output, None, None, escape_formulas)
        complain(told + _wrote(output))
        return
    refuse_options(model, {"labels": labels, "array": array}, "a table", "images")
    fitted = load_table_model(model)
    data, sheet = read_input(table, reading, model=fitted, file=model)
    estimated = fitted.density.likelihood != "exact"
    for name in (_COLUMN, _ERROR) if estimated else (_COLUMN,):
        if name in data.column_names:
            raise ValueError(f"{table}: has a column {name!r} already; rename or remove it")
    with about(table, "--unseen null or --unseen -inf"):
        log_p, error = fitted.estimate(data, unseen=unseen.value)
    scored = data.append_column(_COLUMN, pa.array(log_p))
    scored = scored.append_column(_ERROR, pa.array(error)) if estimated else scored
    write_output(scored, output, sheet, None, escape_formulas)
    possible = log_p[np.isfinite(log_p)]
    mean = (
        f"{float(np.mean(possible)):.3f} nats per row{', estimated' * estimated}"
        if len(possible)
        else "all of probability 0"
    )
    none = f", but {len(log_p) - len(possible):,} of probability 0" if 0 < len(possible) < len(log_p) else ""
    complain(f"scored {len(log_p):,} rows, {mean}{none}" + _wrote(output))


def _wrote(output: Path | None) -> str:
    return "" if output is None else f"; wrote {output}"
