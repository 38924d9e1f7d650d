"""Components that vanish when the data do not need them."""

from __future__ import annotations

import logging

import torch
from torch import Tensor

from anabranch.checks import positive
from anabranch.densities import Density
from anabranch.models import FlowMixture
from anabranch.objectives.objective import Batch, Objective

_LOG = logging.getLogger("anabranch")


class Annihilation(Objective):
    r"""A prior on the weights that makes small ones smaller, divided by the number n of rows:

    .. math:: \frac{c}{n} \sum_{k\ \text{alive}} \log w_k .

    It is the part of a minimum message length that depends on the weights, for components of 2c parameters, and the
    logarithm of a Dirichlet density of concentration -c. A component with support from fewer than c rows loses weight
    from step to step; below c / n it is ended for good (`FlowMixture.annihilate`), and a line of the log "anabranch" says
    so. Start with more components than can be needed; how many are left is `model.alive.sum()`, and `model.prune()` is the
    mixture without the others.
    Source: Figueiredo and Jain, 2002, "Unsupervised learning of finite mixture models", with n c in place of its count of
    a component's parameters: networks have far more than their data can determine.

    Args:
        support: c, rows.

    Example:
        >>> from anabranch.objectives import Annihilation, Likelihood
        >>> objective = Likelihood() + Annihilation(support=20)
    """

    uses_labels = False

    def __init__(self, support: float = 10.0) -> None:
        self.support = positive("support", support)
        self._rows = 1

    def prepare(self, density: Density, x: Tensor, context: Tensor | None) -> None:
        _mixture(density)
        self._rows = len(x)

    def __call__(self, batch: Batch) -> Tensor:
        weights = _mixture(batch.density).weights()
        # nothing may pull at a weight that is as good as gone, without end
        penalty = weights.clamp(min=self.support / self._rows / 10).log()
        alive = _mixture(batch.density).get_buffer("alive")
        total = torch.where(alive, penalty, 0.0).sum()
        return (self.support / self._rows * total).expand(len(batch.x))

    def after_epoch(self, density: Density, rows: int) -> None:
        mixture = _mixture(density)
        weights = mixture.weights().detach()
        alive = mixture.get_buffer("alive")
        gone = (alive & (weights < self.support / rows)).nonzero().flatten().tolist()
        gone = [k for k in gone if k != int(weights.argmax())]
        if gone:
            mixture.annihilate(gone)
            _LOG.info("fit: components %s ended, %d left", gone, int(alive.sum()))


def _mixture(density: Density) -> FlowMixture:
    if not isinstance(density, FlowMixture):
        raise ValueError(f"density: expected a FlowMixture for annihilation, got a {type(density).__name__}")
    return density
