"""Several fits to the same rows, each of which holds out others of them."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from anabranch.checks import positive_int, read_tensor, reference_tensor, seed_number
from anabranch.densities import Density
from anabranch.models import Ensemble
from anabranch.training.background import background_weight, broad_density
from anabranch.training.fit import fit
from anabranch.training.history import History
from anabranch.training.rows import read_rows
from anabranch.training.splitting import hold_out, stratified


def fit_ensemble(
    build: Callable[[int], Density],
    x: Tensor | ArrayLike,
    context: Tensor | ArrayLike | None = None,
    *,
    labels: Tensor | ArrayLike | None = None,
    members: int = 5,
    folds: int = 10,
    background: bool = False,
    seed: int = 0,
    **options: Any,
) -> tuple[Ensemble, list[History]]:
    """Fit several densities, each stopped on another fold of the rows, and take their mean.

    Every row trains all members but one, and a held-out fold only says when to stop: few rows are used to the full, and the
    mean of members that overfit differently overfits less. It takes `members` times as long as one fit.

    Args:
        build: makes a density, ready to be fitted, from a seed. Mixtures whose components are to mean the same need starts
            from the same assignment, see `start_from`.
        x: as for `fit`.
        context: as for `fit`.
        labels: as for `fit`. With labels the ensemble is aligned: its components are those that the labels name.
        members: how many, at most as many as folds.
        folds: into how many parts the rows are cut, at random, each with its share of every label; a member holds out one,
            but for the last row of a class that would have none left.
        background: add Student t densities of the rows' mean and covariance as a last member, with the weight that the
            held-out rows ask for (and one row more): what single fits have not seen they may call impossible, and a few
            such rows among those to come cost more than all others gain. Known as the noise component of a mixture
            (Banfield and Raftery, 1993). Held-out rows are scored with it, as by `fit(background=True)`.
        seed: of the cut and of the first member; the next ones follow.
        options: more options of `fit`.

    Returns:
        the `Ensemble` and the histories of its members' fits.

    Raises:
        ValueError: more members than folds, or more folds than rows; a background for densities with a context, of
            another support than all vectors, or of events that are no vectors.

    Example:
        >>> import torch
        >>> import anabranch as ab
        >>> def build(seed):
        ...     torch.manual_seed(seed)
        ...     return ab.Flow(ab.flows.realnvp(features=2, blocks=2, hidden=(8,)))
        >>> ensemble, histories = ab.fit_ensemble(build, torch.randn(100, 2), members=2, epochs=2, progress=False)
        >>> ensemble.components
        2
    """
    members, folds, seed = positive_int("members", members), positive_int("folds", folds, least=2), seed_number(seed)
    count = int(np.shape(x)[0])
    if not members <= folds <= count:
        raise ValueError(f"members, folds: expected members <= folds <= {count} rows, got {members} and {folds}")
    if labels is not None and np.shape(labels) != (count,):
        raise ValueError(f"labels: expected one for each of the {count} rows, got shape {tuple(np.shape(labels))}")
    if "validation" in options:
        raise ValueError("validation: expected none, since each member holds out a fold, got one")
    named = None if labels is None else read_tensor("labels", labels, None).detach().cpu().long()
    order = stratified(torch.from_numpy(np.random.default_rng(seed).permutation(count)), named)
    ends = np.cumsum([len(fold) for fold in order.tensor_split(folds)])
    fitted: list[Density] = []
    histories, outs = [], []
    for i, (start, end) in enumerate(itertools.pairwise([0, *ends[:members].tolist()])):
        held_out, kept = hold_out(order, slice(start, end), named)
        kept = kept.sort().values
        outs.append(held_out)
        rest, out = (_rows(x, index) for index in (kept, held_out))
        given, given_out = (None if context is None else _rows(context, index) for index in (kept, held_out))
        density = build(seed + i)
        history = fit(
            density,
            rest,
            given,
            labels=None if labels is None else _rows(labels, kept),
            validation=out if given_out is None else (out, given_out),
            background=background,
            seed=seed + i,
            **options,
        )
        fitted.append(density)
        histories.append(history)
    weights = None
    if background:
        like = reference_tensor(fitted[0])
        rows = read_rows(fitted[0], x, None).read().x.to("cpu" if like is None else like.device)
        broad = broad_density(rows)
        unseen = [rows[out.to(rows.device)] for out in outs]
        pairs = [(_scores(member, part), _scores(broad, part)) for member, part in zip(fitted, unseen, strict=True)]
        weight = background_weight(*(torch.cat(scores) for scores in zip(*pairs, strict=True)))
        weights = [(1 - weight) / members] * members + [weight]
        fitted.append(broad)
    return Ensemble(fitted, aligned=labels is not None, weights=weights), histories


def _scores(density: Density, rows: Tensor) -> Tensor:
    with torch.no_grad():
        return torch.cat([density.log_prob(part) for part in rows.split(4096)])


def _rows(values: Any, index: Tensor) -> Any:
    return values[index] if isinstance(values, Tensor) else np.asarray(values)[index.numpy()]
