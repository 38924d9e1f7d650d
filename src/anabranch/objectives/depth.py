"""What it costs to sample."""

from __future__ import annotations

import torch
from torch import Tensor

from anabranch.checks import positive_int
from anabranch.densities import Density
from anabranch.models import DepthMixture
from anabranch.objectives.objective import Batch, Objective


class Depth(Objective):
    r"""The mean number of blocks that a sample of a mixture from depth runs through, E_z[sum_l p(l | z) l].

    Its weight is a price: how many nats of likelihood a row gives up for one block less per sample. The same number for
    every row of a batch.

    Args:
        samples: draws of z for each step's estimate.

    Example:
        >>> from anabranch.objectives import Depth, Likelihood
        >>> objective = Likelihood() + 0.05 * Depth()
    """

    uses_labels = False
    reads_rows = False
    static = True

    def __init__(self, samples: int = 256) -> None:
        self.samples = positive_int("samples", samples)

    def prepare(self, rows: Batch, epochs: int) -> None:
        _mixture(rows.density)

    def __call__(self, batch: Batch) -> Tensor:
        mixture = _mixture(batch.density)
        if batch.context is None:
            return mixture.mean_depth(self.samples, None).expand(len(batch.x))
        some = batch.context[torch.randint(len(batch.context), (self.samples,), device=batch.context.device)]
        return mixture.mean_depth(1, some).mean().expand(len(batch.x))


def _mixture(density: Density) -> DepthMixture:
    if not isinstance(density, DepthMixture):
        raise ValueError(f"density: expected a DepthMixture for a price on depth, got a {type(density).__name__}")
    return density
