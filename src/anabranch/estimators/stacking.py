"""The density fitted where no other is asked for: flows and Gaussian mixtures, weighed by rows they have not seen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from anabranch import flows
from anabranch.densities import Density, GaussianMixture
from anabranch.draws import drawing
from anabranch.models import DepthMixture, Ensemble, Flow
from anabranch.training import NonFiniteError, fit
from anabranch.training.baseline import EM_ROWS
from anabranch.training.expectation_maximisation import fit_by_em
from anabranch.training.pace import Pace

Float64 = NDArray[np.float64]

_FOLDS = 10
# fewer different rows than this say a mean and widths, no shape
_LEAST_ROWS = 10
_SIZES = (1, 2, 4, 8, 16, 32)
_SHRINKS = (1e-3, 3e-2, 0.3)
FLOWS = Pace(steps=1_200, patience=5)
_ITERATIONS = 300
_SCORED_AT_ONCE = 4096


def fit_stack(
    z: Float64,
    weights: Float64,
    seed: int,
    *,
    build: Callable[[], Density] | None = None,
    members: int | None = None,
    sizes: Sequence[int] = _SIZES,
    pace: Pace = FLOWS,
    epochs: int | None = None,
    device: str | torch.device | None = None,
) -> Ensemble:
    r"""Fit flows and Gaussian mixtures, each stopped or chosen by another fold of the rows, and mix them,

    .. math:: p(x) = \tfrac1M \sum_m \big(a\, p^{flow}_m(x) + b\, p^{mixture}_m(x)\big) + c\, n(x),

    n a normal, twice as broad in variance as the rows. The weights a, b, c are those most probable after the held-out rows:
    where rows are few, or normal, the flows get little. Source: Smyth and Wolpert, 1999, "Linearly combining density
    estimators via stacking".

    Args:
        z: (rows, columns), finite, different, each column with mean 0 and deviation 1 or about.
        weights: (rows), above 0.
        seed: of everything random.
        build: makes a density to be fitted in place of the flows; by default a mixture from depth, larger for more rows.
        members: M; by default 5 up to 2,000 rows, 3 up to 10,000, else 1.
        sizes: of the Gaussian mixtures, of which one is chosen.
        pace: of the flows' fits.
        epochs: of each flow, at most; by default the pace's.
        device: where to train flows.

    Returns:
        the mixture, float64.

    Example:
        >>> import numpy as np
        >>> from anabranch.estimators.stacking import fit_stack
        >>> z = np.random.default_rng(0).normal(size=(100, 2))
        >>> fit_stack(z, np.ones(100), seed=0, members=2, epochs=1).log_prob([[0.0, 0.0]]).shape
        torch.Size([1])
    """
    rows, columns = z.shape
    # that of columns as wide as all of them are standardised to be, where these rows are too few to say
    all_rows = np.ones(columns)
    if rows < _LEAST_ROWS:
        few, broad = (fit_by_em(z, weights, 1, 1.0, variances=all_rows, widen=widen) for widen in (1.0, 2.0))
        return Ensemble([few, broad], weights=[0.9, 0.1]).double()
    broad = fit_by_em(z, weights, 1, shrink=0.3, variances=all_rows, widen=2.0)
    members = default_members(rows) if members is None else min(members, rows)
    folds = max(2, members, min(_FOLDS, rows))
    order = np.random.default_rng(seed).permutation(rows)
    kinds: list[list[Density]] = [[], []]
    outs = np.array_split(order, folds)[:members]
    unseen = []
    for i, out in enumerate(outs):
        kept = np.setdiff1d(order, out)
        mixture = _choose_mixture(z[kept], weights[kept], z[out], weights[out], sizes, seed + i)
        with drawing(seed + i):
            # as the rows, whatever torch's default is
            flow = (default_flow(len(kept), columns) if build is None else build()).float()
        _fit_flow(
            flow,
            (z[kept], weights[kept]),
            (z[out], weights[out]),
            options=pace.options(len(kept), epochs),
            seed=seed + i,
            device=device,
        )
        for kind, density in zip(kinds, (flow.double(), mixture), strict=True):
            kind.append(density)
        unseen.append(np.column_stack([log_prob(density, z[out]) for density in (flow, mixture, broad)]))
    a, b, c = stacking_weights(np.concatenate(unseen), weights[np.concatenate(outs)])
    return Ensemble(
        [*kinds[0], *kinds[1], broad], weights=[a / members] * members + [b / members] * members + [c]
    ).double()


def default_members(rows: int) -> int:
    """How many fits: as many as it takes to use few rows well, one where there are plenty."""
    return 5 if rows <= 2_000 else 3 if rows <= 10_000 else 1


def default_flow(rows: int, columns: int) -> Density:
    """A mixture from depth of spline flows, larger for more rows."""
    blocks, hidden = (2, (32,)) if rows < 1_000 else (3, (64, 64)) if rows < 10_000 else (4, (96, 96))
    chain = flows.nsf(columns, blocks=blocks, hidden=hidden, bins=8)
    return DepthMixture(chain, hidden=(32,)) if columns > 1 else Flow(chain)


def log_prob(density: Density, z: Float64) -> Float64:
    """log p (rows) of a density in float64, a part of the rows at a time; -inf where it is too small for a float."""
    parts = [np.empty(0)]
    with torch.no_grad():
        for some in torch.from_numpy(np.ascontiguousarray(z)).split(_SCORED_AT_ONCE):
            parts.append(density.log_prob(some).numpy())
    return np.nan_to_num(np.concatenate(parts), nan=-np.inf, posinf=-np.inf, neginf=-np.inf)


def stacking_weights(unseen: Float64, weights: Float64) -> Float64:
    """Of densities with log p (rows, densities), the weights most probable after these rows and one more of each, by EM."""
    share = np.full(unseen.shape[1], 1 / unseen.shape[1])
    best = unseen.max(axis=1, keepdims=True)
    p = np.exp(unseen - np.where(np.isfinite(best), best, 0.0))
    for _ in range(_ITERATIONS):
        responsibilities = p * share
        total = responsibilities.sum(axis=1, keepdims=True)
        responsibilities = np.divide(responsibilities, total, out=np.zeros_like(p), where=total > 0)
        counts = weights @ responsibilities + 1
        share = counts / counts.sum()
    return share


def _fit_flow(
    flow: Density,
    rows: tuple[Float64, Float64],
    out: tuple[Float64, Float64],
    *,
    options: dict[str, Any],
    seed: int,
    device: str | torch.device | None,
) -> None:
    # the last good weights are kept, and the held-out rows say what they are worth
    with suppress(NonFiniteError):
        fit(
            flow,
            _float32(rows[0]),
            weights=_float32(rows[1]),
            validation=_float32(out[0]),
            validation_weights=_float32(out[1]),
            **options,
            seed=seed,
            device=device,
            progress=False,
        )


def _choose_mixture(
    z: Float64, weights: Float64, out: Float64, out_weights: Float64, sizes: Sequence[int], seed: int
) -> GaussianMixture:
    """The Gaussian mixture, of several sizes and regularisations, that is best on the held-out rows."""
    if len(z) > EM_ROWS:
        some = np.random.default_rng(seed).choice(len(z), EM_ROWS, replace=False)
        z, weights = z[some], weights[some]

    def score(mixture: GaussianMixture) -> float:
        return float(out_weights @ log_prob(mixture, out) / out_weights.sum())

    normals = [(shrink, fit_by_em(z, weights, 1, shrink)) for shrink in _SHRINKS]
    shrink, best = max(normals, key=lambda pair: score(pair[1]))
    best_score = score(best)
    for size in sizes[1:]:
        if len(z) < size * (z.shape[1] + 1):
            break
        candidate = fit_by_em(z, weights, size, shrink, seed)
        found = score(candidate)
        if found <= best_score:
            break
        best, best_score = candidate, found
    return best


def _float32(values: Float64) -> Tensor:
    return torch.from_numpy(values.astype(np.float32))
