"""Posteriors that are sure of single rows and use all components."""

from __future__ import annotations

import torch
from torch import Tensor

from anabranch.checks import positive
from anabranch.objectives.objective import Batch, Objective, as_mixture


class Information(Objective):
    r"""Minus the information that x has about k, of which the batch is the sample:

    .. math:: -\big(H(\bar q) - s\, \overline{H(q(\cdot \mid x))}\big)

    where a bar is the mean over the batch. The first entropy balances the components, the second makes each row's posterior
    sure. The same number for every row of a batch.
    Source: Krause et al., 2010 (regularized information maximization); Hu et al., 2017, arXiv:1702.08720.

    Args:
        sureness: s; 0 for balance alone.

    Example:
        >>> from anabranch.objectives import Consistency, Information, Likelihood
        >>> objective = Likelihood() + 16 * Consistency(0.2) + 16 * Information()
    """

    uses_labels = False
    reads_rows = False
    static = True

    def __init__(self, sureness: float = 1.0) -> None:
        self.sureness = 0.0 if sureness == 0 else positive("sureness", sureness)

    def prepare(self, rows: Batch, epochs: int) -> None:
        as_mixture(rows.density)

    def __call__(self, batch: Batch) -> Tensor:
        q = batch.log_q.exp()
        information = _entropy(q.mean(dim=0)) - self.sureness * _entropy(q).mean()
        return -information.expand(len(q))


def _entropy(q: Tensor) -> Tensor:
    return -torch.xlogy(q, q.clamp(min=torch.finfo(q.dtype).tiny)).sum(dim=-1)
