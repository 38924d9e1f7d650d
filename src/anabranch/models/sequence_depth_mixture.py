"""The mixture over the layers of a causal network, one layer for a whole event."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions.constraints import Constraint

from anabranch.checks import at_least_zero
from anabranch.densities import Mixture
from anabranch.densities.contexts import context_batch, context_rows
from anabranch.densities.mixture import log_sum
from anabranch.families import Channels, Family
from anabranch.families.draw_levels import draw_levels
from anabranch.models.depth_readout import DepthReadout
from anabranch.networks import LayeredCausalNetwork
from anabranch.networks.network import Shape


class SequenceDepthMixture(Mixture):
    r"""Mixture from depth of an autoregressive model: every prefix of its layers is a component,

    .. math:: p(x) = \sum_l w_l \prod_d p_l(x_d \mid x_1, \ldots, x_{d-1}),

    with p_l read off layer l. It is exact, and costs one pass of the network and a head for each layer. A sample of
    component l runs through the first l layers alone, at every position. Events of many positions hardly leave a choice of
    depth, since the likelihoods of the components differ by many nats: `StepDepthMixture` chooses at every position.
    Source: Dinh, 2022 (mixtures from depth).

    Args:
        family, network, order, event_shape, located: as of `Autoregressive`; the network has layers.
        lead: by how many nats the deepest component's weight starts ahead of each other one's.
        supervision: in training mode `loss` adds so many times the mean negative log-likelihood of the components alone,
            so that every depth learns from every event.

    Example:
        >>> import torch
        >>> import anabranch as ab
        >>> from anabranch.families import Levels
        >>> from anabranch.networks import FiniteMemory
        >>> network = FiniteMemory(6, outputs=3, channels=3, memory=4, hidden=16, layers=3)
        >>> model = ab.models.SequenceDepthMixture(Levels(3), network)
        >>> model.joint_log_prob(model.sample((5,))).shape
        torch.Size([5, 3])
    """

    def __init__(
        self,
        family: Family | Channels,
        network: LayeredCausalNetwork,
        order: Sequence[int] | None = None,
        event_shape: Shape | None = None,
        located: bool = True,
        lead: float = 2.0,
        supervision: float = 0.1,
    ) -> None:
        readout = DepthReadout(family, network, order, event_shape, located)
        super().__init__(readout.depths, readout.chain.layout.event_shape, network.context_shape)
        self.readout = readout
        self.supervision = at_least_zero("supervision", supervision)
        start = torch.zeros(readout.depths)
        start[:-1] -= at_least_zero("lead", lead)
        self.logits = nn.Parameter(start)
        self.event_dtype = readout.chain.event_dtype
        self.loss_is_sum = self.supervision == 0

    @property
    def support(self) -> Constraint:
        """Events of numbers that the family can be."""
        return self.readout.chain.support

    def initialize(self, x: Tensor, context: Tensor | None = None) -> None:
        """Start every position at the parameters that fit it by itself. Once, with the first batch of a fit."""
        self.readout.chain.initialize(x)

    def expected_depth(self) -> float:
        """The mean number of layers that a sample runs through at every position."""
        layers = torch.arange(1, self.components + 1, dtype=self.logits.dtype, device=self.logits.device)
        return float((self.logits.detach().softmax(dim=0) * layers).sum())

    def _joint_log_prob(self, x: Tensor, context: Tensor | None) -> Tensor:
        return self.logits.log_softmax(dim=0) + self._alone(x, context)

    def _loss(self, x: Tensor, context: Tensor | None) -> Tensor:
        if not self.training or self.supervision == 0:
            return -self._log_prob(x, context)
        alone = self._alone(x, context)
        log_p = log_sum(self.logits.log_softmax(dim=0) + alone)
        return -log_p - self.supervision * alone.mean(dim=-1)

    def _alone(self, x: Tensor, context: Tensor | None) -> Tensor:
        """log p_l(x) of every depth: (*batch, depths)."""
        x = self.readout.chain.layout.to_positions(x)
        terms = self.readout.log_probs(x, self.readout.hidden(x, context))
        return terms.flatten(terms.dim() - 1 - len(self.readout.network.positions), -2).sum(dim=-2)

    def _sample(self, shape: torch.Size, context: Tensor | None) -> Tensor:
        batch = shape + context_batch(self, context)
        given = context_rows(self, context, batch)
        depths = draw_levels(self.logits, batch).flatten()
        x = self.logits.new_empty(batch.numel(), *self.event_shape)
        for depth in depths.unique().tolist():
            rows = (depths == depth).nonzero().squeeze(-1)
            x[rows] = self._of_depth(depth + 1, len(rows), None if given is None else given[rows])
        return x.reshape(*batch, *self.event_shape)

    def _of_depth(self, depth: int, count: int, context: Tensor | None) -> Tensor:
        """Events (count, *event) of one component."""
        readout = self.readout

        def step(position: int, state: Any, previous: Tensor | None) -> tuple[Tensor, Any]:
            h, state = readout.network.enter(state, previous)
            for layer in range(1, depth + 1):
                h, state = readout.network.deepen(state, layer, h)
            return readout.theta(position, depth, h), state

        return readout.chain.draw(torch.Size([count]), context, step=step)
