"""From a table to a density of its rows: the library's main job, in one call."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from rich.console import Console

from anabranch import flows
from anabranch.checks import device_here, one_of, positive_int, read_tensor, reference_tensor, seed_number
from anabranch.densities import Density
from anabranch.models import DepthMixture, Flow
from anabranch.tables.frame import TableError, as_table
from anabranch.tables.model import TableModel
from anabranch.tables.report import Report, Score
from anabranch.tables.schema import Float64, Schema, TableWarning
from anabranch.training import Epoch, History, NonFiniteError, fit
from anabranch.training.baseline import choose_gaussian_mixture, conditional_log_prob, fit_gaussian_mixture

# 80 % to fit, 10 % to stop by, 10 % to report on: below this, the last two say nothing
_LEAST_ROWS = 50
# the default length of a fit: 16 epochs of 80,000 rows in batches of 512
_STEPS = 2_500
_FEWEST_EPOCHS, _MOST_EPOCHS = 4, 50
# further out, in standard deviations, float32 is about to lose the square
_FARTHEST = 1e15


def fit_table(
    table: Any,
    columns: Sequence[str] | None = None,
    given: Sequence[str] = (),
    *,
    model: str = "depth",
    structure: str = "autoregressive",
    blocks: int = 5,
    hidden: Sequence[int] = (128, 128),
    bins: int = 8,
    epochs: int | None = None,
    batch_size: int = 512,
    learning_rate: float = 5e-3,
    seed: int = 0,
    device: str | torch.device | None = None,
    progress: bool = True,
    callback: Callable[[Epoch], bool | None] | None = None,
) -> tuple[TableModel, Report]:
    """Fit a density to the rows of a table, and report its held-out log-likelihood beside two simple densities'.

    The rows are shuffled and split: 80 % to fit, 10 % to stop by, 10 % to report on. Columns are standardised with the
    training rows' statistics. The Gaussian and the Gaussian mixture (full covariances, the number of components chosen on
    the validation rows) see the same rows; EM runs on at most 20,000 of them. With given columns they are fitted to all
    columns jointly, and their exact marginal over the given ones is taken off.

    Args:
        table: a pyarrow table or a data frame (pandas, polars, ...), of finite numbers.
        columns: the columns to model; all that are not given, by default.
        given: columns to condition on.
        model: "depth", the exact mixture over the prefixes of the blocks, or "flow", all blocks as one flow.
        structure: of the spline blocks, "autoregressive" or "coupling" (at least 2 columns; faster to sample).
        blocks, hidden, bins: as in `flows.nsf`.
        epochs: passes over the training rows, at most; by default as many as make 2,500 steps, but 4 to 50. The fit ends
            early when the validation rows get no better for a quarter of them.
        batch_size: rows in one step; small tables take an eighth of the training rows.
        learning_rate: the highest reached.
        seed: of everything random: the split, initial weights, order of rows, the mixture's start.
        device: where to train; the CPU by default.
        progress: whether to show a progress bar (on terminals).
        callback: called with every `Epoch`; return True to stop.

    Returns:
        the model, and the report.

    Raises:
        ValueError: options that are not as described.
        TableError: a table that cannot be fitted; it names the column and the row.
        NonFiniteError: the loss became NaN or infinite.

    Warns:
        TableWarning: likelihoods of this table can grow without bound: one value fills many rows of a column, or some
            columns are a linear function of others.

    Example:
        >>> import numpy, pyarrow
        >>> from anabranch.tables import fit_table
        >>> x = numpy.random.default_rng(0).normal(size=(200, 2))
        >>> table = pyarrow.table({"height": x[:, 0], "weight": x[:, 0] + x[:, 1]})
        >>> model, report = fit_table(table, blocks=1, hidden=(8,), epochs=2)
        >>> report.rows
        {'all': 200, 'training': 160, 'validation': 20, 'test': 20}
        >>> [score.name for score in report.scores]
        ['depth mixture', 'Gaussian mixture of 1', 'Gaussian']
    """
    batch_size = positive_int("batch_size", batch_size)
    epochs = None if epochs is None else positive_int("epochs", epochs)
    seed = seed_number(seed)
    target = None if device is None else device_here("device", device)
    table = as_table(table)
    _check_rows(table, _LEAST_ROWS, "fit on 80 % of them and judge on the rest")
    train, validate, test = _split(table.num_rows, seed)
    schema = Schema.infer(table, columns, given, rows=train)
    width = len(schema.columns) + len(schema.given)
    _check_rows(table, 2 * width, "estimate the covariance of so many columns")

    x, context = schema.encode(table)
    _check_distances(schema, x, context)
    _warn_of_linear_dependence(schema, x[train])

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        density = _build(model, structure, len(schema.columns), len(schema.given), blocks, hidden, bins)
    epochs, batch_size = _length(len(train), batch_size, epochs)

    like = reference_tensor(density)

    def rows(index: NDArray[np.int64]) -> tuple[torch.Tensor, torch.Tensor | None]:
        # in the density's dtype, torch's default when it was built
        return read_tensor("x", x[index], like), None if context is None else read_tensor("x", context[index], like)

    begun = time.perf_counter()
    try:
        history = fit(
            density,
            *rows(train),
            validation=rows(validate),
            epochs=epochs,
            batch_size=batch_size,
            learning_rate=learning_rate,
            patience=max(4, epochs // 4),
            seed=seed,
            device=target,
            callback=callback,
            progress=progress,
        )
    except NonFiniteError as error:
        # the loop counts the rows it was given, in their shuffled order, which is no help to the table's owner
        raise NonFiniteError(
            f"the loss became infinite or NaN at step {error.step}, first in {error.layer}; lower the learning rate",
            error.step,
            None,
            error.layer,
        ) from error
    fitted = time.perf_counter()

    table_model = TableModel(schema, density)
    joint = x if context is None else np.concatenate([context, x], axis=1)
    results = {_NAMES[model]: table_model.log_prob_encoded(x[test], None if context is None else context[test])}
    with _waiting("baselines: Gaussian mixtures", shown=progress):
        results |= _baselines(joint[train], joint[validate], joint[test], len(schema.given), seed)
    own_units = {name: log_p + schema.log_det for name, log_p in results.items()}
    report = Report(
        model=f"{_NAMES[model]} of {blocks} spline {structure} block{'s' * (blocks > 1)}",
        parameters=sum(p.numel() for p in density.parameters() if p.requires_grad),
        columns=list(schema.columns),
        given=list(schema.given),
        rows={"all": table.num_rows, "training": len(train), "validation": len(validate), "test": len(test)},
        seed=seed,
        scores=[Score.of(name, log_p, own_units[_NAMES[model]]) for name, log_p in own_units.items()],
        **_outcome(history),
        seconds={"fit": fitted - begun, "baselines": time.perf_counter() - fitted},
        options={
            "model": model,
            "structure": structure,
            "blocks": blocks,
            "hidden": [int(size) for size in hidden],
            "bins": bins,
            "epochs": epochs,
            "batch_size": batch_size,
            "learning_rate": learning_rate,
        },
    )
    return table_model, report


_NAMES = {"depth": "depth mixture", "flow": "flow"}


def _build(
    model: str, structure: str, features: int, context: int, blocks: int, hidden: Sequence[int], bins: int
) -> Density:
    one_of("model", model, tuple(_NAMES))
    chain = flows.nsf(features, context, blocks, hidden, bins, structure=structure)
    return DepthMixture(chain, hidden=(64, 64)) if model == "depth" else Flow(chain)


def _baselines(
    train: Float64, validate: Float64, test: Float64, given: int, seed: int
) -> dict[str, NDArray[np.float64]]:
    """log p of the test rows under a chosen Gaussian mixture and under the Gaussian, in standardised units."""
    mixture = choose_gaussian_mixture(train, validate, given=given, seed=seed)
    return {
        f"Gaussian mixture of {mixture.components}": conditional_log_prob(mixture, test, given),
        "Gaussian": conditional_log_prob(fit_gaussian_mixture(train, 1, seed), test, given),
    }


@contextmanager
def _waiting(text: str, shown: bool) -> Iterator[None]:
    """A spinner on standard error, where that is a terminal."""
    console = Console(stderr=True)
    if not (shown and console.is_terminal):
        yield
        return
    with console.status(text):
        yield


def _length(rows: int, batch_size: int, epochs: int | None) -> tuple[int, int]:
    """Epochs and the batch size for so many training rows."""
    batch_size = min(batch_size, max(32, rows // 8))
    if epochs is None:
        epochs = round(_STEPS / math.ceil(rows / batch_size))
        epochs = min(max(epochs, _FEWEST_EPOCHS), _MOST_EPOCHS)
    return epochs, batch_size


def _outcome(history: History) -> dict[str, Any]:
    return {"epochs": len(history.epochs), "best_epoch": history.best_epoch, "stopped": history.stopped}


def _split(rows: int, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Training, validation and test rows: 80, 10 and 10 % of a seeded shuffle."""
    order = np.random.default_rng(seed).permutation(rows)
    tenth = max(1, round(rows / 10))
    return order[2 * tenth :], order[:tenth], order[tenth : 2 * tenth]


