"""The density that is fitted to rows with gaps, or with columns of any kind."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from anabranch.draws import drawing
from anabranch.families import Family
from anabranch.models import AnyOrder
from anabranch.models.orders import fullest_first
from anabranch.training import NonFiniteError, fit
from anabranch.training.pace import ANY_ORDER

Float64 = NDArray[np.float64]

_LEAST_TO_HOLD_OUT = 20


def fit_any_order(
    z: Tensor,
    weights: Float64,
    seed: int,
    *,
    families: Sequence[Family] | None = None,
    context: Float64 | None = None,
    epochs: int | None = None,
    device: str | torch.device | None = None,
) -> AnyOrder:
    """Fit a model of any order to rows of which some values are NaN, by the likelihood of what was observed.

    Args:
        z: (rows, columns), float32.
        weights: (rows), above 0.
        seed: of everything random.
        families: one for each column; None for real numbers of about mean 0 and deviation 1.
        context: (rows, numbers), what the density is conditioned on, or None.
        epochs: at most; by default as many as make 2,500 steps, but 4 to 100.
        device: where to train.

    Returns:
        the model, float64.
    """
    # a row of gaps alone says nothing
    some = (~z.isnan().all(dim=-1)).nonzero().squeeze(-1)
    x = z[some]
    rows, columns = x.shape
    given = None if context is None else torch.from_numpy(context[some.numpy()].astype(np.float32))
    size = 0 if given is None else given.shape[1]
    with drawing(seed):
        model = AnyOrder(columns if families is None else families, size, order=fullest_first(x, families)).float()
    # read off all rows, of which a first batch might miss a column
    model.initialize(x, given)
    # the last good weights are kept
    with suppress(NonFiniteError):
        fit(
            model,
            x,
            given,
            weights=torch.from_numpy(weights[some.numpy()].astype(np.float32)),
            validation=0.1 if rows >= _LEAST_TO_HOLD_OUT else 0,
            **ANY_ORDER.options(rows, epochs),
            seed=seed,
            device=device,
            progress=False,
        )
    return model.double()


def log_terms(model: AnyOrder, z: Float64) -> Float64:
    """log p of each column given those before it, (rows, columns), nats, whose sum is log p of a row; NaN for a gap."""
    with torch.no_grad():
        terms = model.terms(torch.from_numpy(np.ascontiguousarray(z))).numpy()
    return np.where(np.isnan(z), np.nan, np.nan_to_num(terms, nan=-np.inf, posinf=-np.inf, neginf=-np.inf))
