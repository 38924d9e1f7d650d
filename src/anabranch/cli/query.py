"""`anabranch query`."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Annotated

import typer

from anabranch.cli.errors import complain, one_line_errors
from anabranch.cli.files import load_table_model


@one_line_errors()
def query(
    model: Annotated[Path, typer.Argument(help="A model that 'anabranch fit' wrote.")],
    questions: Annotated[list[str], typer.Argument(help="Questions, each in quotes.", show_default=False)],
    tolerance: Annotated[
        float | None, typer.Option(help="Largest standard error wanted, in encoded units; draws go on until it is met.")
    ] = None,
    samples: Annotated[int, typer.Option(help="Draws to begin with, where an answer takes any.")] = 10_000,
    proposals: Annotated[
        int, typer.Option(help="Draws from which chains start, where a conditional has no closed form.")
    ] = 1024,
    moves: Annotated[int, typer.Option(help="Sweeps to warm those chains up, and as many that count.")] = 32,
    seed: Annotated[int, typer.Option(help="Of the draws.")] = 0,
    as_json: Annotated[
        bool, typer.Option("--json", help="One line of JSON for each question: question, given, lines, note, warnings.")
    ] = False,
) -> None:
    """Ask a model questions, in the columns' names and units.

    `E[price | carat=1.0, cut=Ideal]` mean, `SD[price]` standard deviation,
    `P(price > 5000 | cut=Ideal)` probability,
    `Q[0.1, 0.9](price | carat=1)` quantiles,
    `p(price=3000 | carat=1)` density,
    `mode(price, carat | cut=Ideal)` most probable values,
    `marginal(price | carat=1)` a column by itself.
    What is given follows a bar: single values, ranges such as `1 <= carat < 2`, sets such as `cut in (Ideal, Premium)`, and
    `cut = Ideal or cut = Fair`. An answer that is no closed form has its standard error, by the draws it rests on.
    """
    from anabranch.queries import QueryWarning, QuestionError  # noqa: PLC0415 (slow to import)

    fitted = load_table_model(model)
    for question in questions:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("ignore")
            warnings.simplefilter("always", QueryWarning)
            try:
                answer = fitted.ask(
                    question, tolerance=tolerance, samples=samples, seed=seed, proposals=proposals, moves=moves
                )
            except QuestionError as error:
                rest = error.text[error.position :]
                where = f"at {rest!r}" if rest else "at its end"
                raise ValueError(f"{error.reason} (in {error.text!r}, {where})") from error
        if as_json:
            found = {**answer.to_dict(), "warnings": [str(warning.message) for warning in caught]}
            typer.echo(json.dumps(found, allow_nan=False, ensure_ascii=False))
        else:
            typer.echo(str(answer))
        for warning in caught:
            said = str(warning.message)
            named = any(said.startswith(line.name) for line in answer.lines)
            complain(f"warning: {said}" if named else f"warning: {question}: {said}")
