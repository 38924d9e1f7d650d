"""The one training loop."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from contextlib import nullcontext
from time import perf_counter
from typing import Any, Literal

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from anabranch.checks import device_here, reference_tensor, seed_number
from anabranch.densities import Density
from anabranch.densities.compilation import compiled
from anabranch.draws import drawing
from anabranch.objectives import Objective
from anabranch.objectives.objective import UnsettledWarning
from anabranch.training.background import check_background
from anabranch.training.changes import Augment
from anabranch.training.checkpoint import Checkpoint
from anabranch.training.data import Data, read_data
from anabranch.training.diagnosis import NonFiniteError, warn_of_symptoms
from anabranch.training.form import check_form
from anabranch.training.graph import Graph
from anabranch.training.history import Epoch, History
from anabranch.training.identity import identity
from anabranch.training.lattice import warn_of_lattice
from anabranch.training.loop import Loop
from anabranch.training.off_scale import explain_scale, warn_if_behind
from anabranch.training.optimiser import Factory
from anabranch.training.part import Part
from anabranch.training.plan import compiles, course_of
from anabranch.training.precision import Precision
from anabranch.training.row_stream import RowStream
from anabranch.training.schedule import Schedule
from anabranch.training.settings import Settings, drawn_seed

# how a fit ends that is over; one that a callback has ended, or an interrupt, may go on
_OVER = ("epochs", "patience", "plateau", "minutes", "schedule")


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
    optimizer: Factory | None = None,
    noise: float = 0.0,
    augment: Augment | None = None,
    average: float = 0.0,
    patience: int | None = 20,
    background: bool = False,
    seed: int | None = None,
    device: str | torch.device | None = None,
    compile: bool | Literal["auto"] = "auto",
    precision: Precision = "float32",
    graph: Graph = "auto",
    checkpoint: str | os.PathLike[str] | None = None,
    checkpoint_seconds: float = 60.0,
    callback: Callable[[Epoch], bool | None] | None = None,
    progress: bool = True,
    keep: bool = False,
) -> History:
    """Fit a density to rows by minimising its mean `loss`, and leave it with the best weights found.

    AdamW, or another optimiser, with a linear warm-up and a half-cosine decay over all epochs, clipped gradients, and early
    stopping on the validation rows, whose best weights are restored at the end (also after Ctrl-C, or an error). On several
    processes started by `accelerate launch`, each takes its share of every batch.

    With `minutes` in place of epochs the rate stays constant after the warm-up, as long as the validation loss falls; when
    it no longer does, or the time left is just enough, the rate falls to zero over the last quarter of all steps, from
    the best weights. A fit that so ends by itself depends on rows and seed alone; one that the time ends depends on the
    speed of the machine too. The steps of both are in `History.schedule`, and `fit(schedule=...)` takes them again.

    With `checkpoint` a fit survives whatever ends its process: the same call goes on from the file, and comes to the same
    weights as one that was left alone, bit for bit on a CPU. Time that was used counts.

    Args:
        density: what to fit; it is changed in place.
        x: (rows, *event), a tensor of the density's dtype or an array. No infinity, and no NaN unless it means a gap to the
            density. Tensors, and arrays mapped from files (`np.load(mmap_mode="r")`), stay where they are: batches are
            gathered there, converted and moved. Or a `RowStream` of rows that do not lie in memory, with contexts, labels
            and weights. Then validation is rows of one's own, or 0, there is no background, and of the objectives those
            are taken that need no look at all rows (`Objective.takes_streams`). Noise takes a pass for the deviations.
        context: (rows, *context), if the density takes one: as many rows as x, each of the density's `context_shape`.
        labels: (rows), whole numbers: the component of each row, if the density is a mixture, -1 where it is not known. A
            labelled row adds the log-likelihood of both, see `objectives.Likelihood`.
        weights: (rows), at least 0: a row counts so many times in the mean of the losses. Rows of weight 0 are left out.
        objective: what to minimise in place of `loss`, a sum of `anabranch.objectives`. Early stopping goes by the mean of
            -`lower_bound` over the validation rows, whatever is minimised, and begins when the objective no longer changes
            what is fitted (`Objective.settled`). For rows with gaps and a density that draws them (`AnyOrder`) the default
            is `Completion()`.
        validation: the fraction of rows to hold out for early stopping, with labels the same of each class, which has one
            row to train on at least; or rows of your own, one at least (with a context: a tuple of both); 0 for none.
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
        optimizer: makes a `torch.optim.Optimizer` of parameter groups, in place of AdamW: a class (`torch.optim.SGD`,
            `ab.training.Muon`, which learns a PixelCNN in fewer steps),
            `functools.partial(torch.optim.SGD, momentum=0.9)`, or a function. The groups hold "params", "lr", which is
            `learning_rate`, "weight_decay" and "matrices", whether they are weights of networks. The schedule
            takes shares of the rates that its groups have.
        noise: standard deviation of normal noise on the training rows, in units of each column's own; it falls to 0 over the
            first 70 % of the steps. It keeps a large model from fitting few rows one by one. It takes rows out of bounds,
            so a density must be defined there, and one of whole numbers takes none.
        augment: a function of the rows of a batch, (rows, *event) on the device of the fit, and a `torch.Generator` there,
            which gives training rows in their place: of the same shape and dtype, and in the same order, for contexts,
            labels and weights stay. It is called before noise is added, and never for validation rows. The same seed gives
            the same rows if it draws from the generator, or from PyTorch's global one.
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
        graph: whether steps on a CUDA device are recorded as graphs and replayed, which spares the time that it takes to
            launch hundreds of small kernels. "auto": where it can be had; a line of the log "anabranch" says why if it
            cannot. True: what stands in the way is raised.
        checkpoint: a file for where the fit has come to. If it is there, and of this fit (the density as it begins, rows and
            settings), the fit goes on from it. A fit that has ended is not repeated: it gives what it gave. The file stays
            until it is removed. `device`, `graph`, `callback`, `progress` and `keep` may be others than before; the callback
            is shown the epochs that are left. Without a seed that of the file is taken.
            Functions and objects (`augment`, `optimizer`, those of an objective) are told by their code, what they read from
            around them and their state, or by name if an installed package has them.
        checkpoint_seconds: between two times that the file is written.
        callback: called with every `Epoch`; return True to stop.
        progress: whether to show a progress bar (on terminals).
        keep: whether Ctrl-C, or a loss that becomes NaN or infinite, ends the fit as a callback would, once there are
            weights to keep: with them, and "interrupted" or "non-finite" in `History.stopped`.

    Returns:
        the `History` of the fit.

    Raises:
        ValueError: rows that do not fit the density, are not finite, or are too few; weights below 0, or all 0; an
            optimizer that lacks some of the parameters; augmented rows of another shape or dtype; a
            checkpoint that is of another fit, or damaged: nothing is overwritten then; with a checkpoint, a function or an
            object with something that cannot be told from another, such as an open file.
        NonFiniteError: a loss or gradient became NaN or infinite; it names step, row and layer, and the density has the
            last good weights.

    Warns:
        CollapseWarning, FloorWarning: what `Density.symptoms` finds at some of the rows.
        LatticeWarning: images hold whole numbers, and the density is one of real numbers.
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
    _check(density, background)
    held = None if checkpoint is None else Checkpoint(checkpoint, checkpoint_seconds)
    if seed is None:
        seed = drawn_seed() if held is None or held.seed is None else held.seed
    settings = Settings(
        epochs=epochs,
        minutes=minutes,
        schedule=schedule,
        batch_size=batch_size,
        learning_rate=learning_rate,
        weight_decay=weight_decay,
        warmup=warmup,
        clip=clip,
        optimizer=optimizer,
        noise=noise,
        augment=augment,
        average=average,
        patience=patience,
        background=background,
        seed=seed_number(seed),
        compile=compile,
        precision=precision,
    )
    generator = torch.Generator().manual_seed(settings.seed)
    data = read_data(
        density, x, context, labels, weights, objective, validation, validation_weights, settings, generator
    )
    if not noise and isinstance(data.training, Part):
        warn_of_lattice(density, data.training)
    if held is not None:
        held.belong_to(identity(density, data, settings, validation, {}))
    if held is not None and held.finished:
        history = _finished(density, data, held)
    else:
        history = _run(density, data, settings, generator, device, graph, held, callback, progress, keep)
    _warn(density, data, history)
    return history


