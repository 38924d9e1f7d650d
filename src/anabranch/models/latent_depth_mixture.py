"""The mixture over the depths of a model of which bounds are known."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn
from torch.distributions.constraints import Constraint

from anabranch.checks import at_least_zero, instance_of
from anabranch.densities import Density, Mixture
from anabranch.densities.contexts import at_every_context, context_batch, context_rows
from anabranch.densities.density import Weigh
from anabranch.densities.weighted_completion import of_one_component
from anabranch.draws import drawing
from anabranch.families.draw_levels import draw_levels
from anabranch.models.depths import Depths, Terms, difference
from anabranch.networks import Network
from anabranch.networks.of_context import network_of_context
from anabranch.networks.reader import check_reader, outputs_of
from anabranch.transforms.transform import common_shape


class LatentDepthMixture(Mixture):
    r"""Mixture from depth of a model with hidden variables: the prior enters at level l with probability w_l,

    .. math::
        p(x) = \sum_l w_l\, p_l(x), \qquad
        \log p(x) \ge \sum_l q(l \mid x) \Big(E_q\Big[\log p(x \mid z) - \sum_k \log \frac{q(z_k)}{p(z_k)}\Big]
                      + \log \frac{w_l}{q(l \mid x)}\Big)

    where the inner sum is over the hidden variables that depth l uses (`Depths`). A network guesses the depth, q(l | x), and
    is trained with everything else by the bound, which is tight where all guesses are exact. Without a network the bound is
    the logarithm of the sum over l of w_l times an importance weight of p_l(x).

    `estimate` takes weights of all depths for each draw, and `estimate_posterior` says by such weights how probable
    each depth is given x, beside the guess (`log_posterior`). Sampling draws l first and starts at its level, so the
    work is that of the depth drawn.
    Source: Dinh, 2022 (mixtures from depth, of models with bounds).

    Args:
        depths: densities that share their parts, such as `Entries`.
        posterior: a network from x (in its shape or as a vector) to D numbers, the logits of q(l | x); None for none.
        gate: a network from the context to D numbers, the logits of w; by default w is constant, and trained.
        lead: by how many nats the deepest component's weight starts ahead of each other one's.

    Raises:
        ValueError: networks that do not fit.

    Example:
        >>> import torch
        >>> from anabranch.models import Entries, LatentDepthMixture
        >>> from anabranch.networks import MLP
        >>> from anabranch.testing import linear_gaussian_chain
        >>> model = LatentDepthMixture(Entries(linear_gaussian_chain(levels=3)), posterior=MLP(2, 3))
        >>> x = model.sample((5,), generator=0)
        >>> model.lower_bound(x).shape, model.log_posterior(x).shape
        (torch.Size([5]), torch.Size([5, 3]))
    """

    likelihood = "bound"

    def __init__(
        self, depths: Depths, posterior: Network | None = None, gate: Network | None = None, lead: float = 0.0
    ) -> None:
        instance_of("depths", depths, Depths)
        contexts = [depths.context_shape]
        if posterior is not None:
            instance_of("posterior", posterior, Network)
            check_reader("posterior", posterior, depths.event_shape, depths.count)
            contexts.append(posterior.context_shape)
        if gate is not None:
            network_of_context(gate, f"{depths.count} outputs, one for each depth", depths.count)
            contexts.append(gate.in_shape)
        super().__init__(depths.count, depths.event_shape, common_shape("context_shape", contexts))
        self.depths = depths
        self.posterior = posterior
        self.gate = gate
        self.variational = posterior is not None
        self.gaps = depths.parts()[0].gaps and (posterior is None or posterior.gaps)
        start = torch.zeros(depths.count)
        start[:-1] -= at_least_zero("lead", lead)
        self.logits = nn.Parameter(start)

    def parts(self) -> Sequence[Density]:
        """Those of the depths."""
        return self.depths.parts()

    def readers(self) -> Sequence[Density]:
        """The deepest, which reads x as they all do."""
        return self.parts()[:1]

    @property
    def support(self) -> Constraint:
        """That of the deepest."""
        return self.parts()[0].support

    def weights(self, context: Tensor | ArrayLike | None = None) -> Tensor:
        """w: (D), or with a gate (*context batch, D)."""
        return self._log_weights(self._checked_context(context)).exp()

    def terms(
        self,
        x: Tensor | ArrayLike,
        context: Tensor | ArrayLike | None = None,
        generator: torch.Generator | int | None = None,
    ) -> list[Terms]:
        """The terms of the bound of every depth, of one draw of all hidden variables (`Depths`).

        Args:
            x: (*batch, *event).
            context: as elsewhere.
            generator: of the draws, as of `sample`.
        """
        x, context = self._checked(x, context)
        with drawing(generator):
            return self._terms(x, context)

    def expected_depth(self, context: Tensor | ArrayLike | None = None) -> Tensor:
        """The mean number of a drawn depth, from 1 on: one number, or with a gate one for each context."""
        w = self.weights(context).detach()
        return w @ torch.arange(1, self.components + 1, dtype=w.dtype, device=w.device)

    def initialize(self, x: Tensor, context: Tensor | None = None) -> None:
        """Initialize the depths."""
        self.depths.initialize(x, self._for_depths(context))

    def weighted_completion(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor] | None:
        """That of one of the depths, drawn by their weights at what was observed."""
        if not self.gaps:
            return None
        completions = self.depths.completions(at_every_context(self, x, context), self._for_depths(context))
        if completions is None:
            return None
        return of_one_component(completions, self._log_weights(context))

    def _joint_log_prob(self, x: Tensor, context: Tensor | None) -> Tensor:
        self._expect_exact("joint_log_prob")
        return self._joint_log_weight(x, context)

    def _joint_log_weight(self, x: Tensor, context: Tensor | None) -> Tensor:
        x = at_every_context(self, x, context)
        return self.depths.log_weights(x, self._for_depths(context)) + self._log_weights(context)

    def _joint_loss(self, x: Tensor, context: Tensor | None) -> Tensor:
        """Of a guessed depth by the bound, which may have formulas where weights have draws."""
        if not self.variational:
            return -self._joint_log_weight(x, context)
        return -self._joint_weighed(x, context, difference)

    def _joint_weighed(self, x: Tensor, context: Tensor | None, weigh: Weigh) -> Tensor:
        bounds = [terms.weighed(weigh) for terms in self._terms(x, context)]
        return torch.stack(bounds, dim=-1) + self._log_weights(context)

    def _lower_bound(self, x: Tensor, context: Tensor | None) -> Tensor:
        return -self._loss(x, context)

    def _terms(self, x: Tensor, context: Tensor | None) -> list[Terms]:
        return self.depths.terms(at_every_context(self, x, context), self._for_depths(context))

    def _log_q(self, x: Tensor, context: Tensor | None) -> Tensor:
        if self.posterior is None:
            raise ValueError("posterior: expected a network, got None")
        x = at_every_context(self, x, context)
        return outputs_of(self.posterior, x, len(self.event_shape), context).log_softmax(dim=-1)

    def _sample(self, shape: torch.Size, context: Tensor | None) -> Tensor:
        batch = shape + context_batch(self, context)
        depths = draw_levels(self._log_weights(context).expand(*batch, self.components)).flatten()
        x = self.depths.draw(depths, self._for_depths(context_rows(self, context, batch)))
        return x.reshape(*batch, *self.event_shape)

    def _log_weights(self, context: Tensor | None) -> Tensor:
        logits = self.logits if self.gate is None else self.logits + self.gate(context)
        return logits.log_softmax(dim=-1)

    def _for_depths(self, context: Tensor | None) -> Tensor | None:
        return None if self.depths.context_shape is None else context
