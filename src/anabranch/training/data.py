"""What a fit is given to learn from: rows to train on, rows to judge by, and the objective."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from anabranch.checks import fraction, instance_of
from anabranch.densities import Density
from anabranch.objectives import Completion, Likelihood, Objective
from anabranch.objectives.completion import Completes
from anabranch.objectives.objective import Sum
from anabranch.training.part import Part, read_validation, weighted_part
from anabranch.training.row_stream import CheckedStream, RowStream
from anabranch.training.rows import Rows, read_labels, read_rows
from anabranch.training.settings import Settings


@dataclass
class Data:
    """Rows and objective of a fit.

    Attributes:
        given: all rows that were given, with labels and weights.
        training: those to train on.
        held_out: those that decide when to stop, and which weights are kept; None if there are none.
        objective: what to minimise; None for the density's loss.
    """

    given: Rows | RowStream
    training: Part | RowStream
    held_out: Part | None
    objective: Objective | None


def read_data(
    density: Density,
    x: Any,
    context: Any,
    labels: Any,
    weights: Any,
    objective: Objective | None,
    validation: Any,
    validation_weights: Any,
    settings: Settings,
    generator: torch.Generator,
) -> Data:
    """Read, check and split what `fit` was given; `fit` says what each is.

    Args:
        generator: that draws which rows are held out.

    Raises:
        ValueError: something that does not fit the density, or the rest.
    """
    if objective is not None:
        instance_of("objective", objective, Objective)
    alone = settings.minutes is not None and settings.epochs is None
    if alone and (settings.noise or (objective is not None and objective.by_epochs)):
        raise ValueError(
            "epochs: expected a number with noise, or with an objective that goes by epochs, got minutes alone"
        )
    if settings.noise and density.event_dtype == "whole":
        raise ValueError(
            f"noise: expected 0 with a density of whole numbers, which normal noise would take off them, got "
            f"{settings.noise:g}; augment takes a function that changes whole numbers"
        )
    given: Rows | RowStream
    if isinstance(x, RowStream):
        _check_stream(settings, validation, {"context": context, "labels": labels, "weights": weights})
        given = CheckedStream(x, density)
    else:
        given = read_rows(density, x, context)
        if labels is not None:
            given.labels = read_labels(density, labels, len(given)).to(given.x.device)
    if len(given) == 0:
        raise ValueError("x: expected at least one row, got none")
    if isinstance(given, Rows) and weights is not None:
        given = given.with_weights(weights)
    counted = weighted_part(given) if isinstance(given, Rows) else given
    gaps = not isinstance(counted, Part) or (density.gaps and counted.gaps)
    if settings.background and gaps:
        raise ValueError(
            "background: expected rows without gaps, for a broad density to stand behind, got some with NaN"
        )
    objective = _of_labels(given, objective)
    if objective is None and isinstance(density, Completes) and gaps:
        objective = Completion()
    if isinstance(given, RowStream) and objective is not None and not objective.takes_streams:
        raise ValueError(
            f"x: expected rows in memory with {_in_memory(objective)}, which looks at all of them before the first step, "
            "got a stream of rows"
        )
    training, held_out = _split(density, counted, validation, validation_weights, generator)
    return Data(given, training, held_out, objective)


def _check_stream(settings: Settings, validation: Any, others: dict[str, Any]) -> None:
    """Raise ValueError for what does not go with rows that do not lie in memory."""
    given = [name for name, value in others.items() if value is not None]
    if given:
        raise ValueError(f"{given[0]}: expected None with a stream of rows, whose batches hold them, got some")
    if settings.background:
        raise ValueError("x: expected rows in memory with background, got a stream of rows")
    if _is_fraction(validation) and validation:
        raise ValueError(f"validation: expected rows, or 0, with a stream of rows, got {validation}")


def _of_labels(given: Rows | RowStream, objective: Objective | None) -> Objective | None:
    """The objective, for rows with labels one that reads them."""
    labelled = given.labelled if isinstance(given, RowStream) else given.labels is not None
    if not labelled:
        return objective
    objective = Likelihood() if objective is None else objective
    if not objective.uses_labels:
        raise ValueError(
            "objective: expected one that uses the labels, such as Likelihood() or SemiSupervised(), got "
            f"{type(objective).__name__}"
        )
    return objective


def _split(
    density: Density, rows: Part | RowStream, validation: Any, weights: Any, generator: torch.Generator
) -> tuple[Part | RowStream, Part | None]:
    """Rows to train on, and rows for validation: a fraction of them, or those that were given."""
    if _is_fraction(validation):
        if weights is not None:
            raise ValueError("validation_weights: expected None, since validation is a fraction of the rows, got some")
        share = fraction("validation", validation)
        return rows.split(share, generator) if isinstance(rows, Part) else (rows, None)
    return rows, read_validation(density, validation, weights)


def _is_fraction(validation: Any) -> bool:
    return isinstance(validation, (int, float, np.number))


def _in_memory(objective: Objective) -> str:
    """The name of what needs rows in memory."""
    terms = [term for _, term in objective.terms] if isinstance(objective, Sum) else [objective]
    return " + ".join(type(term).__name__ for term in terms if not term.takes_streams)
