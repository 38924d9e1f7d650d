"""The density of the other columns, given what was observed in some."""

from __future__ import annotations

import warnings
from collections.abc import Mapping

from numpy.typing import ArrayLike
from torch import Tensor

from anabranch.densities import Density, at_context
from anabranch.densities.reordered import given
from anabranch.queries.columns import others, pairs, read_observed
from anabranch.queries.estimate import ImpossibleError, QueryWarning
from anabranch.queries.estimated_subset import EstimatedSubset
from anabranch.queries.log_prob_at import log_prob_at

# draws of a hidden variable that a conditional should be worth
_LEAST_EFFECTIVE = 30.0


def conditional(
    density: Density,
    observed: Mapping[int, float],
    context: Tensor | ArrayLike | None = None,
    *,
    proposals: int = 1024,
    chains: int = 256,
    moves: int = 32,
    seed: int = 0,
) -> Density:
    r"""p(x_rest | x_observed), of the columns that were not observed, in their order:

    .. math:: p(x_R \mid x_O) = p(x_R, x_O) / p(x_O)

    Exact for Gaussians and their mixtures, closed forms, products, and mixtures of those, whose weights are multiplied by
    how likely each component made what was observed. Of an `AnyOrder` it is a `Subset`, exact where the observed columns
    come first in the model's order. Of a `LatentVariable` that takes gaps it is what the decoder makes of weighted draws of
    z (`DecodedDraws`). Otherwise an `EstimatedSubset`, which samples by
    importance resampling followed by Markov chains: its `diagnosis()` has R-hat and effective sample sizes, its
    `log_prob_with_error` the error of log p(x_O).

    Args:
        density: any density over vectors.
        observed: from numbers of columns to finite values. Nothing observed gives the density itself.
        context: (context features,), for a density that takes one.
        proposals, chains, moves, seed: as of `EstimatedSubset`.

    Raises:
        ValueError: an unknown column, all columns, NaN (leave such a column out) or infinity; values that the density calls
            impossible, outside its support for instance; a context that does not fit.

    Warns:
        QueryWarning: too few effective samples, or chains that have not mixed.

    Example:
        >>> import torch
        >>> import anabranch as ab
        >>> mixture = ab.densities.GaussianMixture([[0.0, 1.0], [4.0, 2.0]])
        >>> ab.queries.conditional(mixture, {0: 4.0}).log_prob(torch.tensor([2.0]))
        tensor(-0.9191)
        >>> flow = ab.Flow(ab.flows.realnvp(features=2, blocks=2))
        >>> given = ab.queries.conditional(flow, {0: 0.5})
        >>> given.sample((100,)).shape, bool(given.diagnosis().r_hat < 1.05)
        (torch.Size([100, 1]), True)
    """
    columns, values = read_observed(observed, density)
    fixed = at_context(density, context)
    if not columns:
        return fixed
    if not others(columns, fixed.event_shape[0]):
        raise ValueError("observed: expected some column to be left, got all of them; log_prob gives their density")
    seen = given(fixed, columns)
    if seen is not None:
        _check_possible(columns, values, log_prob_at(seen, values).value)
        found = fixed.conditional(columns, values)
        if found is not None:
            _warn_of_few(found, columns, values)
            return found
    rest = others(columns, fixed.event_shape[0])
    estimated = EstimatedSubset(fixed, rest, columns, values, proposals, chains, moves, seed)
    estimated.normaliser()  # what is impossible is found here, not with the first sample
    return estimated


def _warn_of_few(density: Density, columns: list[int], values: Tensor) -> None:
    """Warn where weighted draws of a hidden variable are worth few."""
    if density.effective_draws < _LEAST_EFFECTIVE:
        warnings.warn(
            f"observed: the draws of the hidden variable are worth {density.effective_draws:.1f} independent ones at "
            f"{pairs(columns, values)}, fewer than {_LEAST_EFFECTIVE:.0f}; the posterior fits "
            "it badly, and answers are rough",
            QueryWarning,
            stacklevel=3,
        )


def _check_possible(columns: list[int], values: Tensor, log_p: Tensor) -> None:
    """Raise ImpossibleError where what was observed has no probability, or less than any float."""
    if bool(log_p.isnan()):
        raise ImpossibleError(
            f"observed: expected values at which the density is a number, got {pairs(columns, values)}, where it is NaN; "
            "they are too far from what it was fitted to"
        )
    if bool(log_p.isneginf()):
        raise ImpossibleError(
            f"observed: expected values that are possible, got {pairs(columns, values)}: the density is 0 there, or below "
            "every float; are they within its support?"
        )
