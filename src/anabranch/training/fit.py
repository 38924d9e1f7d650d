"""The one training loop."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from contextlib import nullcontext
from time import perf_counter
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from anabranch.checks import (
    device_here,
    fraction,
    instance_of,
    one_of,
    positive,
    positive_int,
    reference_tensor,
    seed_number,
)
from anabranch.densities import Density
from anabranch.densities.compilation import compiled
from anabranch.draws import drawing
from anabranch.objectives import Completion, Likelihood, Objective
from anabranch.objectives.completion import Completes
from anabranch.objectives.objective import UnsettledWarning
from anabranch.training.background import check_background
from anabranch.training.budget import Budget
from anabranch.training.compiling import shall_compile, steps_within
from anabranch.training.course import ByEpochs, Course, Repeated
from anabranch.training.diagnosis import NonFiniteError
from anabranch.training.history import Epoch, History
from anabranch.training.loop import Loop
from anabranch.training.off_scale import off_scale, warn_if_behind
from anabranch.training.precision import PRECISIONS, Precision
from anabranch.training.rows import Rows, RowStream, read_labels, read_rows, read_validation, split_rows
from anabranch.training.schedule import Schedule

_EPOCHS = 100
# of steps, where their number is not known: what the warm-up is a fraction of
_WARMED = 2_000
# passes over the rows that a fit within a budget is taken to make, when it is weighed whether to compile
_PASSES = 50


def fit(
    density: Density,
    x: Tensor | ArrayLike | RowStream,
    context: Tensor | ArrayLike | None = None,
    *,
    labels: Tensor | ArrayLike | None = None,
    weights: Tensor | ArrayLike | None = None,
    objective: Objective | None = None,
    validation: float | Tensor | ArrayLike | tuple[Any, Any] = 0.1,
    validation_weights: Tensor | ArrayLike | None = None,
    epochs: int | None = None,
    minutes: float | None = None,
    schedule: Schedule | None = None,
    batch_size: int = 512,
    learning_rate: float = 5e-3,
    weight_decay: float = 1e-5,
    warmup: float = 0.05,
    clip: float = 5.0,
    noise: float = 0.0,
    average: float = 0.0,
    patience: int | None = 20,
    background: bool = False,
    seed: int | None = None,
    device: str | torch.device | None = None,
    compile: bool | Literal["auto"] = "auto",
    precision: Precision = "float32",
    callback: Callable[[Epoch], bool | None] | None = None,
    progress: bool = True,
    keep: bool = False,
) -> History:
    """Fit a density to rows by minimising its mean `loss`, and leave it with the best weights found.

    AdamW with a linear warm-up and a half-cosine decay over all epochs, clipped gradients, and early stopping on the
    validation rows, whose best weights are restored at the end (also after Ctrl-C, or an error). On several processes
    started by `accelerate launch`, each takes its share of every batch.

    With `minutes` in place of epochs the rate stays constant after the warm-up, as long as the validation loss falls; when
    it no longer does, or the time left is just enough, the rate falls to zero over the last quarter of all steps, from
    the best weights. A fit that so ends by itself depends on rows and seed alone; one that the time ends depends on the
    speed of the machine too. The steps of both are in `History.schedule`, and `fit(schedule=...)` takes them again.

    Args:
        density: what to fit; it is changed in place.
        x: (rows, *event), a tensor of the density's dtype or an array. No infinity, and no NaN unless it
            means a gap to the density. Or a `RowStream` of rows that do not lie in memory, contexts included, which takes no
            labels, weights, objective, noise or background, and rows of one's own for validation, or none.
        context: (rows, c), if the density takes one.
        labels: (rows), whole numbers: the component of each row, if the density is a mixture, -1 where it is not known. A
            labelled row adds the log-likelihood of both, see `objectives.Likelihood`.
        weights: (rows), at least 0: a row counts so many times in the mean of the losses. Rows of weight 0 are left out.
        objective: what to minimise in place of `loss`, a sum of `anabranch.objectives`. Early stopping goes by `loss`,
            and begins when the objective no longer changes what is fitted (`Objective.settled`). For rows with gaps and a
            density that draws them (`AnyOrder`) the default is `Completion()`.
        validation: the fraction of rows to hold out for early stopping, or rows of your own, one at least (with a context: a
            tuple of both); 0 for none.
        validation_weights: (rows) of validation rows of your own, as `weights`.
        epochs: at most so many passes over the training rows; by default 100, or with minutes as many as there is time for.
        minutes: at most so long, validation and compilation included. With epochs too, whichever ends first: the rate
            begins to fall so that it reaches zero there. An objective or noise, which go by the share of the fit that is
            done, take epochs.
        schedule: the steps of an earlier fit, in place of epochs and minutes: with the same density, rows, seed and other
            arguments, on a machine and with versions of the same kind, they give the same numbers.
        batch_size: at most so many rows in one step. Every epoch takes all rows, in as few batches as that allows, whose
            sizes differ by one at most.
        learning_rate: the highest reached.
        weight_decay: AdamW's, on the weight matrices of networks; never on biases, nor on parameters of transforms and
            densities, for which 0 is no simpler than another value.
        warmup: the fraction of all steps spent raising the learning rate; with minutes, of 2,000 steps.
        clip: largest norm of the gradient.
        noise: standard deviation of normal noise on the training rows, in units of each column's own; it falls to 0 over the
            first 70 % of the steps. It keeps a large model from fitting few rows one by one. It takes rows out of bounds,
            so a density must be defined there.
        average: d in [0, 1); above 0, validation and result have weights averaged over about the last 1 / (1 - d) steps.
        patience: stop after so many epochs without a better validation loss; None for never. With minutes a number is not
            read: a fit ends when the loss has not fallen for a quarter of its steps (`training.plateau.Plateau`), or with
            None only when the time is used.
        background: score the validation rows as if Student t densities of the training rows' mean and covariance stood
            behind the density, with the weight of one row, so that a single row that an otherwise good density calls
            impossible does not decide which weights are the best. `fit_ensemble` puts it there for good.
        seed: of everything that the fit draws (the split, the order of rows, noise, dropout); None draws one from torch's
            global generator, which is otherwise left alone, so that
            `torch.manual_seed` makes everything repeatable, initial weights included.
        device: where to train; by default where the density is. The density is back on its own device afterwards.
        compile: whether to train a compiled density (`Density.compile`): "auto" if there is a compiler and the run is long
            enough to pay it back, which a line of the log "anabranch" says. The same numbers up to rounding.
        precision: of the networks' matrix products while training: "float32"; "tf32", on NVIDIA GPUs; "bfloat16". Validation
            has the full one, whatever is given here.
        callback: called with every `Epoch`; return True to stop.
        progress: whether to show a progress bar (on terminals).
        keep: whether Ctrl-C, or a loss that becomes NaN or infinite, ends the fit as a callback would, once there are
            weights to keep: with them, and "interrupted" or "non-finite" in `History.stopped`.

    Returns:
        the `History` of the fit.

    Raises:
        ValueError: rows that do not fit the density, are not finite, or are too few; weights below 0, or all 0.
        NonFiniteError: a loss or gradient became NaN or infinite; it names step, row and layer, and the density has the
            last good weights.

    Warns:
        ScaleWarning: rows far from mean 0 and deviation 1 that the density has not coped with. Recipes of `flows` do.
        UnsettledWarning: the fit ended while its objective still changed what is fitted.

    Example:
        >>> import torch
        >>> import anabranch as ab
        >>> x = 3 + 2 * torch.randn(1000, 2)
        >>> normal = ab.densities.Normal(torch.zeros(2), learnable=True)
        >>> history = ab.fit(normal, x, epochs=20, batch_size=100, learning_rate=0.1, seed=0)
        >>> bool((normal.theta.loc - 3).abs().max() < 0.5)
        True
    """
    if not isinstance(density, Density):
        raise ValueError(f"density: expected a Density, got {type(density).__name__}")
    batch_size = positive_int("batch_size", batch_size)
    if schedule is not None:
        instance_of("schedule", schedule, Schedule)
        if epochs is not None or minutes is not None:
            raise ValueError(
                "schedule: expected None with epochs or minutes, got one; it says itself when the fit ends"
            )
    if minutes is not None:
        minutes = positive("minutes", minutes)
        if epochs is None and (noise or (objective is not None and objective.by_epochs)):
            raise ValueError(
                "epochs: expected a number with noise, or with an objective that goes by epochs, got minutes alone"
            )
    elif epochs is None and schedule is None:
        epochs = _EPOCHS
    epochs = None if epochs is None else positive_int("epochs", epochs)
    learning_rate, clip = positive("learning_rate", learning_rate), positive("clip", clip)
    weight_decay = 0.0 if weight_decay == 0 else positive("weight_decay", weight_decay)
    warmup, average = fraction("warmup", warmup), fraction("average", average)
    noise = 0.0 if noise == 0 else positive("noise", noise)
    if objective is not None:
        instance_of("objective", objective, Objective)
    one_of("precision", precision, PRECISIONS)
    if background:
        check_background(density)
    if patience is not None:
        patience = positive_int("patience", patience)
    if not any(parameter.requires_grad for parameter in density.parameters()):
        raise ValueError(f"density: expected trainable parameters, but this {type(density).__name__} has none")
    if any(parameter.is_inference() for parameter in density.parameters()):
        raise ValueError(
            "density: expected parameters that can be trained, got some made within torch.inference_mode()"
        )
    seed = int(torch.randint(2**31, ()).item()) if seed is None else seed_number(seed)
    generator = torch.Generator().manual_seed(seed)

    if isinstance(x, RowStream):
        others = {"context": context, "labels": labels, "weights": weights, "objective": objective}
        given = [name for name, value in others.items() if value is not None]
        given += [name for name, value in {"noise": noise, "background": background}.items() if value]
        if given:
            raise ValueError(f"x: expected rows in memory with {', '.join(given)}, got a stream of rows")
        if isinstance(validation, (int, float, np.number)) and validation:
            raise ValueError(f"validation: expected rows, or 0, with a stream of rows, got {validation}")
        rows: Rows | RowStream = x
    else:
        rows = read_rows(density, x, context)
    if len(rows) == 0:
        raise ValueError("x: expected at least one row, got none")
    if background and isinstance(rows, Rows) and rows.gaps:
        raise ValueError(
            "background: expected rows without gaps, for a broad density to stand behind, got some with NaN"
        )
    if labels is not None and isinstance(rows, Rows):
        rows.labels = read_labels(density, labels, len(rows))
        objective = Likelihood() if objective is None else objective
        if not objective.uses_labels:
            raise ValueError("objective: expected one that uses the labels, such as Likelihood(), got none")
    if weights is not None and isinstance(rows, Rows):
        rows = rows.with_weights(weights)
    if objective is None and isinstance(density, Completes) and (not isinstance(rows, Rows) or rows.gaps):
        objective = Completion()
    training: Rows | RowStream
    if isinstance(validation, (int, float, np.number)):
        if validation_weights is not None:
            raise ValueError("validation_weights: expected None, since validation is a fraction of the rows, got some")
        training, held_out = (
            split_rows(rows, fraction("validation", validation), generator) if isinstance(rows, Rows) else (rows, None)
        )
    else:
        training, held_out = rows, read_validation(density, validation)
        if validation_weights is not None:
            held_out = held_out.with_weights(validation_weights, name="validation_weights")
    history = History(len(training), 0 if held_out is None else len(held_out), seed)

    like = reference_tensor(density)
    home = torch.device("cpu") if like is None else like.device
    target = home if device is None else device_here("device", device)
    # a caller may have switched gradients off; a fit needs them
    with torch.inference_mode(False), torch.enable_grad(), drawing(seed):
        course = _course(len(training), held_out, batch_size, epochs, minutes, schedule, warmup, patience, objective)
        loop = Loop(
            density,
            training,
            held_out,
            history,
            generator,
            course=course,
            epochs=-(-(course.steps or 0) // -(-len(training) // batch_size)),
            batch_size=batch_size,
            clip=clip,
            device=target,
            objective=objective,
            noise=noise,
            average=average,
            background=background,
        )
        rows_a_step = min(batch_size, len(training))
        if schedule is not None and compile == "auto":
            compile = schedule.compiled
        planned = course.steps or _PASSES * loop.batches
        if minutes is not None:
            planned = min(planned, steps_within(60 * minutes, density, rows_a_step))
        history.compiled = shall_compile(compile, density, target, rows_a_step, planned)
        compilation = compiled(density) if history.compiled else nullcontext()
        try:
            with compilation:
                loop.run(
                    learning_rate=learning_rate,
                    weight_decay=weight_decay,
                    precision=precision,
                    callback=callback,
                    progress=progress,
                    clock=perf_counter,
                )
        except (KeyboardInterrupt, NonFiniteError) as error:
            if keep and history.best_epoch:
                history.stopped = "interrupted" if isinstance(error, KeyboardInterrupt) else "non-finite"
            else:
                _explain_scale(error, training)
                raise
        finally:
            density.to(home)
    if objective is not None and objective.phases and not objective.settled and history.stopped != "callback":
        warnings.warn(
            f"the fit ended after {loop.steps_done:,} steps, before {type(objective).__name__} had come to its last phase; "
            "give it more minutes or epochs",
            UnsettledWarning,
            stacklevel=2,
        )
    if isinstance(training, Rows):
        warn_if_behind(density, training.to(home))
    return history


def _explain_scale(error: BaseException, training: Rows | RowStream) -> None:
    """Raise a loss that is not finite again with what is wrong with the scale of the rows, if anything is."""
    if isinstance(error, NonFiniteError) and isinstance(training, Rows) and (said := off_scale(training)):
        text = f"{error}; {said}: standardise the rows first"
        raise NonFiniteError(text, error.step, error.row, error.layer) from error


def _course(
    rows: int,
    held_out: Rows | None,
    batch_size: int,
    epochs: int | None,
    minutes: float | None,
    schedule: Schedule | None,
    warmup: float,
    patience: int | None,
    objective: Objective | None,
) -> Course:
    """What was asked for, as the loop takes it."""
    batches = -(-rows // batch_size)
    phases = () if objective is None else objective.phases
    if schedule is not None:
        return Repeated(schedule, phases)
    if minutes is None:
        return ByEpochs(epochs or _EPOCHS, batches, warmup, patience, phases)
    every = (
        None if objective is not None and objective.by_epochs else _between_validations(batches, held_out, batch_size)
    )
    most = None if epochs is None else epochs * batches
    rising = round(warmup * (_WARMED if most is None else min(most, _WARMED)))
    return Budget(60 * minutes, rising, every, most, stops=patience is not None, phases=phases)


def _between_validations(batches: int, held_out: Rows | None, batch_size: int) -> int:
    """Steps: about a pass over the rows, but not so few that validation, nor so many that its decisions, take long."""
    scored = 0 if held_out is None else len(held_out)
    # a step takes about three times as long as to score its rows: validation takes an eighth of the time at most
    most = max(200, -(-3 * scored // batch_size))
    return min(batches, most) if batches >= 25 else 25 // batches * batches
