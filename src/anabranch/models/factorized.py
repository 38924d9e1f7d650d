"""Numbers that are independent given the context, each of a family whose parameters a network gives."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions.constraints import Constraint

from anabranch.checks import as_shape
from anabranch.densities import Density, Moments, moments
from anabranch.densities.contexts import context_batch, joint_batch
from anabranch.densities.symptoms import floor_warnings
from anabranch.densities.weighted_completion import of_independent_numbers
from anabranch.families import Channels, Family, NumberByNumber
from anabranch.models.layout import Layout
from anabranch.models.position_chain import PositionStart, channels_of, number_of
from anabranch.networks import Network
from anabranch.networks.network import Shape
from anabranch.networks.of_context import network_of_context, once


class Factorized(Density):
    r"""p(x | c) = prod_i p(x_i | theta_i), theta_i = f_i(c) + b_i: numbers that are independent, given the context.

    The usual decoder of a variational autoencoder: c is the latent variable, f a network, and p a `Family` of one number
    (`Bernoulli`, `Levels`, `Gaussians`, `Logistics`, `Lattice`, ...) or `Channels` of a pixel. b starts at the parameters
    that fit each number by itself. A NaN is a gap, whose factor is left out; of `Channels` it makes the row NaN.

    Args:
        family: of a number, or of the channels of a pixel.
        event_shape: of x: (numbers,), (C, H, W), or any other. Of `Channels`, (C, H, W), (H, W, C) or (n, C).
        network: f, from the context to the parameters. Its outputs are a vector, the parameters of one number (or pixel)
            behind those of the number before; or for events (C, H, W) an image (C times parameters, H, W), that of
            `Channels` (parameters, H, W).
        located: whether every number has a b_i; otherwise all have the same b, as images under convolutions may.

    Raises:
        ValueError: a network of another number of outputs, or that takes a context beside its x.

    Example:
        >>> import torch
        >>> import anabranch as ab
        >>> from anabranch.families import Levels
        >>> from anabranch.networks import MLP
        >>> decoder = ab.models.Factorized(Levels(17), (8, 8), MLP(4, 64 * 17))
        >>> x = decoder.sample((5,), context=torch.zeros(4))
        >>> x.shape, decoder.log_prob(x, torch.zeros(4)).shape
        (torch.Size([5, 8, 8]), torch.Size([5]))
    """

    def __init__(self, family: Family | Channels, event_shape: Shape, network: Network, located: bool = True) -> None:
        if not isinstance(family, (Family, Channels)):
            raise ValueError(f"family: expected a Family or Channels, got {type(family).__name__}")
        shape, channels, parameters = (
            as_shape("event_shape", event_shape),
            channels_of(family),
            family.parameters_of_one,
        )
        positions = shape if channels is None else _without_channels(shape, channels)
        of_what = f"{positions.numel()} times the {parameters} parameters of {type(family).__name__}"
        network_of_context(
            network, f"{positions.numel() * parameters} outputs, {of_what}", positions.numel() * parameters
        )
        super().__init__(shape, network.in_shape)
        self.family = family
        self.network = network
        self.layout = Layout(positions, channels, None, shape)
        self.start = PositionStart(family, positions, located)
        self._as_image = _is_image(network.out_shape, shape, positions, channels)
        self.event_dtype = "whole" if family.whole else "floating"
        self.reparameterized = number_of(family).reparameterized
        self.gaps = channels is None
        family.requires_grad_(False)  # what a network would read of x is of no use here

    @property
    def support(self) -> Constraint:
        """Events of numbers that the family can be."""
        return NumberByNumber(number_of(self.family), len(self.event_shape))

    def initialize(self, x: Tensor, context: Tensor | None = None) -> None:
        """Start every number at the parameters that fit it by itself. Once, with the first batch of a fit."""
        self.start.initialize(self.family, self.layout.to_positions(x))

    def terms(self, x: Tensor, context: Tensor | None) -> Tensor:
        """log p(x_i | c), nats: (*batch, *event), or for each pixel of `Channels`; 0 for a gap."""
        batch = joint_batch(self, x, context)
        # of many draws at one x, what x alone says is made once
        x = self.layout.to_positions(once(x, len(self.event_shape)))
        theta = self.numbers(context)
        if not (self.gaps and x.is_floating_point()):
            log_p = self.family.log_prob(x, theta)
        else:
            observed = ~x.isnan()
            log_p = torch.where(observed, self.family.log_prob(torch.where(observed, x, 0.0), theta), 0.0)
        return log_p.expand(*batch, *self.layout.positions)

    def numbers(self, context: Tensor | None) -> Tensor:
        """theta of every number, or of every pixel of `Channels`: (*context batch, *event, parameters)."""
        y = self.network(context)
        positions = self.layout.positions
        if self._as_image:
            y = y.unflatten(-3, (-1, self.family.parameters_of_one)).movedim(-3, -1)
            y = y if len(positions) == 3 else y.squeeze(-4)
        else:
            y = y.flatten(-len(self.network.out_shape)).unflatten(-1, (*positions, -1))
        return self.start(y)

    def weighted_completion(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor] | None:
        """Draws of the gaps, which are independent of the rest."""
        return of_independent_numbers(self, x, context) if self.gaps else None

    def _log_prob(self, x: Tensor, context: Tensor | None) -> Tensor:
        return self.terms(x, context).flatten(-len(self.layout.positions)).sum(dim=-1)

    def _symptoms(self, x: Tensor, context: Tensor | None) -> list[UserWarning]:
        family, theta = self.family, self.numbers(context)
        floored = None if isinstance(family, Channels) else family.floored(theta)
        return floor_warnings(floored, "the family's floor", len(self.event_shape))

    def _sample(self, shape: torch.Size, context: Tensor | None) -> Tensor:
        theta = self.numbers(context)
        drawn = self.family.sample(theta.expand(*shape, *theta.shape))
        start = len(shape) + len(context_batch(self, context))
        return self.layout.to_event(drawn.flatten(start, start + len(self.layout.positions) - 1))

    def _moments(self, context: Tensor | None) -> Moments | None:
        if isinstance(self.family, Channels) or len(self.event_shape) > 1 or context is None:
            return None
        theta = self.numbers(context)
        variance = self.family.variance(theta)
        return None if variance is None else moments.of_independent_numbers(self.family.mean(theta), variance)


def _without_channels(shape: torch.Size, channels: int) -> torch.Size:
    """Positions of events with channels: (H, W) of (C, H, W), all but the last of others."""
    if shape[-1] == channels:
        return torch.Size(shape[:-1])
    if len(shape) == 3 and shape[0] == channels:
        return torch.Size(shape[1:])
    raise ValueError(f"event_shape: expected {channels} channels, first of three or last, got {tuple(shape)}")


def _is_image(outputs: torch.Size, event: torch.Size, positions: torch.Size, channels: int | None) -> bool:
    """Whether outputs are an image whose channels are parameters; otherwise they are read as one vector."""
    sizes = event[1:] if channels is None else positions
    return len(outputs) == 3 and len(event) == 3 and outputs[1:] == sizes and len(sizes) == 2
