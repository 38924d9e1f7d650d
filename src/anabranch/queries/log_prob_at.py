"""log p of points, with its error where it is estimated."""

from __future__ import annotations

from torch import Tensor

from anabranch.densities import Density
from anabranch.queries.estimate import Estimate
from anabranch.queries.estimated_subset import EstimatedSubset


def log_prob_at(density: Density, x: Tensor) -> Estimate:
    """log p(x), (*batch), nats, of a density without a context: exact, or estimated where it has an integral."""
    # it alone knows what its draws are worth
    if isinstance(density, EstimatedSubset):
        return density.log_prob_with_error(x)
    log_p, error = density.estimate(x)
    if not bool((error > 0).any()):
        return Estimate.closed(log_p)
    return Estimate(log_p, error, error.square().reciprocal(), exact=False)
