"""From a table to a density of its rows: the library's main job, in one call."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console

from anabranch import flows
from anabranch.checks import device_here, one_of, positive, positive_int, read_tensor, reference_tensor, seed_number
from anabranch.densities import Density
from anabranch.draws import drawing
from anabranch.models import AnyOrder, DepthMixture, Flow
from anabranch.models.any_order import WIDTH
from anabranch.models.orders import fullest_first
from anabranch.tables.baselines import gaussian_baselines, mixed_baselines
from anabranch.tables.columns import Column
from anabranch.tables.encoded_stream import EncodedStream
from anabranch.tables.model import TableModel
from anabranch.tables.prepared import prepare
from anabranch.tables.report import Report, Score, outcome
from anabranch.tables.schema import Schema
from anabranch.training import Epoch, NonFiniteError, fit
from anabranch.training.pace import ANY_ORDER, Pace
from anabranch.training.schedule import Schedule

# 80 % to fit, 10 % to stop by, 10 % to report on: below this, the last two say nothing
_LEAST_ROWS = 50
# further out, in standard deviations, float32 is about to lose the square
_FARTHEST = 1e15
# rows of a stream that are held out for each of the two purposes, at most
_HELD_OUT = 10_000


# to spend on a fit, where nothing is said
MINUTES = 5.0
# of flows
_FLOWS = Pace(steps=2_500, most=50)


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
) -> tuple[TableModel, Report]:
    """Fit a density to the rows of a table, and report its held-out log-likelihood beside two simple densities'.

    The rows are shuffled and split: 80 % to fit, 10 % to stop by, 10 % to report on. What statistics the columns need comes
    from the training rows.

    A table with discrete columns, atoms or gaps is fitted by `models.AnyOrder`, and reported beside a Gaussian copula and
    independent columns, each by its own family, in the same mixed unit; rows with gaps count with what they have. A
    table of real numbers alone is standardised and fitted by a mixture of flows, and reported beside a Gaussian mixture
    (full covariances, the number of components chosen on the validation rows; EM on at most 20,000 rows) and a Gaussian.
    With given columns these are fitted to all columns jointly, and their marginal over the given ones is taken off.

    Args:
        table: a data frame of pandas, polars, pyarrow or another that narwhals reads, a NumPy array, or a `TableStream` of
            Parquet files larger than memory. Of a stream up to 10,000 rows decide when to stop, and up to 10,000 are
            reported on. All others are fitted. Statistics and baselines come from a sample.
        columns: the columns to model; all that are not given, by default.
        given: columns to condition on, without gaps.
        kinds: for some columns the kind, a word or a `Column`, in place of what would be inferred. For "any-order".
        model: "any-order"; "depth", the exact mixture over the prefixes of the blocks, or "flow", all blocks as one flow,
            which take real numbers without gaps. By default the first for a table that needs it, and "depth" for others.
        structure: of the spline blocks, "autoregressive" or "coupling" (at least 2 columns; faster to sample).
        blocks: by default 5 of splines, or 2 residual ones of any order.
        hidden: sizes of the hidden layers of each spline block, by default (128, 128); or the one width for any order,
            by default 256.
        bins: of the splines, as in `flows.nsf`.
        orders: of an any-order model, how many orders of the columns its joint averages. Answers take so many times as long.
        epochs: passes over the training rows, at most, over which the learning rate falls from the first to the last: the
            same fit on every machine. It ends early when the validation rows get no better for a quarter of them.
        minutes: to spend on the fit, at most, without the baselines; by default 5, on every machine, if no epochs are given.
            The fit goes on while the validation rows get better, and ends by itself when they no longer do; where the
            time ends it, the report says by how much it still improved. With epochs too, whichever ends first.
        schedule: the steps of an earlier fit, `report.schedule`, to be taken again, in place of epochs and minutes.
        batch_size: rows in one step, by default 512, or 256 for any order; small tables take an eighth of the training rows.
        learning_rate: the highest reached; by default 5e-3, or 2e-3 for any order.
        seed: of everything random: the split, initial weights, order of rows, the baselines' starts.
        device: where to train; the CPU by default.
        progress: whether to show a progress bar (on terminals).
        callback: called with every `Epoch`; return True to stop.
        keep: whether Ctrl-C, or a loss that becomes NaN or infinite, ends the fit with the best weights so far, to be
            reported and returned like others; `report.stopped` says so. Without it they raise, as they do before there are
            any weights to keep. An exception that is raised after that has the model so far as its attribute `model`.

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
        one_of("model", model, tuple(_NAMES))
    prepared = prepare(table, columns, given, kinds, model, seed)
    schema, model, x, context = prepared.schema, prepared.model, prepared.x, prepared.context
    train, validate, test = prepared.split
    mixed = model == "any-order"

    options: dict[str, Any] = {"model": model}
    if mixed:
        width = _width(hidden)
        blocks = 2 if blocks is None else blocks
        options |= {"blocks": blocks, "hidden": width} | ({"orders": orders} if orders > 1 else {})
    else:
        if orders > 1:
            raise ValueError(f"orders: expected 1 with model={model!r}, which has no orders, got {orders}")
        sizes = (128, 128) if hidden is None else (hidden,) if isinstance(hidden, int) else tuple(hidden)
        blocks = 5 if blocks is None else blocks
        options |= {"structure": structure, "blocks": blocks, "hidden": [int(size) for size in sizes], "bins": bins}
    with drawing(seed):
        density: Density
        if mixed:
            families = schema.families()
            order = fullest_first(torch.from_numpy(x[train]), families)
            density = AnyOrder(families, schema.context_size, width, blocks, orders, seed, order)
        else:
            density = _build(model, structure, len(schema.columns), schema.context_size, blocks, sizes, bins)
    pace = (ANY_ORDER if mixed else _FLOWS).options(
        prepared.fitted, epochs, batch_size, learning_rate, minutes, schedule
    )
    paced = ("epochs", "minutes", "batch_size", "learning_rate")
    options |= {name: pace[name] for name in paced if pace.get(name) is not None}

    like = reference_tensor(density)
    dtype = torch.get_default_dtype() if like is None else like.dtype

    def rows(index: NDArray[np.int64]) -> tuple[torch.Tensor, torch.Tensor | None]:
        # in the density's dtype, torch's default when it was built
        return schema.tensor(x[index], dtype), None if context is None else read_tensor("context", context[index], like)

    records: list[Epoch] = []

    def watched(record: Epoch) -> bool | None:
        records.append(record)
        return None if callback is None else callback(record)

    begun = time.perf_counter()
    try:
        if mixed:  # from all training rows, not from a first batch
            density.initialize(*rows(train))
        streamed = None
        if prepared.stream is not None:
            held_out = prepared.numbers[np.r_[validate, test]]
            streamed = EncodedStream(prepared.stream, schema, held_out, dtype, prepared.usual)
        history = fit(
            density,
            *(rows(train) if streamed is None else (streamed, None)),
            validation=rows(validate),
            **pace,
            seed=seed,
            device=target,
            callback=watched,
            progress=progress,
            keep=keep,
        )
    except NonFiniteError as error:
        # the loop counts the rows it was given, in their shuffled order, which is no help to the table's owner
        plain = NonFiniteError(
            f"the loss became infinite or NaN at step {error.step}, first in {error.layer}; lower the learning rate",
            error.step,
            None,
            error.layer,
        )
        _hand_on(plain, schema, density, records)
        raise plain from error
    except BaseException as error:
        _hand_on(error, schema, density, records)
        raise
    fitted = time.perf_counter()

    table_model = TableModel(schema, density, rows=prepared.fitted)
    given_test = None if context is None else context[test]
    results = {_NAMES[model]: table_model.log_prob_encoded(x[test], given_test, prepared.numbers[test])}
    with _waiting("baselines", shown=progress), _handed_on(schema, density, records):
        if mixed:
            both = Schema([*schema.given_parts, *schema.parts]).encode(prepared.table)[0] if schema.given else x
            results |= mixed_baselines(schema, both[train], both[validate], both[test], len(schema.given), seed)
        else:
            joint = x if context is None else np.concatenate([context, x], axis=1)
            results |= gaussian_baselines(joint[train], joint[validate], joint[test], schema.context_size, seed)
    log_det = schema.log_det(x[test])
    own_units = {name: log_p + log_det for name, log_p in results.items()}
    words = (
        f"{_NAMES[model]}, {blocks} residual block{'s' * (blocks > 1)} of {width}"
        if mixed
        else f"{_NAMES[model]} of {blocks} spline {structure} block{'s' * (blocks > 1)}"
    )
    report = Report(
        model=words,
        parameters=sum(p.numel() for p in density.parameters() if p.requires_grad),
        columns=list(schema.columns),
        given=list(schema.given),
        rows={"all": prepared.rows, "training": prepared.fitted, "validation": len(validate), "test": len(test)},
        seed=seed,
        unit=schema.unit,
        scores=[Score.of(name, log_p, own_units[_NAMES[model]]) for name, log_p in own_units.items()],
        **outcome(history),
        seconds={"fit": fitted - begun, "baselines": time.perf_counter() - fitted},
        options=options,
        set_apart=prepared.apart,
    )
    return table_model, report


