"""The chain rule over the positions of an event, by a causal network and a family."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from numpy.typing import ArrayLike
from torch import Tensor
from torch.distributions.constraints import Constraint

from anabranch.densities import Density
from anabranch.densities.contexts import context_batch
from anabranch.densities.symptoms import floor_warnings
from anabranch.families import Channels, Family
from anabranch.models.draws_at_temperature import DrawsAtTemperature
from anabranch.models.position_chain import PositionChain, channels_of, number_of
from anabranch.models.stretch import stretch_of
from anabranch.networks import CausalNetwork
from anabranch.networks.network import Shape


class Autoregressive(Density):
    r"""The chain rule over the positions of an event:

    .. math:: p(x \mid c) = \prod_d p(x_d \mid \theta_d), \qquad \theta_d = f_d(x_1, \ldots, x_{d-1}, c) + b_d,

    with f any `CausalNetwork` and p any `Family` of one number, or `Channels` of several. A position is a number of a
    vector, a step of a sequence (positions, channels), a pixel. Whole numbers stay as they are until the network reads their
    `features`: a number for each of a few levels, a scaled value, a learned vector.

    log_prob is one pass of the network over all positions. Sampling takes one step a position, each of which computes only
    what is new: all steps together cost about one pass. b starts at the parameters that fit each position by itself.
    Source: Uria et al., 2016, arXiv:1605.02226 (neural autoregressive distribution estimation).

    Args:
        family: of a position.
        network: from the features of the positions to the family's parameters: `network.outputs` is
            `family.parameters_of_one`, and `network.channels` is `family.inputs`, or None where that is 1.
        order: order[i] is the place, counted row by row, of position i of the network; as they are by default.
        event_shape: of x; by default the network's positions, followed by the channels where the family is of several
            numbers. Images (C, H, W) go with positions (H, W) and C channels, and with positions (H, W, C).
        located: whether every position has a b_d; otherwise all have the same b.

    Raises:
        ValueError: sizes that do not fit, an order that is no permutation of the positions.

    Example:
        >>> import torch
        >>> import anabranch as ab
        >>> from anabranch.families import Levels
        >>> from anabranch.networks import MaskedMLP
        >>> model = ab.models.Autoregressive(Levels(5), MaskedMLP(8, outputs=5, channels=5))
        >>> x = torch.randint(5, (10, 8), dtype=torch.uint8)
        >>> model.log_prob(x).shape, model.sample((3,)).shape, model.complete(x[:, :4]).shape
        (torch.Size([10]), torch.Size([3, 8]), torch.Size([10, 8]))
    """

    def __init__(
        self,
        family: Family | Channels,
        network: CausalNetwork,
        order: Sequence[int] | None = None,
        event_shape: Shape | None = None,
        located: bool = True,
    ) -> None:
        chain = PositionChain(family, network, order, event_shape, located)
        super().__init__(chain.layout.event_shape, network.context_shape)
        self.chain = chain
        self.event_dtype = chain.event_dtype
        self.reparameterized = number_of(family).reparameterized

    @property
    def support(self) -> Constraint:
        """Events of numbers that the family can be."""
        return self.chain.support

    def initialize(self, x: Tensor, context: Tensor | None = None) -> None:
        """Start every position at the parameters that fit it by itself. Once, with the first batch of a fit."""
        self.chain.initialize(x)

    def terms(self, x: Tensor | ArrayLike, context: Tensor | ArrayLike | None = None) -> Tensor:
        """log p(x_d | positions before d, context), nats, whose sum is log_prob: (*batch, *positions)."""
        return self.chain.terms(*self._checked(x, context))

    def complete(
        self,
        prefix: Tensor | ArrayLike,
        shape: tuple[int, ...] = (),
        context: Tensor | ArrayLike | None = None,
        generator: torch.Generator | int | None = None,
    ) -> Tensor:
        """Draw the other positions of events whose first ones are known: (*shape, *batch, *event), without gradients.

        Args:
            prefix: the first k positions in the network's order: (*batch, k), or of channels (*batch, k, channels).
            shape: how many draws for each.
            context: the context or contexts, which broadcast against the batch.
            generator: as of `sample`.

        Raises:
            ValueError: a prefix or a context of another shape.
        """
        return self.draws_at_temperature().complete(prefix, shape, context, generator)

    def draws_at_temperature(self, temperature: float = 1.0, nucleus: float = 1.0) -> DrawsAtTemperature:
        """Draws that are likelier than those of `sample`; log_prob is not their density.

        Args:
            temperature: T. A position has the probabilities p(x_d | ...)^(1 / T), scaled to sum to one; T below 1 gives
                likelier draws.
            nucleus: a position takes only the likeliest values, as many as together have this probability.

        Raises:
            ValueError: either is out of range, or other than 1 for numbers that are not levels.
        """
        return DrawsAtTemperature(self.chain, temperature, nucleus)

    def _symptoms(self, x: Tensor, context: Tensor | None) -> list[UserWarning]:
        family = self.chain.family
        if isinstance(family, Channels):
            return []
        layout = self.chain.layout
        floored = family.floored(self.chain.theta(layout.to_positions(x), context))
        if floored is None:
            return []
        of_events = layout.to_event(floored.flatten(-len(layout.positions)))
        return floor_warnings(of_events, "the family's floor", len(self.event_shape))

    def _log_prob(self, x: Tensor, context: Tensor | None) -> Tensor:
        return self.chain.terms(x, context).flatten(-len(self.chain.network.positions)).sum(dim=-1)

    def _sample(self, shape: torch.Size, context: Tensor | None) -> Tensor:
        return self.chain.draw(shape + context_batch(self, context), context)

    def _given(
        self, wanted: list[int], observed: list[int], values: Tensor | None, context: Tensor | None
    ) -> Density | None:
        """p(x_W | x_O): of the first positions, O before W."""
        open_ = (context is None) != (self.context_shape is None) or (observed and values is None)
        if open_ or channels_of(self.chain.family) is not None:
            return None
        return stretch_of(self.chain, wanted, observed, values, context)
