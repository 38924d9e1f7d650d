"""The loss of one member of an ensemble at a time."""

from __future__ import annotations

import torch
from torch import Tensor

from anabranch.densities.contexts import context_for
from anabranch.models import Ensemble
from anabranch.objectives.objective import Batch, Objective


class RandomMember(Objective):
    r"""-log p_m(x) of a member m of an `Ensemble`, drawn at every step as often as its weight says:

    .. math:: E_m[-\log p_m(x)] \ge -\log \sum_m w_m p_m(x).

    A step costs that of one member. It is meant for members that share their parameters, such as one network in several
    orders (`networks.InOrder`): the likelihood of the ensemble takes a pass for each of them. A fit judges validation rows
    by that in any case.
    Source: Germain et al., 2015, arXiv:1502.03509, section 4.2.

    Raises:
        ValueError: the density of the fit is no `Ensemble`.

    Example:
        >>> from anabranch.objectives import RandomMember
        >>> objective = RandomMember()
    """

    uses_labels = False
    by_epochs = False
    reads_rows = False

    def prepare(self, rows: Batch, epochs: int) -> None:
        _ensemble_of(rows)

    def __call__(self, batch: Batch) -> Tensor:
        ensemble = _ensemble_of(batch)
        weights = torch.ones(len(ensemble.members)) if ensemble.log_weights is None else ensemble.log_weights.exp()
        member = ensemble.members[int(torch.multinomial(weights, 1))]
        return member.loss(batch.x, context_for(member, batch.context))


def _ensemble_of(batch: Batch) -> Ensemble:
    if not isinstance(batch.density, Ensemble):
        raise ValueError(f"density: expected an Ensemble, got a {type(batch.density).__name__}")
    return batch.density
