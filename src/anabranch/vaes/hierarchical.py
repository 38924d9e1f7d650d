"""Recipes of hierarchies of hidden variables: of vectors, of images at several scales, and mixtures over their depths."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from anabranch.checks import as_shape, one_of, positive_int
from anabranch.densities import Normal
from anabranch.families import Channels, Family
from anabranch.models import Entries, Factorized, HierarchicalVAE, LatentDepthMixture, LatentLevel
from anabranch.networks import MLP, Enlarged, GatedConvolutional, Network, OfSquares, ResidualMLP, Skip
from anabranch.networks.network import Shape
from anabranch.vaes.encoder import rescaled


def ladder(
    event_shape: Shape,
    family: Family | Channels,
    latents: Sequence[int] = (16, 8),
    hidden: int = 128,
    blocks: int = 1,
    posteriors: str = "top-down",
    activation: str = "silu",
) -> HierarchicalVAE:
    r"""A ladder of hidden vectors z_1, ..., z_L, by residual networks: a state goes down, to which every level adds.

    Priors and posteriors are normal densities. Numbers with two ends, such as grey levels, are read as numbers from -1 to 1.
    Source: Sønderby et al., 2016, arXiv:1602.02282; Vahdat and Kautz, 2020, arXiv:2007.03898 (residual cells).

    Args:
        event_shape: of x.
        family: what the numbers of x are, as of `vaes.vae`.
        latents: how many numbers each z_l has, from the one next to the data on.
        hidden: width of states, features and networks.
        blocks: residual blocks of each network.
        posteriors: "top-down", or "bottom-up": q(z_1 | x) q(z_2 | z_1) ...
        activation: the networks' nonlinearity.

    Example:
        >>> import torch
        >>> import anabranch as ab
        >>> from anabranch.families import Levels
        >>> model = ab.vaes.ladder((8, 8), Levels(17), latents=(4, 2), hidden=16)
        >>> x = model.sample((5,), generator=0)
        >>> model.terms(x)[1].shape
        torch.Size([5, 2])
    """
    shape, width = as_shape("event_shape", event_shape), positive_int("hidden", hidden)
    sizes = [positive_int("latents", size) for size in latents]
    top_down = one_of("posteriors", posteriors, ("top-down", "bottom-up")) == "top-down"

    def residual(inputs: Shape, outputs: int, context: int = 0) -> ResidualMLP:
        return ResidualMLP(inputs, outputs, context, hidden=width, blocks=blocks, activation=activation)

    def normal(latent: int, inputs: int) -> Normal:
        return Normal(
            torch.zeros(latent),
            network=MLP(inputs, 2 * latent, hidden=(width,), activation=activation, zero_start=True),
        )

    levels = []
    for k, latent in enumerate(sizes):
        top = k == len(sizes) - 1
        above = residual(width if top_down else sizes[k - 1], width)
        up = above if k else rescaled(residual(shape, width), family)
        prior = Normal.standard(latent) if top else normal(latent, width)
        posterior = normal(latent, width if top or not top_down else 2 * width)
        down = residual(latent, width) if top else Skip(residual(latent, width, width))
        levels.append(LatentLevel(prior, posterior, up, down))
    numbers = shape.numel() // (family.channels if isinstance(family, Channels) else 1)
    decoder = Factorized(family, shape, residual(width, numbers * family.parameters_of_one))
    return HierarchicalVAE(levels, decoder, posteriors)


def image_ladder(
    event_shape: Sequence[int],
    family: Family | Channels,
    latents: Sequence[Sequence[int]] = ((2,), (4,), (16,)),
    hidden: int = 32,
    blocks: int = 1,
    dropout: float = 0.0,
    activation: str = "silu",
) -> HierarchicalVAE:
    r"""A ladder of hidden images at several scales, each half as high and as wide as the one before, by residual cells.

    Every level has top-down posteriors and gated residual convolutions (`GatedConvolutional`). The highest state is an image
    that its z alone makes; each level below adds to the state, and at the end of a scale every pixel becomes a square.
    Source: Vahdat and Kautz, 2020, arXiv:2007.03898 (NVAE).

    Args:
        event_shape: of x, (channels, height, width): multiples of 2^scales.
        family: of the numbers of x, or `Channels` of a pixel.
        latents: for each scale, from the finest on, the channels of every z there, from the one next to the data on. The
            finest is half as high and wide as x.
        hidden: channels of states, features and networks.
        blocks: residual blocks of each network.
        dropout: of the networks.
        activation: their nonlinearity.

    Raises:
        ValueError: an image that can't be halved so often.

    Example:
        >>> import torch
        >>> import anabranch as ab
        >>> from anabranch.families import Levels
        >>> model = ab.vaes.image_ladder((1, 8, 8), Levels(17), latents=((1,), (2, 2)), hidden=8)
        >>> [tuple(level.shape) for level in model.levels]
        [(1, 4, 4), (2, 2, 2), (2, 2, 2)]
    """
    shape, width = as_shape("event_shape", event_shape), positive_int("hidden", hidden)
    scales = [[positive_int("latents", c) for c in channels] for channels in latents]
    times = 2 ** len(scales)
    if len(shape) != 3 or shape[1] % times or shape[2] % times or not all(scales):
        raise ValueError(
            f"event_shape: expected (channels, height, width) of multiples of {times}, since each of {len(scales)} scales, "
            f"of one level or more, halves the image, got {tuple(shape)}"
        )

    def cell(inputs: int, outputs: int, size: tuple[int, int], context: int = 0, zero_start: bool = False) -> Network:
        return GatedConvolutional(
            (inputs, *size),
            (outputs, *size),
            (context, *size) if context else 0,
            hidden=width,
            blocks=blocks,
            kernel_size=1 if size == (1, 1) else 3,
            activation=activation,
            dropout=dropout,
            zero_start=zero_start,
        )

    def normal(channels: int, inputs: int, size: tuple[int, int]) -> Normal:
        return Normal(torch.zeros(channels, *size), network=cell(inputs, 2 * channels, size, zero_start=True))

    places = [(s, i, channels) for s, each in enumerate(scales) for i, channels in enumerate(each)]
    levels = []
    for k, (s, i, channels) in enumerate(places):
        size, top = (shape[1] >> (s + 1), shape[2] >> (s + 1)), k == len(places) - 1
        below = shape[0] if k == 0 else width
        up = OfSquares(cell(4 * below, width, size)) if i == 0 else cell(below, width, size)
        if k == 0:
            up = rescaled(up, family)
        prior = Normal.standard((channels, *size)) if top else normal(channels, width, size)
        posterior = normal(channels, width if top else 2 * width, size)
        down = cell(channels, width, size) if top else Skip(cell(channels, width, size, width))
        levels.append(LatentLevel(prior, posterior, up, Enlarged(down) if i == 0 else down))
    parameters = family.parameters_of_one * (1 if isinstance(family, Channels) else shape[0])
    decoder = Factorized(family, shape, cell(width, parameters, (shape[1], shape[2])))
    return HierarchicalVAE(levels, decoder)


def depths_of(
    model: HierarchicalVAE,
    family: Family | Channels,
    hidden: Sequence[int] = (64,),
    lead: float = 0.0,
) -> LatentDepthMixture:
    """The mixture over all depths of a hierarchy, with an MLP that guesses the depth of x and starts at equal shares.

    Args:
        model: the hierarchy.
        family: of the numbers of x.
        hidden: hidden sizes of the MLP.
        lead: as of `LatentDepthMixture`.

    Example:
        >>> import anabranch as ab
        >>> from anabranch.families import Levels
        >>> model = ab.vaes.depths_of(ab.vaes.ladder((8, 8), Levels(17), latents=(4, 2), hidden=16), Levels(17))
        >>> model.components, model.sample((5,)).shape
        (2, torch.Size([5, 8, 8]))
    """
    entries = Entries(model)
    guess = MLP(model.event_shape, entries.count, hidden=hidden, activation="silu", zero_start=True)
    return LatentDepthMixture(entries, rescaled(guess, family), lead=lead)
