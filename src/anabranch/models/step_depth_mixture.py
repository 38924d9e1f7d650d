"""The mixture over the layers of a causal network, a layer for every position."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn
from torch.distributions.constraints import Constraint
from torch.nn.functional import gelu, logsigmoid

from anabranch.checks import as_draws, at_least_zero
from anabranch.densities import Density
from anabranch.densities.contexts import context_batch
from anabranch.densities.mixture import log_sum
from anabranch.draws import drawing
from anabranch.families import Channels, Family
from anabranch.families.draw_levels import draw_levels
from anabranch.models.depth_readout import DepthReadout
from anabranch.networks import LayeredCausalNetwork
from anabranch.networks.network import Shape


class StepDepthMixture(Density):
    r"""An autoregressive model each of whose positions may leave the stack of layers early:

    .. math:: p(x) = \prod_d \sum_l g_l(h_d)\, p_l(x_d \mid h_{dl}), \qquad
              g_l = s_l(h_{dl}) \prod_{j < l} (1 - s_j(h_{dj})), \quad s_L = 1,

    where h_{dl}, the state of layer l at position d, looks at the positions before d alone. So the gate g looks at the
    prefix, and decides at each layer, by that layer's state, whether to leave. The density is exact, in one pass of the
    network and a head and a gate for each layer. A sample leaves a position at the layer drawn. That spares the deeper
    layers where the network `leaves_early` (`FiniteMemory`, `CausalTransformer(reads="first")`); other networks run through
    all of them, since later positions look at them.
    Sources: Dinh, 2022 (mixtures from depth); Graves, 2016, arXiv:1603.08983 (leaving early).

    Args:
        family, network, order, event_shape, located: as of `Autoregressive`; the network has layers.
        lead: how the s_l start: leaving has odds of exp(-lead).
        price: in training mode `loss` adds so many nats for every layer that a position runs through in the mean.
        supervision: and so many times the mean negative log-likelihood of the depths alone.

    Example:
        >>> import torch
        >>> import anabranch as ab
        >>> from anabranch.families import Levels
        >>> from anabranch.networks import FiniteMemory
        >>> network = FiniteMemory(6, outputs=3, channels=3, memory=4, hidden=16, layers=3)
        >>> model = ab.models.StepDepthMixture(Levels(3), network)
        >>> x = model.sample((5,))
        >>> model.log_prob(x).shape, model.depth_of(x).shape
        (torch.Size([5]), torch.Size([5, 6]))
    """

    def __init__(
        self,
        family: Family | Channels,
        network: LayeredCausalNetwork,
        order: Sequence[int] | None = None,
        event_shape: Shape | None = None,
        located: bool = True,
        lead: float = 1.0,
        price: float = 0.0,
        supervision: float = 0.1,
    ) -> None:
        readout = DepthReadout(family, network, order, event_shape, located)
        super().__init__(readout.chain.layout.event_shape, network.context_shape)
        self.readout = readout
        self.price = at_least_zero("price", price)
        self.supervision = at_least_zero("supervision", supervision)
        gates = [nn.Linear(width, 1) for width in network.widths[:-1]]
        for gate in gates:
            nn.init.zeros_(gate.weight)
            nn.init.constant_(gate.bias, -at_least_zero("lead", lead))
        self.gates = nn.ModuleList(gates)
        self.event_dtype = readout.chain.event_dtype
        self.reparameterized = False

    @property
    def support(self) -> Constraint:
        """Events of numbers that the family can be."""
        return self.readout.chain.support

    @property
    def depths(self) -> int:
        """How many layers there are."""
        return self.readout.depths

    def initialize(self, x: Tensor, context: Tensor | None = None) -> None:
        """Start every position at the parameters that fit it by itself. Once, with the first batch of a fit."""
        self.readout.chain.initialize(x)

    def depth_of(self, x: Tensor | ArrayLike, context: Tensor | ArrayLike | None = None) -> Tensor:
        """The mean number of layers, sum_l l g_l, at every position given those before it: (*batch, *positions)."""
        x, context = self._checked(x, context)
        with torch.no_grad():
            return _mean_depth(self._log_gates(self.readout.hidden(self.readout.chain.layout.to_positions(x), context)))

    def sample_with_depth(
        self,
        shape: tuple[int, ...] = (),
        context: Tensor | ArrayLike | None = None,
        generator: torch.Generator | int | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Draws (*shape, *context batch, *event), and the layer at which each position left, (*shape, *context batch,
        *positions); the arguments are those of `sample`.
        """
        with torch.no_grad(), drawing(generator):
            context = self._checked_context(context)
            return self._walk(as_draws("shape", shape) + context_batch(self, context), context)

    def _log_gates(self, hidden: Sequence[Tensor]) -> Tensor:
        """log g_l: (*batch, *positions, depths)."""
        rest = torch.zeros_like(hidden[0][..., 0])
        each = []
        for depth in range(1, self.depths):
            logit = self._leaving(depth, hidden[depth - 1])
            each.append(rest + logsigmoid(logit))
            rest = rest + logsigmoid(-logit)
        return torch.stack([*each, rest], dim=-1)

    def _leaving(self, depth: int, h: Tensor) -> Tensor:
        """The log-odds of leaving after a layer that is not the last, for h (..., width): (...)."""
        return self.gates[depth - 1](gelu(h)).squeeze(-1)

    def _terms(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        """log p_l(x_d | ...) and log g_l: (*batch, *positions, depths) each."""
        x = self.readout.chain.layout.to_positions(x)
        hidden = self.readout.hidden(x, context)
        return self.readout.log_probs(x, hidden), self._log_gates(hidden)

    def _log_prob(self, x: Tensor, context: Tensor | None) -> Tensor:
        terms, gates = self._terms(x, context)
        return self._summed(log_sum(terms + gates))

    def _loss(self, x: Tensor, context: Tensor | None) -> Tensor:
        if not self.training:
            return -self._log_prob(x, context)
        terms, gates = self._terms(x, context)
        loss = -log_sum(terms + gates)
        if self.supervision:
            loss = loss - self.supervision * terms.mean(dim=-1)
        if self.price:
            loss = loss + self.price * _mean_depth(gates)
        return self._summed(loss)

    def _summed(self, each: Tensor) -> Tensor:
        """Over the positions."""
        return each.flatten(-len(self.readout.network.positions)).sum(dim=-1)

    def _sample(self, shape: torch.Size, context: Tensor | None) -> Tensor:
        return self._walk(shape + context_batch(self, context), context)[0]

    def _walk(self, batch: torch.Size, context: Tensor | None) -> tuple[Tensor, Tensor]:
        network, parameters = self.readout.network, self.readout.chain.family.parameters_of_one
        leave = self._leave_early if network.leaves_early else self._run_through
        depths: list[Tensor] = []

        def step(position: int, state: Any, previous: Tensor | None) -> tuple[Tensor, Any]:
            h, state = network.enter(state, previous)
            theta, depth, state = leave(position, h, state)
            depths.append(depth.reshape(batch))
            return theta.reshape(*batch, parameters), state

        events = self.readout.chain.draw(batch, context, step=step)
        return events, torch.stack(depths, dim=-1).unflatten(-1, network.positions)

    def _run_through(self, position: int, h: Tensor, state: Any) -> tuple[Tensor, Tensor, Any]:
        """All layers of a position, and theta at a depth drawn from the gates: (rows, parameters), (rows), the state."""
        hidden = []
        for depth in range(1, self.depths + 1):
            h, state = self.readout.network.deepen(state, depth, h)
            hidden.append(h)
        drawn = draw_levels(self._log_gates(hidden))
        each = torch.stack([self.readout.theta(position, depth, h) for depth, h in enumerate(hidden, 1)], dim=1)
        return each[torch.arange(len(drawn), device=drawn.device), drawn], drawn + 1, state

    def _leave_early(self, position: int, h: Tensor, state: Any) -> tuple[Tensor, Tensor, Any]:
        """The same, each layer for the rows alone that have not left before it."""
        readout = self.readout
        rows = torch.arange(len(h), device=h.device)
        left = torch.full_like(rows, self.depths)
        # not of the dtype of h, which autocast makes coarse
        theta = readout.chain.start.b.new_empty(len(h), readout.chain.family.parameters_of_one)
        for depth in range(1, self.depths):
            h, state = readout.network.deepen(state, depth, h, rows)
            leaves = torch.rand_like(h[..., 0]) < self._leaving(depth, h).sigmoid()
            gone, stay = leaves.nonzero().squeeze(-1), (~leaves).nonzero().squeeze(-1)
            theta[rows[gone]] = readout.theta(position, depth, h[gone]).to(theta.dtype)
            left[rows[gone]] = depth
            rows, h = rows[stay], h[stay]
            if not len(rows):
                return theta, left, state
        h, state = readout.network.deepen(state, self.depths, h, rows)
        theta[rows] = readout.theta(position, self.depths, h).to(theta.dtype)
        return theta, left, state


def _mean_depth(log_gates: Tensor) -> Tensor:
    layers = torch.arange(1, log_gates.shape[-1] + 1, dtype=log_gates.dtype, device=log_gates.device)
    return log_gates.exp() @ layers
