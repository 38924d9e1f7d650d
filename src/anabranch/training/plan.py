"""The course that a fit takes by its settings, and whether it is compiled."""

from __future__ import annotations

import torch

from anabranch.densities import Density
from anabranch.objectives import Objective
from anabranch.training.budget import Budget
from anabranch.training.compiling import shall_compile, steps_within
from anabranch.training.course import ByEpochs, Course, Repeated
from anabranch.training.data import Data
from anabranch.training.settings import Settings

# of steps, where their number is not known: what the warm-up is a fraction of
_WARMED = 2_000
# passes over the rows that a fit within a budget is taken to make, when it is weighed whether to compile
_PASSES = 50


def course_of(settings: Settings, data: Data) -> Course:
    """How fast it learns, when it validates and when it ends."""
    objective = data.objective
    phases = () if objective is None else objective.phases
    if settings.schedule is not None:
        return Repeated(settings.schedule, phases)
    batches = -(-len(data.training) // settings.batch_size)
    steps = None if settings.epochs is None else settings.epochs * batches
    if settings.minutes is None and settings.epochs is not None:
        return ByEpochs(settings.epochs, batches, settings.warmup, settings.patience, phases)
    every = _between_validations(batches, data, objective, settings.batch_size)
    rising = round(settings.warmup * (_WARMED if steps is None else min(steps, _WARMED)))
    return Budget(60 * (settings.minutes or 0.0), rising, every, steps, settings.patience is not None, phases)


def compiles(density: Density, data: Data, settings: Settings, steps: int | None, device: torch.device) -> bool:
    """Whether to train a compiled density; where a schedule is taken again, as before."""
    rows = min(settings.batch_size, len(data.training))
    wanted = settings.compile
    if settings.schedule is not None and wanted == "auto":
        wanted = settings.schedule.compiled
    planned = steps or _PASSES * -(-len(data.training) // settings.batch_size)
    if settings.minutes is not None:
        planned = min(planned, steps_within(60 * settings.minutes, density, rows))
    return shall_compile(wanted, density, device, rows, planned)


def _between_validations(batches: int, data: Data, objective: Objective | None, batch_size: int) -> int | None:
    """Steps: about a pass over the rows, but not so few that validation, nor so many that its decisions, take long.

    None for a pass, where an objective goes by passes.
    """
    if objective is not None and objective.by_epochs:
        return None
    scored = 0 if data.held_out is None else len(data.held_out)
    # a step takes about three times as long as to score its rows: validation takes an eighth of the time at most
    most = max(200, -(-3 * scored // batch_size))
    return min(batches, most) if batches >= 25 else 25 // batches * batches
