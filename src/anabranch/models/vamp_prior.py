"""The prior that is a mixture of a posterior at pseudo-inputs."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.distributions.constraints import Constraint

from anabranch.checks import instance_of, positive_int
from anabranch.densities import CompositeMixture, Density
from anabranch.densities.score import Score


class VampPrior(CompositeMixture):
    r"""p(z) = 1/K \sum_k q(z | u_k): the posterior q(z | x) of a latent-variable model, averaged over K pseudo-inputs u_k.

    The best prior of all is the average of the posterior over the data, which is too long a sum and overfits; this one has K
    terms, whose pseudo-inputs are trained. They are numbers that the encoder reads in the place of x, so also where x are
    whole numbers any real ones, in the unit of the data's deviation; they start at rows of the first batch of a fit.

    Give the model the same posterior: prior and posterior share its parameters, also in a copy and in a file.
    Source: Tomczak and Welling, 2018, arXiv:1705.07120.

    Args:
        posterior: q, any density with a context.
        components: K.

    Raises:
        ValueError: a posterior that takes no context, or of which only a bound or an estimate is known.

    Example:
        >>> import torch
        >>> import anabranch as ab
        >>> from anabranch.densities import Normal
        >>> posterior = Normal(torch.zeros(2), context=3)
        >>> prior = ab.models.VampPrior(posterior, components=10)
        >>> model = ab.models.VAE(prior, Normal(torch.zeros(3), context=2), posterior)
        >>> prior.log_prob(prior.sample((5,))).shape, model.lower_bound(torch.randn(5, 3)).shape
        (torch.Size([5]), torch.Size([5]))
    """

    def __init__(self, posterior: Density, components: int = 50) -> None:
        instance_of("posterior", posterior, Density)
        if posterior.context_shape is None or posterior.likelihood != "exact":
            raise ValueError(
                f"posterior: expected a density with a context whose likelihood is exact, got a {type(posterior).__name__} "
                f"{'without a context' if posterior.context_shape is None else 'of which less is known'}"
            )
        super().__init__(positive_int("components", components), posterior.event_shape)
        self.posterior = posterior
        self.pseudo_inputs = PseudoInputs(self.components, posterior.context_shape)

    def parts(self) -> Sequence[Density]:
        """The posterior."""
        return (self.posterior,)

    @property
    def support(self) -> Constraint:
        """The posterior's."""
        return self.posterior.support

    def _joint_score(self, x: Tensor, context: Tensor | None, score: Score) -> Tensor:
        each = x.unsqueeze(x.dim() - len(self.event_shape))
        return score(self.posterior, each, self.pseudo_inputs()) - math.log(self.components)

    def _symptoms(self, x: Tensor, context: Tensor | None) -> list[UserWarning]:
        return []  # the posterior is asked where it is one

    def _sample(self, shape: torch.Size, context: Tensor | None) -> Tensor:
        inputs = self.pseudo_inputs()
        chosen = torch.randint(self.components, shape, device=inputs.device)
        return self.posterior._sample(torch.Size(), inputs[chosen])


class PseudoInputs(nn.Module):
    """Trained numbers that a posterior reads in the place of data.

    Args:
        count: how many.
        shape: of each.
    """

    def __init__(self, count: int, shape: torch.Size) -> None:
        super().__init__()
        self.values = nn.Parameter(torch.randn(count, *shape))
        # a step of the optimiser is as large for them as for weights, whatever the unit of the data
        self.register_buffer("unit", torch.ones(()))
        self.register_buffer("started", torch.tensor(False))

    def forward(self) -> Tensor:
        """(count, *shape), in the data's unit."""
        return self.values * self.get_buffer("unit")

    def start(self, rows: Tensor) -> None:
        """Start at rows (n, *shape) drawn without replacement, as long as there are any. Once.

        Where there are fewer rows than pseudo-inputs the others are rows with noise of a tenth of their deviation.
        """
        started = self.get_buffer("started")
        if bool(started) or not len(rows):
            return
        started.fill_(True)
        count = len(self.values)
        with torch.no_grad():
            unit = (rows - rows.mean(dim=0)).square().mean().sqrt()
            unit = torch.where(unit > 0, unit, 1.0)
            self.get_buffer("unit").copy_(unit)
            order = torch.randperm(len(rows), device=rows.device).repeat(-(-count // len(rows)))[:count]
            noise = torch.randn_like(self.values)
            noise[: len(rows)] = 0
            self.values.copy_(rows[order] / unit + 0.1 * noise)