def _check_rows(table: pa.Table, least: int, purpose: str) -> None:
    if table.num_rows < least:
        raise TableError(f"the table has {table.num_rows} rows, and it takes at least {least} to {purpose}; add rows")


def _check_distances(schema: Schema, x: Float64, context: Float64 | None) -> None:
    """A value the training rows have nothing like would overflow, in a row that was drawn for validation or test."""
    for names, values in ((schema.columns, x), (schema.given, context)):
        if values is None:
            continue
        far = np.argwhere(~(np.abs(values) <= _FARTHEST))
        if len(far):
            row, column = far[0]
            raise TableError(
                f"column {names[column]!r}: the value in row {row} (rows count from 0) is {abs(values[row, column]):.1g} "
                "standard deviations from the others; correct or remove that row"
            )


def _warn_of_linear_dependence(schema: Schema, x: Float64) -> None:
    """Columns that determine each other leave no volume, and a density over no volume is infinite."""
    if len(schema.columns) < 2:
        return
    values, vectors = np.linalg.eigh(np.cov(x, rowvar=False))
    if values[0] < 1e-9 * values[-1]:
        involved = [name for name, weight in zip(schema.columns, vectors[:, 0], strict=True) if abs(weight) > 0.05]
        warnings.warn(
            f"columns {', '.join(map(repr, involved))} are a linear function of each other; a density can grow there "
            "without bound, so its log-likelihood means little: leave one of them out",
            TableWarning,
            stacklevel=3,
        )
