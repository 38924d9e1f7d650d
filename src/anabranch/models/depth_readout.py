"""What every layer of a causal network says of the positions: one head for each depth."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu

from anabranch.checks import instance_of
from anabranch.described import Described
from anabranch.families import Channels, Family
from anabranch.models.position_chain import PositionChain
from anabranch.networks import LayeredCausalNetwork
from anabranch.networks.network import Shape


class DepthReadout(Described):
    r"""theta_{dl} = r_l(h_{dl}) + b_d for every position d and depth l: of layer l's hidden state h by a head r_l.

    The deepest head is the network's `read`; the others are linear maps of gelu(h). What is no matter of depth, `chain`
    does. The arguments are those of `models.Autoregressive`, whose network has layers here.
    """

    def __init__(
        self,
        family: Family | Channels,
        network: LayeredCausalNetwork,
        order: Sequence[int] | None = None,
        event_shape: Shape | None = None,
        located: bool = True,
    ) -> None:
        super().__init__()
        instance_of("network", network, LayeredCausalNetwork)
        self.chain = PositionChain(family, network, order, event_shape, located)
        heads = [nn.Linear(width, family.parameters_of_one) for width in network.widths[:-1]]
        for head in heads:
            # at the start every depth is near what fits a position by itself
            nn.init.normal_(head.weight, std=1e-2)
            nn.init.zeros_(head.bias)
        self.heads = nn.ModuleList(heads)

    @property
    def network(self) -> LayeredCausalNetwork:
        """That of the chain."""
        return cast("LayeredCausalNetwork", self.chain.network)

    @property
    def depths(self) -> int:
        """How many."""
        return self.network.depths

    def hidden(self, x: Tensor, context: Tensor | None) -> list[Tensor]:
        """h of every layer, for x as the network takes it."""
        return self.network.hidden(self.chain.read(x), self.chain.given(context))

    def log_probs(self, x: Tensor, hidden: Sequence[Tensor]) -> Tensor:
        """log p_l(x_d | positions before d), nats: (*batch, *positions, depths), for x as the network takes it."""
        each = [self.chain.start(self._outputs(depth, h)) for depth, h in enumerate(hidden, 1)]
        return torch.stack([self.chain.family.log_prob(x, theta) for theta in each], dim=-1)

    def theta(self, position: int, depth: int, h: Tensor) -> Tensor:
        """(rows, parameters) of one position, read at one depth, for h (rows, width)."""
        return self.chain.start.at(position, self._outputs(depth, h))

    def _outputs(self, depth: int, h: Tensor) -> Tensor:
        return self.network.read(h) if depth == self.depths else self.heads[depth - 1](gelu(h))
