"""The lower bound that a posterior network trains, with weights for its terms."""

from __future__ import annotations

import torch
from torch import Tensor

from anabranch.checks import positive
from anabranch.densities import Density
from anabranch.objectives.objective import Batch, Objective


class LowerBound(Objective):
    r"""The negative lower bound of a density with a posterior network, its terms weighed:

    .. math:: -E_q[\log p(x \mid z)] + \beta_t \sum_j \max\big(\lambda, \overline{KL}_j\big)

    where a bar is the mean over the batch, and \beta_t rises from 0 to \beta in the first part of a fit (warm-up), so that
    the posterior does not fall back on the prior before the decoder has learned to use z. Free nats, \lambda, are those
    that a group of hidden numbers may cost without a price. It works on the terms of a `LatentVariable` and of a mixture
    with a posterior network (`Mixture.variational`), also where they are parts of another density. With \beta = 1,
    without warm-up and free nats, it is the density's own bound. A fit judges validation rows by that in any case.
    Source: Bowman et al., 2016, arXiv:1511.06349 (warm-up); Kingma et al., 2016, arXiv:1606.04934, section C.8 (free bits);
    Higgins et al., 2017 (beta).

    Args:
        beta: the weight of the divergence when it is warm.
        warmup: the share of a fit by which it is; 0 for no warm-up.
        free: lambda, nats for each group (`LatentVariable.terms`).

    Example:
        >>> from anabranch.objectives import LowerBound
        >>> objective = LowerBound(warmup=0.2, free=0.1)
    """

    uses_labels = False
    reads_rows = False

    def __init__(self, beta: float = 1.0, warmup: float = 0.0, free: float = 0.0) -> None:
        self.beta = positive("beta", beta)
        self.warmup = 0.0 if warmup == 0 else positive("warmup", warmup)
        self.free = 0.0 if free == 0 else positive("free", free)

    @property
    def static(self) -> bool:
        """Whether nothing is warmed up."""
        return self.warmup == 0

    def prepare(self, rows: Batch, epochs: int) -> None:
        if not has_terms(rows.density):
            raise ValueError(
                "density: expected one with a posterior network, such as LatentVariable, "
                f"got a {type(rows.density).__name__}"
            )

    def __call__(self, batch: Batch) -> Tensor:
        warmth = 1.0 if self.warmup == 0 else min(1.0, batch.progress / self.warmup)

        def weigh(log_likelihood: Tensor, divergence: Tensor) -> Tensor:
            return log_likelihood - self.beta * warmth * self._priced(divergence).sum(dim=-1)

        return -batch.density.weighed_bound(batch.x, weigh, batch.context)

    def _priced(self, divergence: Tensor) -> Tensor:
        if self.free == 0:
            return divergence
        mean = divergence.mean(dim=tuple(range(divergence.dim() - 1)), keepdim=True)
        return torch.clamp(mean, min=self.free).expand(divergence.shape)


def has_terms(density: Density) -> bool:
    """Whether a network guesses a hidden variable, in the density or in a part of it."""
    return any(isinstance(part, Density) and part.variational for part in density.modules())
