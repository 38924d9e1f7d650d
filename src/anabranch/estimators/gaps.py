"""The density that is fitted to rows with gaps."""

from __future__ import annotations

from contextlib import suppress

import numpy as np
import torch
from numpy.typing import NDArray

from anabranch.estimators.stacking import epochs_and_batch
from anabranch.families import Logistics
from anabranch.models import AnyOrder
from anabranch.training import NonFiniteError, fit

Float64 = NDArray[np.float64]

_LEAST_TO_HOLD_OUT = 20
_STEPS = 2_000


def fit_any_order(
    z: Float64,
    weights: Float64,
    seed: int,
    *,
    epochs: int | None = None,
    device: str | torch.device | None = None,
) -> AnyOrder:
    """Fit a model of any order to rows of which some values are NaN, by the likelihood of what was observed.

    Args:
        z: (rows, columns), each column with mean 0 and deviation 1 or about.
        weights: (rows), above 0.
        seed: of everything random.
        epochs: at most; by default as many as make 2,000 steps, but 4 to 60.
        device: where to train.

    Returns:
        the model, float64.
    """
    # a row of gaps alone says nothing
    some = np.flatnonzero(~np.isnan(z).all(axis=1))
    z, weights = z[some], weights[some]
    rows, columns = z.shape
    components, hidden = (4, 32) if rows < 1_000 else (8, 64) if rows < 10_000 else (8, 128)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = AnyOrder([Logistics(components) for _ in range(columns)], hidden=hidden)
    most, batch_size = epochs_and_batch(rows, _STEPS)
    epochs = most if epochs is None else epochs
    x = torch.from_numpy(z.astype(np.float32))
    # read off all rows, of which a first batch might miss a column
    model.initialize(x)
    # the last good weights are kept
    with suppress(NonFiniteError):
        fit(
            model,
            x,
            weights=torch.from_numpy(weights.astype(np.float32)),
            validation=0.1 if rows >= _LEAST_TO_HOLD_OUT else 0,
            epochs=epochs,
            batch_size=batch_size,
            learning_rate=3e-3,
            patience=max(5, epochs // 4),
            seed=seed,
            device=device,
            progress=False,
        )
    return model.double()