def _check(density: Density, background: bool) -> None:
    """Raise ValueError for what cannot be fitted."""
    if not isinstance(density, Density):
        raise ValueError(f"density: expected a Density, got {type(density).__name__}")
    if background:
        check_background(density)
    if not any(parameter.requires_grad for parameter in density.parameters()):
        raise ValueError(f"density: expected trainable parameters, but this {type(density).__name__} has none")
    if any(parameter.is_inference() for parameter in density.parameters()):
        raise ValueError(
            "density: expected parameters that can be trained, got some made within torch.inference_mode()"
        )


def _run(
    density: Density,
    data: Data,
    settings: Settings,
    generator: torch.Generator,
    device: str | torch.device | None,
    graph: Graph,
    held: Checkpoint | None,
    callback: Callable[[Epoch], bool | None] | None,
    progress: bool,
    keep: bool,
) -> History:
    """Train on the device, and bring the density home, whatever ends it."""
    history = History(len(data.training), 0 if data.held_out is None else len(data.held_out), settings.seed)
    like = reference_tensor(density)
    home = torch.device("cpu") if like is None else like.device
    target = home if device is None else device_here("device", device)
    try:
        # a caller may have switched gradients off; a fit needs them
        with torch.inference_mode(False), torch.enable_grad(), drawing(settings.seed):
            course = course_of(settings, data)
            loop = Loop(density, data, history, settings, course, generator, target, graph)
            history.compiled = compiles(density, data, settings, course.steps, target)
            with compiled(density) if history.compiled else nullcontext():
                loop.run(callback=callback, progress=progress, clock=perf_counter, checkpoint=held)
            if held is not None and history.stopped in _OVER and loop.processes.main:
                held.write(_end(density, data, history), history.epochs[-1].seconds, finished=True)
    except (KeyboardInterrupt, NonFiniteError) as error:
        if not (keep and history.best_epoch):
            explain_scale(error, data.training)
            raise
        history.stopped = "interrupted" if isinstance(error, KeyboardInterrupt) else "non-finite"
    finally:
        density.to(home)
    return history


