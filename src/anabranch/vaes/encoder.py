"""The recipe of an encoder: a network from x to features that a posterior reads."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from anabranch.checks import as_shape
from anabranch.families import Channels, Family
from anabranch.models import OfColumns
from anabranch.networks import MLP, Downsampling, Network, Rescaled, WithMask
from anabranch.networks.network import Shape

Kind = Family | Channels | Sequence[Family]
"""What the numbers of an event are: all of one family, pixels of several channels, or columns of a family each."""


def encoder(
    event_shape: Shape,
    family: Kind,
    features: int,
    hidden: Sequence[int] = (256,),
    channels: Sequence[int] | None = None,
    activation: str = "silu",
    drop: float = 0.0,
    gaps: bool = False,
) -> Network:
    """A network from events to so many features: an MLP, or convolutions of images.

    Numbers with two ends, such as grey levels, are read as numbers from -1 to 1; columns of a table by the features of their
    families; all others as they are, which should be of about mean 0 and deviation 1.

    Args:
        event_shape: of x; (C, H, W) for convolutions.
        family: of the numbers of x, or one for each column.
        features: how many.
        hidden: hidden sizes of the MLP.
        channels: of the convolutions (`networks.Downsampling`); None for an MLP.
        activation: the network's nonlinearity.
        drop: the share of channels of each convolution that is left out in training.
        gaps: whether a NaN is a gap: the MLP then also reads which numbers were observed (`networks.WithMask`).

    Raises:
        ValueError: a list of families for events that are no vectors of as many numbers; convolutions of what is no image,
            or of images with gaps.

    Example:
        >>> import torch
        >>> import anabranch as ab
        >>> from anabranch.families import Levels
        >>> ab.vaes.encoder((8, 8), Levels(17), features=32)(torch.zeros(5, 8, 8)).shape
        torch.Size([5, 32])
    """
    shape = as_shape("event_shape", event_shape)
    if gaps and channels is not None:
        raise ValueError(f"gaps: expected False with convolutions, which read no mask, got channels={list(channels)}")
    network = _of_complete(shape, family, features, hidden, channels, activation, drop, shape.numel() if gaps else 0)
    return WithMask(network) if gaps else network


def _of_complete(
    shape: torch.Size,
    family: Kind,
    features: int,
    hidden: Sequence[int],
    channels: Sequence[int] | None,
    activation: str,
    drop: float,
    context: int,
) -> Network:
    """The network of events without gaps, with a context of so many numbers."""
    if not isinstance(family, (Family, Channels)):
        families = columns_of(family, shape)
        inputs = sum(part.inputs for part in families)
        return OfColumns(families, MLP(inputs, features, context, hidden=hidden, activation=activation))
    network: Network
    if channels is None:
        network = MLP(shape, features, context, hidden=hidden, activation=activation)
    else:
        network = Downsampling(of_images(shape), features, channels, activation, drop)
    return rescaled(network, family)


def rescaled(network: Network, family: Family | Channels) -> Network:
    """A network that reads numbers with two ends as numbers from -1 to 1, and others as they are."""
    low, high = (family.family if isinstance(family, Channels) else family).ends()
    return network if math.isinf(low) or math.isinf(high) else Rescaled(network, (high + low) / 2, (high - low) / 2)


def of_images(shape: torch.Size) -> torch.Size:
    """The shape, of images that convolutions read.

    Raises:
        ValueError: it is none.
    """
    if len(shape) != 3:
        raise ValueError(f"event_shape: expected (channels, height, width) for convolutions, got {tuple(shape)}")
    return shape


def columns_of(families: Sequence[Family], shape: Sequence[int]) -> list[Family]:
    """The families, one for each number of a vector.

    Raises:
        ValueError: the shape is another.
    """
    parts = list(families)
    if tuple(shape) != (len(parts),):
        raise ValueError(f"event_shape: expected ({len(parts)},), a column for each family, got {tuple(shape)}")
    return parts
