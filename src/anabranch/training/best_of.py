"""Several starts, of which the most promising is fitted."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeVar

from numpy.typing import ArrayLike
from torch import Tensor

from anabranch.checks import positive_int, seed_number
from anabranch.densities import Density
from anabranch.training.diagnosis import NonFiniteError
from anabranch.training.fit import fit
from anabranch.training.history import History

D = TypeVar("D", bound=Density)


def fit_best_of(
    build: Callable[[int], D],
    x: Tensor | ArrayLike,
    context: Tensor | ArrayLike | None = None,
    *,
    starts: int = 4,
    screening: int = 5,
    seed: int = 0,
    epochs: int = 100,
    **options: Any,
) -> tuple[D, History]:
    """Fit several starts for a few epochs each, then the one of lowest loss for all of them: against starts that collapse.

    Each short fit runs through the whole schedule of learning rates, so that its last loss tells how good its basin is; the
    chosen start is built again and fitted from there. No labels are looked at.

    Args:
        build: makes a density, ready to be fitted, from a seed.
        x: as for `fit`.
        context: as for `fit`.
        starts: how many.
        screening: epochs of each short fit.
        seed: of the first; the next ones follow.
        epochs: of the fit of the best.
        options: more options of `fit`.

    Returns:
        the density and the history of its fit.

    Example:
        >>> import torch
        >>> import anabranch as ab
        >>> x = torch.cat([torch.randn(200, 2) - 3, torch.randn(200, 2) + 3])
        >>> def build(seed):
        ...     torch.manual_seed(seed)
        ...     loc = torch.randn(2, 2)
        ...     return ab.densities.GaussianMixture(loc, learnable=True)
        >>> mixture, history = ab.fit_best_of(build, x, starts=2, screening=1, epochs=2)
    """
    seed = seed_number(seed)
    quiet = {**options, "progress": False, "callback": None}
    losses: list[float] = []
    for i in range(positive_int("starts", starts)):
        try:
            losses.append(_loss(fit(build(seed + i), x, context, seed=seed + i, epochs=screening, **quiet)))
        except NonFiniteError:
            if starts == 1:
                raise
            losses.append(math.inf)
    chosen = seed + min(range(starts), key=losses.__getitem__)
    density = build(chosen)
    return density, fit(density, x, context, seed=chosen, epochs=epochs, **options)


def _loss(history: History) -> float:
    loss = history.epochs[-1].loss
    return loss if math.isfinite(loss) else math.inf
