"""What the parts of a diffusion are to be: a network that takes noise away, a decoder, an embedding, a prior, a depth."""

from __future__ import annotations

import torch
from torch import Tensor

from anabranch.checks import instance_of, is_number
from anabranch.densities import Density
from anabranch.densities.score import expect_weights
from anabranch.networks import Network


def check_denoiser(denoiser: Network) -> None:
    """Raise ValueError for a network that does not give an array of the shape of z, or reads no time."""
    instance_of("denoiser", denoiser, Network)
    if denoiser.out_shape != denoiser.in_shape:
        raise ValueError(
            f"denoiser: expected a network whose outputs have the shape of its x, {tuple(denoiser.in_shape)}, "
            f"got {tuple(denoiser.out_shape)}"
        )
    given = denoiser.context_shape
    if given is None or len(given) != 1:
        got = "none" if given is None else f"one of shape {tuple(given)}"
        raise ValueError(
            "denoiser: expected a network whose context is a vector that begins with the time, such as networks.Timed(...) "
            f"or VelocityMLP, got {got}"
        )


def check_decoder(decoder: Density, shape: torch.Size) -> torch.Size:
    """The shape of x.

    Raises:
        ValueError: a decoder that does not read z.
    """
    instance_of("decoder", decoder, Density)
    expect_weights("decoder", decoder)
    got = decoder.context_shape
    if got is None or got not in (shape, torch.Size([shape.numel()])):
        raise ValueError(
            f"decoder: expected a density whose context is z, of shape {tuple(shape)} or ({shape.numel()},), got "
            f"{'one without a context' if got is None else f'a context of shape {tuple(got)}'}"
        )
    return decoder.event_shape


def check_embedding(embedding: Network | None, event_shape: torch.Size, shape: torch.Size) -> None:
    """Raise ValueError for a network that does not make an array of the shape of z of x, or if one is missing."""
    if embedding is None:
        if event_shape != shape:
            raise ValueError(
                f"embedding: expected a network from x, {tuple(event_shape)}, to the shape of z, {tuple(shape)}, got None"
            )
        return
    instance_of("embedding", embedding, Network)
    if (embedding.in_shape, embedding.out_shape, embedding.context_shape) != (event_shape, shape, None):
        raise ValueError(
            f"embedding: expected a network from x, {tuple(event_shape)}, to the shape of z, {tuple(shape)}, without a "
            f"context, got one from {tuple(embedding.in_shape)} to {tuple(embedding.out_shape)}"
        )


def check_prior(prior: Density, shape: torch.Size, context_shape: torch.Size | None) -> None:
    """Raise ValueError for a density that can't be the prior of z."""
    instance_of("prior", prior, Density)
    expect_weights("prior", prior)
    if prior.event_shape != shape or prior.support.is_discrete:
        raise ValueError(
            f"prior: expected a density of real numbers of the shape of z, {tuple(shape)}, got a {type(prior).__name__} of "
            f"{'whole numbers of ' if prior.support.is_discrete else ''}shape {tuple(prior.event_shape)}"
        )
    if prior.context_shape not in (None, context_shape):
        wanted = "none" if context_shape is None else f"none or {tuple(context_shape)}, that of the denoiser"
        raise ValueError(f"prior: expected a context of shape {wanted}, got {tuple(prior.context_shape or ())}")


def check_depth(depth: float) -> float:
    """The time at which a chain begins.

    Raises:
        ValueError: no number above 0 and at most 1.
    """
    if not is_number(depth) or not 0 < float(depth) <= 1:
        raise ValueError(f"depth: expected a time above 0, at most 1, got {depth!r}")
    return float(depth)


def check_spread(x: Tensor) -> None:
    """Raise ValueError for real numbers (rows, *event) that noise of deviation 1 does not cover, or drowns."""
    spread = float(x.square().mean().sqrt()) if x.numel() else 1.0
    if not 1e-2 < spread < 1e2:
        raise ValueError(
            f"x: expected numbers of a mean square of about 1, since noise of that deviation is to cover them, got "
            f"{spread:.3g} for its root; scale them, or fit Flow(transforms.ActNorm({x.shape[1]}), "
            "base=Diffusion(...))"
        )
