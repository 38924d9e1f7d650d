"""The density of some of the columns."""

from __future__ import annotations

from collections.abc import Iterable

from numpy.typing import ArrayLike
from torch import Tensor

from anabranch.densities import Density, at_context
from anabranch.densities.reordered import given
from anabranch.models.observed import Observed
from anabranch.queries.columns import check_density, read_columns
from anabranch.queries.estimated_subset import EstimatedSubset


def marginal(
    density: Density,
    columns: int | Iterable[int],
    context: Tensor | ArrayLike | None = None,
    *,
    proposals: int = 1024,
    seed: int = 0,
) -> Density:
    r"""p(x_columns), all other columns integrated out:

    .. math:: p(x_W) = \int p(x_W, x_H)\, dx_H

    Exact for Gaussians and their mixtures, closed forms, products and mixtures of those. Of an `AnyOrder` it is a `Subset`
    of its joint, exact where no integral is left. Of a density with a hidden variable that takes gaps it is the model with
    gaps in the other columns (`Observed`), of which a bound is known. Otherwise it is an `EstimatedSubset`: its
    samples are exact, its log_prob is estimated by importance sampling, and its `log_prob_with_error` gives the error.

    Args:
        density: any density over vectors.
        columns: their numbers, in the order wanted.
        context: (context features,), for a density that takes one: the result is at that context.
        proposals: draws of the stand-in for each estimated log_prob.
        seed: of these.

    Raises:
        ValueError: no columns, unknown ones, one twice; a context that does not fit.

    Example:
        >>> import torch
        >>> import anabranch as ab
        >>> mixture = ab.densities.GaussianMixture([[0.0, 1.0], [4.0, 2.0]])
        >>> ab.queries.marginal(mixture, [1]).log_prob(torch.tensor([1.5]))
        tensor(-1.0439)
        >>> flow = ab.Flow(ab.flows.realnvp(features=3, blocks=2))
        >>> ab.queries.marginal(flow, [2, 0]).sample((5,)).shape
        torch.Size([5, 2])
    """
    chosen = read_columns(columns, check_density(density))
    fixed = at_context(density, context)
    closed = given(fixed, chosen)
    if closed is None and fixed.likelihood == "bound" and fixed.gaps and not fixed.gap_events:
        closed = Observed(fixed, chosen)
    return EstimatedSubset(fixed, chosen, proposals=proposals, seed=seed) if closed is None else closed
