"""Latent-variable models whose prior is a mixture, as mixtures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor
from torch.distributions.constraints import Constraint

from anabranch.checks import instance_of
from anabranch.densities import Density, Mixture
from anabranch.densities.contexts import at_every_context, context_for
from anabranch.densities.density import Weigh
from anabranch.densities.events import without_nan
from anabranch.models.latent_variable import LatentVariable
from anabranch.networks import Network
from anabranch.networks.reader import check_reader, outputs_of
from anabranch.transforms.transform import common_shape


class LatentMixture(Mixture):
    r"""A latent-variable model whose prior is a mixture, p(z) = sum_y p(z, y), as a mixture over y:

    .. math:: p(x) = \sum_y p(x, y), \qquad p(x, y) = \int p(z, y)\, p(x \mid z)\, dz

    Components of z's prior are classes of x: labels of a fit choose the component (`objectives.SemiSupervised`), and what
    is asked of mixtures is answered for x. One draw of z from the posterior q(z | x) serves all components, so that their
    number costs little: log p(z, y) p(x | z) / q(z | x) is the bound of log p(x, y), and its log sum exp over y that of
    log p(x), the bound of the model itself.

    `log_posterior` is p(y | z) of one draw of z, and `estimate_posterior` weighs many draws. With a network q(y | x) it is
    the network's guess, which the bound trains with everything else, as that of `FlowMixture`.
    Source: Jiang et al., 2017, arXiv:1611.05148 (VaDE); Johnson et al., 2016, arXiv:1603.06277.

    Args:
        model: whose prior is a `Mixture`, such as `vaes.priors.gaussian_mixture`, and whose posterior is reparameterized.
        posterior: a network from x (in its shape or as a vector) to K numbers, the logits of q(y | x); None for none.

    Raises:
        ValueError: a prior that is no mixture, a posterior whose draws are not differentiable, a network that does not fit.

    Example:
        >>> import torch
        >>> import anabranch as ab
        >>> from anabranch.families import Gaussians
        >>> prior = ab.vaes.priors.gaussian_mixture(latent=2, components=3)
        >>> model = ab.models.LatentMixture(ab.vaes.vae(4, Gaussians(1), 2, prior, hidden=(16,)))
        >>> x = model.sample((5,), generator=0)
        >>> model.lower_bound(x).shape, model.log_posterior(x).shape
        (torch.Size([5]), torch.Size([5, 3]))
    """

    likelihood = "bound"
    gaps = False

    def __init__(self, model: LatentVariable, posterior: Network | None = None) -> None:
        instance_of("model", model, LatentVariable)
        prior = model.prior
        if not isinstance(prior, Mixture):
            raise ValueError(
                f"model: expected one whose prior is a Mixture, such as vaes.priors.gaussian_mixture, got a "
                f"{type(prior).__name__}"
            )
        if not model.posterior.reparameterized:
            raise ValueError(
                f"model: expected one whose posterior's draws are differentiable (`reparameterized`), got a "
                f"{type(model.posterior).__name__}, whose are not; a Normal is one"
            )
        contexts = [model.context_shape]
        if posterior is not None:
            instance_of("posterior", posterior, Network)
            check_reader("posterior", posterior, model.event_shape, prior.components)
            contexts.append(posterior.context_shape)
        super().__init__(prior.components, model.event_shape, common_shape("context_shape", contexts))
        self.model = model
        self.posterior = posterior
        self.variational = posterior is not None
        self.reparameterized = model.reparameterized

    def parts(self) -> Sequence[Density]:
        """The model."""
        return (self.model,)

    @property
    def support(self) -> Constraint:
        """The model's."""
        return self.model.support

    def initialize(self, x: Tensor, context: Tensor | None = None) -> None:
        """Initialize the model."""
        self.model.initialize(x, context_for(self.model, context))

    def _joint_log_prob(self, x: Tensor, context: Tensor | None) -> Tensor:
        self._expect_exact("joint_log_prob")
        return self._joint_log_weight(x, context)

    def _joint_log_weight(self, x: Tensor, context: Tensor | None) -> Tensor:
        likely, divergences, broken = self._terms(x, context, weights=True)
        return torch.where(broken.unsqueeze(-1), torch.nan, likely.unsqueeze(-1) - divergences)

    def _joint_weighed(self, x: Tensor, context: Tensor | None, weigh: Weigh) -> Tensor:
        likely, divergences, broken = self._terms(x, context, weights=False)
        each = [weigh(likely, one.unsqueeze(-1)) for one in divergences.unbind(dim=-1)]
        return torch.where(broken.unsqueeze(-1), torch.nan, torch.stack(each, dim=-1))

    def _weighed(self, x: Tensor, context: Tensor | None, weigh: Weigh) -> Tensor:
        if not self.variational:
            return self.model._weighed(x, context_for(self.model, context), weigh)
        return super()._weighed(x, context, weigh)

    def _sample(self, shape: torch.Size, context: Tensor | None) -> Tensor:
        return self.model._sample(shape, context)

    def _symptoms(self, x: Tensor, context: Tensor | None) -> list[UserWarning]:
        return self.model._symptoms(x, context_for(self.model, context))

    def _terms(self, x: Tensor, context: Tensor | None, weights: bool) -> tuple[Tensor, Tensor, Tensor]:
        """log p(x | z) of one z for each x, or a weight's logarithm, log q(z | x) - log p(z, y), and which x had NaN."""
        model, model_context = self.model, context_for(self.model, context)
        x, broken = without_nan(self, at_every_context(self, x, context))
        z, log_q = model._drawn(x, model_context)
        given = model._context_of(model.decoder, z, model.prior.event_shape, model_context)
        likely = (model.decoder._log_weight if weights else model.decoder._lower_bound)(x, given)
        prior = cast(Mixture, model.prior)
        joint = prior._joint_log_weight if weights else prior._joint_lower_bound
        return likely, log_q.unsqueeze(-1) - joint(z, context_for(prior, model_context)), broken

    def _log_q(self, x: Tensor, context: Tensor | None) -> Tensor:
        if self.posterior is None:
            raise ValueError("posterior: expected a network, got None")
        x = at_every_context(self, x, context)
        return outputs_of(self.posterior, x, len(self.event_shape), context).log_softmax(dim=-1)
