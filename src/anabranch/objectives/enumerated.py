"""The lower bound of a model with few hidden values, by a sum over all of them."""

from __future__ import annotations

from torch import Tensor

from anabranch.checks import positive_int
from anabranch.densities import Density
from anabranch.densities.every_event import MOST, every_event
from anabranch.densities.mixture import evidence_lower_bound
from anabranch.models import LatentVariable
from anabranch.objectives.objective import Batch, Objective


class Enumerated(Objective):
    r"""The negative lower bound of a `LatentVariable` of discrete z without draws, summed over all values of z:

    .. math:: -\sum_z q(z \mid x) \big(\log p(x \mid z) + \log p(z) - \log q(z \mid x)\big)

    Its gradient is exact, where draws are not differentiable and others have variance or bias. Time and memory grow with the
    number of values: 2^n of n zeros and ones.

    Args:
        most: how many values z may have.

    Raises:
        ValueError: in a fit, a density that is no `LatentVariable`, or a prior of more values, or of infinitely many.

    Example:
        >>> from anabranch.objectives import Enumerated
        >>> objective = Enumerated(most=256)
    """

    uses_labels = False
    by_epochs = False
    static = True
    reads_rows = False

    def __init__(self, most: int = MOST) -> None:
        self.most = positive_int("most", most)

    def prepare(self, rows: Batch, epochs: int) -> None:
        every_event("prior", as_latent_variable(rows.density).prior, self.most)

    def __call__(self, batch: Batch) -> Tensor:
        model = as_latent_variable(batch.density)
        z = every_event("prior", model.prior, self.most)
        each = z.unsqueeze(1).expand(len(z), len(batch.x), *z.shape[1:])
        likely, prior, log_q = model._at(each, batch.x, batch.context)
        return -evidence_lower_bound((likely + prior).movedim(0, -1), log_q.movedim(0, -1))


def as_latent_variable(density: Density) -> LatentVariable:
    """The density itself, if it has a posterior that is drawn from.

    Raises:
        ValueError: it has none.
    """
    if not isinstance(density, LatentVariable):
        raise ValueError(f"density: expected a LatentVariable for this objective, got a {type(density).__name__}")
    return density
