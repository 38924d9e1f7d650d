"""The bound of several weighted draws of a hidden variable."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from anabranch.checks import instance_of, positive_int
from anabranch.densities import Density
from anabranch.draws import drawing
from anabranch.models import LatentVariable
from anabranch.networks.reader import as_read
from anabranch.objectives.lower_bound import has_terms
from anabranch.objectives.objective import Batch, Objective
from anabranch.objectives.posterior_alone import posterior_alone


class ImportanceWeighted(Objective):
    r"""The negative bound of K importance weights of a density with a posterior network (IWAE; of rows with gaps MIWAE):

    .. math:: \log p(x) \ge E\Big[\log \tfrac1K \sum_k w_k\Big], \qquad w_k = p(x, z_k) / q(z_k \mid x), \quad z_k \sim q

    It rises to log p(x) with K. With K = 1 it is the lower bound, by draws alone. Of a row with gaps x is what was observed,
    where the density takes NaN for gaps. Gradients go through the draws. Validation rows are judged by the same bound, of
    rows as they are.

    A column may be complete in all rows of a fit. The posterior then has never read a row without it, and guesses badly
    where such a cell is to be filled. With `more_gaps` the posterior alone also learns from the bound of rows of which a
    share of the numbers is hidden, each share from 0 to 1 as likely. Prior and decoder do not: in rows whose gaps depend on
    values that are then hidden, they would learn another density. So the prior can share no parameters with the posterior.
    Source: Burda et al., 2016, arXiv:1509.00519; Mattei and Frellsen, 2019, arXiv:1812.02633, equation 4 (gaps).

    Args:
        particles: K.
        more_gaps: whether the posterior learns to read rows with more gaps than they have, which doubles the time of a step.

    Raises:
        ValueError: fewer than one particle; in a fit, a density without a posterior network, or with one whose draws are not
            differentiable; more gaps of a density that is no `LatentVariable` that takes gaps, or whose prior shares
            parameters with its posterior (`VampPrior`).

    Example:
        >>> import torch
        >>> import anabranch as ab
        >>> from anabranch.families import Gaussians
        >>> from anabranch.objectives import ImportanceWeighted
        >>> _ = torch.manual_seed(0)
        >>> x = torch.randn(200, 1) * torch.tensor([1.0, -1.0]) + 0.1 * torch.randn(200, 2)
        >>> x[::3, 1] = torch.nan
        >>> model = ab.vaes.vae(2, Gaussians(1, floor=0.1), latent=1, hidden=(16,), gaps=True)
        >>> how = ImportanceWeighted(5)
        >>> history = ab.fit(model, x, objective=how, epochs=10, learning_rate=1e-2, seed=0, progress=False)
    """

    uses_labels = False
    by_epochs = False
    reads_rows = False

    def __init__(self, particles: int = 20, more_gaps: bool = False) -> None:
        self.particles = positive_int("particles", particles)
        instance_of("more_gaps", more_gaps, bool)
        self.more_gaps = more_gaps

    @property
    def static(self) -> bool:
        """Whether no step is of the posterior alone."""
        return not self.more_gaps

    def prepare(self, rows: Batch, epochs: int) -> None:
        density = rows.density
        if density.likelihood != "bound" or not has_terms(density):
            raise ValueError(
                f"density: expected one with a posterior network, such as LatentVariable, got a {type(density).__name__}"
            )
        for part in density.modules():
            posterior = getattr(part, "posterior", None)
            if isinstance(posterior, Density) and not posterior.reparameterized:
                raise ValueError(
                    f"density: expected posteriors whose draws are differentiable, got a {type(posterior).__name__}; "
                    "objectives.MultiSample takes others"
                )
        if self.more_gaps:
            _takes_more_gaps(density)

    def __call__(self, batch: Batch) -> Tensor:
        loss = self._loss(batch.density, batch.x, batch.context)
        if not self.more_gaps or not isinstance(batch.density, LatentVariable):
            return loss
        x = as_read(batch.x, batch.density)
        share = torch.rand(len(x), *(1 for _ in x.shape[1:]), dtype=x.dtype, device=x.device)
        with posterior_alone(batch.density):
            return loss + self._loss(batch.density, x.masked_fill(torch.rand_like(x) < share, math.nan), batch.context)

    def validation_loss(self, density: Density, x: Tensor, context: Tensor | None) -> Tensor:
        """The loss itself: by the bound of one draw a posterior that has many would seem worse than it is."""
        with drawing(0):
            return self._loss(density, x, context)

    def _loss(self, density: Density, x: Tensor, context: Tensor | None) -> Tensor:
        log_w = density._log_weight(x.expand(self.particles, *x.shape), context)
        return math.log(self.particles) - torch.logsumexp(log_w, dim=0)


def _takes_more_gaps(density: Density) -> None:
    """Raise ValueError for a density whose posterior cannot learn alone from rows with more gaps."""
    if not isinstance(density, LatentVariable):
        raise ValueError(
            f"more_gaps: expected False of a density that is no LatentVariable, got True of a {type(density).__name__}"
        )
    if not density.gaps:
        raise ValueError("more_gaps: expected False of a model that takes no gaps, got True; make it with gaps=True")
    of_posterior = {id(parameter) for parameter in density.posterior.parameters()}
    if any(id(parameter) in of_posterior for parameter in density.prior.parameters()):
        raise ValueError(
            f"more_gaps: expected False of a {type(density.prior).__name__} that shares parameters with the posterior and "
            "would learn from hidden numbers too, got True"
        )
