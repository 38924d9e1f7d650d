"""From a table to a density of its rows: the library's main job, in one call."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from anabranch.checks import device_here, one_of, positive, positive_int, reference_tensor, seed_number
from anabranch.densities import Density
from anabranch.tables.architecture import NAMES, Architecture
from anabranch.tables.baselines import gaussian_baselines, mixed_baselines
from anabranch.tables.columns import Column
from anabranch.tables.columns.column import Float64
from anabranch.tables.encoded_stream import EncodedStream
from anabranch.tables.model import TableModel
from anabranch.tables.prepared import Prepared, prepare
from anabranch.tables.report import Report
from anabranch.tables.schema import Schema
from anabranch.training import Epoch, History, NonFiniteError, fit
from anabranch.training.outcome import Score, outcome
from anabranch.training.pace import MINUTES
from anabranch.training.progress import waiting
from anabranch.training.row_stream import RowStream
from anabranch.training.schedule import Schedule
from anabranch.training.watch import Watch


def fit_table(
    table: Any,
    columns: Sequence[str] | None = None,
    given: Sequence[str] = (),
    *,
    kinds: Mapping[str, str | Column] | None = None,
    model: str | None = None,
    structure: str = "autoregressive",
    blocks: int | None = None,
    hidden: Sequence[int] | int | None = None,
    bins: int = 8,
    orders: int = 1,
    latent: int | None = None,
    epochs: int | None = None,
    minutes: float | None = None,
    schedule: Schedule | Mapping[str, Any] | None = None,
    batch_size: int | None = None,
    learning_rate: float | None = None,
    seed: int = 0,
    device: str | torch.device | None = None,
    progress: bool = True,
    callback: Callable[[Epoch], bool | None] | None = None,
    keep: bool = False,
    checkpoint: str | os.PathLike[str] | None = None,
    checkpoint_seconds: float = 60.0,
) -> tuple[TableModel, Report]:
    """Fit a density to the rows of a table, and report its held-out log-likelihood beside two simple densities'.

    The rows are shuffled and split: 80 % to fit, 10 % to stop by, 10 % to report on. What statistics the columns need comes
    from the training rows.

    A table with discrete columns, atoms or gaps is fitted by `models.AnyOrder`, and reported beside a Gaussian copula and
    independent columns, each by its own family, in the same mixed unit; rows with gaps count with what they have. A
    table of real numbers alone is standardised and fitted by a mixture of flows, and reported beside a Gaussian mixture
    (full covariances, the number of components chosen on the validation rows; EM on at most 20,000 rows) and a Gaussian.
    With given columns these are fitted to all columns jointly, and their marginal over the given ones is taken off.
    An autoencoder is fitted by `training.Muon` and the bound of 5 particles (MIWAE). The posterior also learns
    from rows of which more cells are hidden. It is reported by its estimate, by 1,000 draws for each row.

    Args:
        table: a data frame of pandas, polars, pyarrow or another that narwhals reads, a NumPy array, or a `TableStream` of
            Parquet files larger than memory. Of a stream up to 10,000 rows decide when to stop, and up to 10,000 are
            reported on. All others are fitted. Statistics and baselines come from a sample.
        columns: the columns to model; all that are not given, by default.
        given: columns to condition on, without gaps.
        kinds: for some columns the kind, a word or a `Column`, in place of what is inferred. For "any-order" and "vae".
        model: "any-order"; "depth", the exact mixture over the prefixes of the blocks, or "flow", all blocks as one flow,
            which take real numbers without gaps; or "vae", a variational autoencoder of columns of all kinds, with gaps,
            whose log p is an estimate. By default the first for a table that needs it, and "depth" for others.
        structure: of the spline blocks, "autoregressive" or "coupling" (at least 2 columns; faster to sample).
        blocks: by default 5 of splines, or 2 residual ones of any order.
        hidden: sizes of the hidden layers of each spline block, by default (128, 128); or the one width for any order,
            by default 256; or of an autoencoder's networks, by default (128, 128).
        bins: of the splines, as in `flows.nsf`.
        orders: of an any-order model, how many orders of the columns its joint averages. Answers take so many times as long.
        latent: of an autoencoder, how many hidden numbers; by default 8.
        epochs: passes over the training rows, at most, over which the learning rate falls from the first to the last: the
            same fit on every machine. It ends early when the validation rows get no better for a quarter of them.
        minutes: to spend on the fit, at most, without the baselines; by default 5, on every machine, if no epochs are given.
            The fit goes on while the validation rows get better, and ends by itself when they no longer do; where the
            time ends it, the report says by how much it still improved. With epochs too, whichever ends first.
        schedule: the steps of an earlier fit, `report.schedule`, to be taken again, in place of epochs and minutes.
        batch_size: rows in one step, by default 512, or 256 for any order; small tables take an eighth of the training rows.
        learning_rate: the highest reached; by default 5e-3, 2e-3 for any order, 2e-2 of an autoencoder.
        seed: of everything random: the split, initial weights, order of rows, the baselines' starts.
        device: where to train; the CPU by default.
        progress: whether to show a progress bar (on terminals).
        callback: called with every `Epoch`; return True to stop.
        keep: whether Ctrl-C, or a loss that becomes NaN or infinite, ends the fit with the best weights so far, to be
            reported and returned like others; `report.stopped` says so. Without it they raise, as they do before there are
            any weights to keep. An exception that is raised after that has the model so far as its attribute `model`.
        checkpoint: a file for where the fit has come to, from which the same call goes on; see `fit`. Baselines are fitted
            anew.
        checkpoint_seconds: between two times that the file is written.

    Returns:
        the model, and the report.

    Raises:
        ValueError: options that are not as described.
        TableError: a table that cannot be fitted; it names the column and the row.
        NonFiniteError: the loss became NaN or infinite.

    Warns:
        TableWarning: likelihoods of this table can grow without bound: one value fills many rows of a column that is taken
            as continuous, or some columns are a linear function of others. A column of text is an identifier.

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
        >>> table = table.append_column("tall", pyarrow.array(x[:, 0] > 1))
        >>> model, report = fit_table(table, hidden=8, epochs=2)
        >>> [score.name for score in report.scores]
        ['any order', 'Gaussian copula', 'independent columns']
        >>> report.unit
        'nats per row; density in height, weight; probability of tall'
    """
    batch_size = None if batch_size is None else positive_int("batch_size", batch_size)
    orders = positive_int("orders", orders)
    epochs = None if epochs is None else positive_int("epochs", epochs)
    if isinstance(schedule, Mapping):
        schedule = Schedule.from_dict(schedule)
    if minutes is None and epochs is None and schedule is None:
        minutes = MINUTES
    minutes = None if minutes is None else positive("minutes", minutes)
    seed = seed_number(seed)
    target = None if device is None else device_here("device", device)
    if model is not None:
        one_of("model", model, tuple(NAMES))
    if model == "vae" and given:
        raise ValueError(f"given: expected none with model='vae', which takes no context, got {list(given)}")
    prepared = prepare(table, columns, given, kinds, model, seed)
    architecture = Architecture.chosen(prepared.model, structure, blocks, hidden, bins, orders, latent)
    density = architecture.build(prepared.schema, prepared.x[prepared.split[0]], seed)
    pace = architecture.pace.options(prepared.fitted, epochs, batch_size, learning_rate, minutes, schedule)
    watch = Watch(lambda: TableModel(prepared.schema, density), callback)

    begun = time.perf_counter()
    with watch.handed_on():
        history = _fit_rows(
            prepared,
            density,
            pace,
            objective=architecture.objective,
            seed=seed,
            device=target,
            callback=watch,
            progress=progress,
            keep=keep,
            checkpoint=checkpoint,
            checkpoint_seconds=checkpoint_seconds,
        )
    fitted = time.perf_counter()
    table_model = TableModel(prepared.schema, density, rows=prepared.fitted)
    test = prepared.split[2]
    given_test = None if prepared.context is None else prepared.context[test]
    log_p = {architecture.name: table_model.estimate_encoded(prepared.x[test], given_test, prepared.numbers[test])[0]}
    with watch.handed_on(), waiting("baselines", shown=progress):
        log_p |= _of_baselines(prepared, seed)
    # with those of the parts before a checkpoint
    seconds = {"fit": max(fitted - begun, history.epochs[-1].seconds), "baselines": time.perf_counter() - fitted}
    return table_model, _report(prepared, architecture, density, pace, history, log_p, seed, seconds)


def _fit_rows(prepared: Prepared, density: Density, pace: Mapping[str, Any], **options: Any) -> History:
    """Fit a density to the training rows, or to the rows of the stream.

    Args:
        prepared: the table.
        density: of its encoded rows.
        pace: of the fit, as `Pace.options` says it.
        options: of `fit`.

    Raises:
        NonFiniteError: the loss became NaN or infinite. It names no row: the loop counts those it was given, in their
            shuffled order, which is no help to the table's owner.
    """
    train, validate, test = prepared.split
    # in the density's dtype, torch's default when it was built
    like = reference_tensor(density)
    x, context = prepared.tensors(train, like)
    rows: torch.Tensor | RowStream = x
    if prepared.mixed:  # from all training rows, not from a first batch
        density.initialize(x, context)
    if prepared.stream is not None:
        held_out = prepared.numbers[np.r_[validate, test]]
        rows, context = EncodedStream(prepared.stream, prepared.schema, held_out, x.dtype, prepared.usual), None
    try:
        return fit(density, rows, context, validation=prepared.tensors(validate, like), **pace, **options)
    except NonFiniteError as error:
        raise NonFiniteError(
            f"the loss became infinite or NaN at step {error.step}, first in {error.layer}; lower the learning rate",
            error.step,
            None,
            error.layer,
        ) from error


def _of_baselines(prepared: Prepared, seed: int) -> dict[str, Float64]:
    """log p of the encoded test rows by two simple densities, fitted to the training rows: by their names, nats."""
    schema, x, context = prepared.schema, prepared.x, prepared.context
    train, validate, test = prepared.split
    if prepared.mixed:
        both = Schema([*schema.given_parts, *schema.parts]).encode(prepared.table)[0] if schema.given else x
        return mixed_baselines(schema, both[train], both[validate], both[test], len(schema.given), seed)
    joint = x if context is None else np.concatenate([context, x], axis=1)
    return gaussian_baselines(joint[train], joint[validate], joint[test], schema.context_size, seed)


def _report(
    prepared: Prepared,
    architecture: Architecture,
    density: Density,
    pace: Mapping[str, Any],
    history: History,
    log_p: Mapping[str, Float64],
    seed: int,
    seconds: dict[str, float],
) -> Report:
    """What the fit came to.

    Args:
        prepared: the table.
        architecture, density, pace, history, seed: what was fitted, and how.
        log_p: of the encoded test rows, by densities' names, nats.
        seconds: spent.
    """
    schema, (_, validate, test) = prepared.schema, prepared.split
    log_det = schema.log_det(prepared.x[test])
    in_units = {name: values + log_det for name, values in log_p.items()}
    paced = ("epochs", "minutes", "batch_size", "learning_rate")
    return Report(
        model=architecture.words,
        parameters=sum(p.numel() for p in density.parameters() if p.requires_grad),
        columns=list(schema.columns),
        given=list(schema.given),
        rows={"all": prepared.rows, "training": prepared.fitted, "validation": len(validate), "test": len(test)},
        seed=seed,
        unit=schema.unit,
        scores=[Score.of(name, values, in_units[architecture.name]) for name, values in in_units.items()],
        **outcome(history),
        seconds=seconds,
        options=architecture.options | {name: pace[name] for name in paced if pace.get(name) is not None},
        set_apart=prepared.apart,
    )