def _end(density: Density, data: Data, history: History) -> dict[str, Any]:
    """What a fit has come to, for its checkpoint."""
    objective = None if data.objective is None else data.objective.state()
    return {"density": density.state_dict(), "history": history.to_dict(), "objective": objective}


def _finished(density: Density, data: Data, held: Checkpoint) -> History:
    """Give the density and the objective what a fit has come to."""
    before = {name: value.clone() for name, value in density.state_dict().items()}
    present = {"density": before, "history": History(0, 0, 0).to_dict(), "objective": None}
    try:
        with held.taken_up():
            check_form(held.state, present, "state")
            history = History.from_dict(held.state["history"])
            density.load_state_dict(held.state["density"])
            if data.objective is not None:
                data.objective.restore(held.state["objective"], density)
    except ValueError:
        density.load_state_dict(before)
        raise
    return history


def _warn(density: Density, data: Data, history: History) -> None:
    """Warn of an objective that did not come to its last phase, of rows that the density has not coped with, and of what it
    says itself to be wrong.
    """
    objective, steps = data.objective, history.epochs[-1].step if history.epochs else 0
    if objective is not None and objective.phases and not objective.settled and history.stopped != "callback":
        warnings.warn(
            f"the fit ended after {steps:,} steps, before {type(objective).__name__} had come to its last phase; "
            "give it more minutes or epochs",
            UnsettledWarning,
            stacklevel=3,
        )
    if isinstance(data.training, Part):
        warn_if_behind(density, data.training)
        warn_of_symptoms(density, data.training)
