"""The recipe of a decoder: a density p(x | z) whose parameters a network reads off z."""

from __future__ import annotations

from collections.abc import Sequence

from anabranch.checks import as_shape, positive_int
from anabranch.densities import Density
from anabranch.families import Channels, Family
from anabranch.models import Factorized, Marginals
from anabranch.networks import MLP, Upsampling
from anabranch.networks.network import Shape
from anabranch.vaes.encoder import Kind, columns_of, of_images


def decoder(
    event_shape: Shape,
    family: Kind,
    latent: int,
    hidden: Sequence[int] = (256, 256),
    channels: Sequence[int] | None = None,
    activation: str = "silu",
    drop: float = 0.0,
) -> Density:
    """Numbers that are independent given z, of any family: `models.Factorized`, or of columns `models.Marginals`.

    Args:
        event_shape: of x; (C, H, W) for convolutions.
        family: of the numbers of x, `Channels` of a pixel, or a list of one family for each column.
        latent: how many numbers z has.
        hidden: hidden sizes of the MLP.
        channels: of the convolutions, from the smallest image to the largest (`networks.Upsampling`); None for an MLP.
        activation: the network's nonlinearity.
        drop: the share of channels that is left out in training before each convolution.

    Raises:
        ValueError: shapes that do not fit.

    Example:
        >>> import torch
        >>> import anabranch as ab
        >>> from anabranch.families import Bernoulli, Levels, Logistics
        >>> ab.vaes.decoder((1, 8, 8), Bernoulli(), latent=2, channels=(8, 8)).sample(context=torch.zeros(2)).shape
        torch.Size([1, 8, 8])
        >>> ab.vaes.decoder(2, [Logistics(), Levels(3)], latent=2).sample(context=torch.zeros(2)).shape
        torch.Size([2])
    """
    shape = as_shape("event_shape", event_shape)
    latent = positive_int("latent", latent)
    if not isinstance(family, (Family, Channels)):
        families = columns_of(family, shape)
        count = sum(part.parameters_of_one for part in families)
        return Marginals(families, MLP(latent, count, hidden=hidden, activation=activation))
    of_one = family.parameters_of_one
    if channels is None:
        numbers = shape.numel() // (family.channels if isinstance(family, Channels) else 1)
        return Factorized(family, shape, MLP(latent, numbers * of_one, hidden=hidden, activation=activation))
    outputs = of_one if isinstance(family, Channels) else of_images(shape)[0] * of_one
    return Factorized(family, shape, Upsampling(latent, (outputs, *shape[1:]), channels, activation, drop))