_NAMES = {"any-order": "any order", "depth": "depth mixture", "flow": "flow"}


def _width(hidden: Sequence[int] | int | None) -> int:
    """The one width of a network of any order."""
    sizes = {WIDTH} if hidden is None else {hidden} if isinstance(hidden, int) else set(hidden)
    if len(sizes) != 1:
        raise ValueError(f"hidden: expected one width for a model of any order, got {sorted(sizes)}")
    return positive_int("hidden", sizes.pop())


def _build(
    model: str, structure: str, features: int, context: int, blocks: int, hidden: Sequence[int], bins: int
) -> Density:
    chain = flows.nsf(features, context, blocks, hidden, bins, structure=structure)
    return DepthMixture(chain, hidden=(64, 64)) if model == "depth" else Flow(chain)


@contextmanager
def _waiting(text: str, shown: bool) -> Iterator[None]:
    """A spinner on standard error, where that is a terminal."""
    console = Console(stderr=True)
    if not (shown and console.is_terminal):
        yield
        return
    with console.status(text):
        yield


def _hand_on(error: BaseException, schema: Schema, density: Density, records: Sequence[Epoch]) -> None:
    """Give an exception the model so far, if a step has led to one: no hour of fitting is lost."""
    if any(record.validation is None or np.isfinite(record.validation) for record in records):
        error.model = TableModel(schema, density)  # type: ignore[attr-defined]


@contextmanager
def _handed_on(schema: Schema, density: Density, records: Sequence[Epoch]) -> Iterator[None]:
    """The same for what is raised inside."""
    try:
        yield
    except BaseException as error:
        _hand_on(error, schema, density, records)
        raise
