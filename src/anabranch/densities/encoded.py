"""A density whose context a network reads first."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.distributions.constraints import Constraint

from anabranch.checks import instance_of
from anabranch.densities.composite import Composite
from anabranch.densities.density import Density
from anabranch.densities.moments import Moments
from anabranch.densities.score import Score
from anabranch.networks import Network
from anabranch.networks.of_context import network_of_context, read_once


class Encoded(Composite):
    r"""p(x | c) = q(x | h(c)): every part of a density q reads the same features h of the context.

    The usual posterior of a variational autoencoder: c is an image, h an encoder, and q a flow whose base and whose layers
    depend on the features.

    Args:
        density: q, with a context.
        network: h, from c to the context of q.

    Raises:
        ValueError: a density without a context, or with one of another size than the network's outputs.

    Example:
        >>> import torch
        >>> import anabranch as ab
        >>> from anabranch.densities import Encoded, Normal
        >>> from anabranch.networks import MLP
        >>> flow = ab.Flow(ab.flows.maf(2, context=16), base=Normal(torch.zeros(2), context=16))
        >>> posterior = Encoded(flow, MLP((8, 8), 16))
        >>> posterior.sample((5,), context=torch.zeros(8, 8)).shape
        torch.Size([5, 2])
    """

    def __init__(self, density: Density, network: Network) -> None:
        instance_of("density", density, Density)
        if density.context_shape is None:
            raise ValueError(
                f"density: expected one that takes a context, got a {type(density).__name__} that takes none"
            )
        size = density.context_shape.numel()
        network_of_context(network, f"{size} outputs, the context of {type(density).__name__}", size)
        super().__init__(density.event_shape, network.in_shape)
        self.density = density
        self.network = network
        self.reads_gaps = network.gaps

    def parts(self) -> Sequence[Density]:
        """The density."""
        return (self.density,)

    @property
    def support(self) -> Constraint:
        """The density's."""
        return self.density.support

    def divergence(
        self, other: Density, context: Tensor | None = None, other_context: Tensor | None = None
    ) -> Tensor | None:
        """The density's, at the features."""
        return self.density.divergence(other, self._given_features(context), other_context)

    def features(self, context: Tensor) -> Tensor:
        """h(c): (*context batch, *context of the density)."""
        wanted = self.density.context_shape
        y = read_once(self.network, context)
        if wanted is None or self.network.out_shape == wanted:
            return y
        return y.flatten(-len(self.network.out_shape)).unflatten(-1, wanted)

    def initialize(self, x: Tensor, context: Tensor | None = None) -> None:
        """Initialize the density, at the features."""
        self.density.initialize(x, self._given_features(context))

    def _given_features(self, context: Tensor | None) -> Tensor | None:
        return None if context is None else self.features(context)

    def _score(self, x: Tensor, context: Tensor | None, score: Score) -> Tensor:
        return score(self.density, x, self._given_features(context))

    def _sample(self, shape: torch.Size, context: Tensor | None) -> Tensor:
        return self.density._sample(shape, self._given_features(context))

    def _sample_and_log_prob(self, shape: torch.Size, context: Tensor | None) -> tuple[Tensor, Tensor]:
        return self.density._sample_and_log_prob(shape, self._given_features(context))

    def _sample_and_divergence(
        self, other: Density, context: Tensor | None, other_context: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        return self.density._sample_and_divergence(other, self._given_features(context), other_context)

    def _relaxed(self, shape: torch.Size, context: Tensor | None, temperature: float) -> Tensor | None:
        return self.density._relaxed(shape, self._given_features(context), temperature)

    def _nearest(self, x: Tensor) -> Tensor:
        return self.density._nearest(x)

    def _at_context(self, context: Tensor) -> Density | None:
        return self.density._at_context(self.features(context))

    def _moments(self, context: Tensor | None) -> Moments | None:
        return self.density._moments(self._given_features(context))
