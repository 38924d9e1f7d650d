"""The simple densities beside which a fit to a table is reported, on the same rows and in the same unit."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from anabranch.models import Marginals
from anabranch.tables.columns.column import Column, Float64
from anabranch.tables.schema import Schema
from anabranch.training import fit
from anabranch.training.baseline import choose_gaussian_mixture, conditional_log_prob, fit_gaussian_mixture
from anabranch.training.copula import fit_gaussian_copula

# of a fit of the few numbers that each column has
_STEPS = 400
_COPULA = "Gaussian copula"
_MARGINALS = "independent columns"


def gaussian_baselines(
    train: Float64, validate: Float64, test: Float64, given: int, seed: int
) -> dict[str, NDArray[np.float64]]:
    """log p of the test rows under a chosen Gaussian mixture and under the Gaussian, of encoded numbers without gaps.

    Args:
        train, validate, test: (rows, given + features).
        given: so many first columns are conditioned on.
        seed: of the mixture's start.
    """
    mixture = choose_gaussian_mixture(train, validate, given=given, seed=seed)
    return {
        f"Gaussian mixture of {mixture.components}": conditional_log_prob(mixture, test, given),
        "Gaussian": conditional_log_prob(fit_gaussian_mixture(train, 1, seed), test, given),
    }


def fit_marginals(parts: Sequence[Column], train: Float64, validate: Float64, seed: int = 0) -> Marginals:
    """Each column by its own family, fitted alone, in float64.

    Args:
        parts: the columns.
        train, validate: encoded rows (rows, columns), NaN for gaps.
        seed: of the order of rows.
    """
    marginals = Marginals([part.family() for part in parts]).float()
    schema = Schema(parts)
    x, held_out = (schema.tensor(rows, torch.float32) for rows in (train, validate))
    marginals.initialize(x)
    batch = 2048
    fit(
        marginals,
        x,
        validation=held_out,
        epochs=max(3, round(_STEPS / max(1, len(x) / batch))),
        batch_size=batch,
        learning_rate=0.03,
        patience=None,
        seed=seed,
        compile=False,
        progress=False,
    )
    return marginals.double()


def mixed_baselines(
    schema: Schema, train: Float64, validate: Float64, test: Float64, given: int, seed: int
) -> dict[str, NDArray[np.float64]]:
    """log p of the test rows under a Gaussian copula and under independent columns, of encoded rows of any kinds.

    With given columns the copula is fitted to all of them, and its marginal over the given ones taken off.

    Args:
        schema: of the columns, whose given ones come first in the rows.
        train, validate, test: (rows, given + columns), NaN for gaps.
        given: so many first columns are conditioned on.
        seed: of everything random.
    """
    parts = [*schema.given_parts, *schema.parts]
    marginals = fit_marginals(parts, train, validate, seed)
    copula = fit_gaussian_copula(marginals, torch.from_numpy(train), seed=seed)
    rows = torch.from_numpy(test)
    with torch.no_grad():
        joint = copula.log_prob(rows)
        if given:
            joint = joint - copula.log_prob(_without(rows, slice(given, None)))
        alone = marginals.log_prob(_without(rows, slice(0, given)))
    return {_COPULA: joint.numpy(), _MARGINALS: alone.numpy()}


def _without(x: Tensor, columns: slice) -> Tensor:
    """x with gaps in some columns: their marginal."""
    result = x.clone()
    result[:, columns] = torch.nan
    return result
