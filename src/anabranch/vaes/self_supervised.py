"""The recipe of an autoencoder of two stages: a compressed image first, and the image given that."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from anabranch.checks import as_shape, instance_of, positive_int
from anabranch.densities import Density, Encoded, Normal
from anabranch.families import Levels
from anabranch.models import Factorized, LatentVariable
from anabranch.networks import MLP, Certain, Coarse, Rescaled, Upsampling, Within
from anabranch.vaes import posteriors
from anabranch.vaes.autoencoder import vae
from anabranch.vaes.encoder import encoder


def self_supervised(
    event_shape: Sequence[int],
    levels: int,
    coarse: int = 4,
    stride: int = 2,
    latents: Sequence[int] = (8, 8),
    prior: Density | None = None,
    hidden: Sequence[int] = (256, 256),
    channels: Sequence[int] | None = None,
    activation: str = "silu",
    drop: float = 0.0,
) -> LatentVariable:
    r"""An image in two stages: y = d(x), smaller and of fewer levels (`networks.Coarse`), and then x given y:

    .. math:: p(x) = p(y)\, p(x \mid y), \qquad p(y) = \int p(u)\, p(y \mid u)\, du, \qquad
              p(x \mid y) = \int p(z \mid y)\, p(x \mid y, z)\, dz

    u says what there is to see, z what y leaves out. y is a hidden variable whose posterior q(y | x) is certain, so that the
    sum over y has one term, and its bound is

    .. math:: \log p(x) \ge E_{q(u \mid y)}[\log p(y \mid u)] - KL(q(u \mid y) \,\|\, p(u))
              + E_{q(z \mid x)}[\log p(x \mid y, z)] - KL(q(z \mid x) \,\|\, p(z \mid y)).

    The decoder gives no probability to images of another y (`networks.Within`), which the paper's does, so that nothing is
    lost by being certain of y, and the estimate comes to log p(x). All is made of `LatentVariable`s: the prior of the outer
    one is the density of y, its decoder that of x given y.
    Source: Gatopoulos and Tomczak, 2020, arXiv:2010.02014.

    Args:
        event_shape: of x, (channels, height, width).
        levels: how many each number of x has, whole numbers from 0.
        coarse: how many each number of y has.
        stride: y is of every so many pixels of every so many rows.
        latents: how many numbers u and z have.
        prior: of y, any density of its shape: another `self_supervised`, for three stages; by default `vaes.vae`.
        hidden: hidden sizes of the decoders, from z to x; of the encoders the other way round.
        channels: of convolutions of x, from the smallest image to the largest, in place of MLPs.
        activation: the networks' nonlinearity.
        drop: the share of channels of each convolution that is left out in training.

    Raises:
        ValueError: shapes that do not fit, more coarse levels than levels.

    Example:
        >>> import torch
        >>> import anabranch as ab
        >>> model = ab.vaes.self_supervised((1, 8, 8), levels=17, coarse=4, latents=(2, 4), hidden=(32,))
        >>> x = model.sample((5,), generator=0)
        >>> y = model.posterior.sample(context=x)
        >>> x.shape, y.shape, model.lower_bound(x).shape
        (torch.Size([5, 1, 8, 8]), torch.Size([5, 1, 4, 4]), torch.Size([5]))
    """
    shape, levels = as_shape("event_shape", event_shape), positive_int("levels", levels, least=2)
    if len(latents) != 2:
        raise ValueError(f"latents: expected two, the numbers of u and of z, got {list(latents)}")
    of_y, latent = (positive_int("latents", size) for size in latents)
    compress = Coarse(shape, levels, coarse, stride)
    small, widths = compress.out_shape, list(hidden) or [latent]
    if prior is None:
        prior = vae(small, Levels(coarse), of_y, hidden=widths, activation=activation)
    instance_of("prior", prior, Density)
    middle = (coarse - 1) / 2
    read = MLP(small.numel(), 2 * latent, hidden=widths[:1], activation=activation)
    sizes = latent + small.numel()
    made = (
        MLP(sizes, shape.numel() * levels, hidden=widths, activation=activation)
        if channels is None
        else Upsampling(sizes, (shape[0] * levels, *shape[1:]), channels, activation, drop)
    )
    of_encoder = None if channels is None else list(channels)[::-1]
    detail = LatentVariable(
        Normal(torch.zeros(latent), network=Rescaled(read, middle, middle)),
        Factorized(Levels(levels), shape, Within(made, compress)),
        Encoded(
            posteriors.diagonal(latent, widths[0]),
            encoder(shape, Levels(levels), widths[0], widths[:0:-1], of_encoder, activation, drop),
        ),
    )
    return LatentVariable(prior, detail, Factorized(Levels(coarse), small, Certain(compress, coarse)))
