"""The base of a flow: a density that reads what transforms give, in its shape."""

from __future__ import annotations

from typing import Protocol

import torch
from torch.distributions.constraints import Constraint

from anabranch.densities import Density, Normal
from anabranch.models.components import Components
from anabranch.transforms import Chain, Reshape, Transform
from anabranch.transforms.blockwise import lifted
from anabranch.transforms.span import Span, span_of


class Shaped(Protocol):
    """Whatever has events of a known shape: a density, or the components of a mixture."""

    event_shape: torch.Size

    @property
    def support(self) -> Constraint:
        """Where they may lie."""


def base_for(transform: Transform, base: Density | None) -> Density:
    """The base given, checked against the transform, or a standard normal of the shape of its noise.

    Raises:
        ValueError: the base has another number of entries than the noise, or there is no base and the transform takes any
            shape.
    """
    if not isinstance(transform, Transform):
        raise ValueError(f"transform: expected a Transform, got {type(transform).__name__}")
    if base is None:
        if transform.noise_shape is None:
            raise ValueError(
                f"base: expected one, such as Normal.standard((1, 8, 8)), since {type(transform).__name__} "
                "takes events of any shape"
            )
        return Normal.standard(transform.noise_shape)
    if not isinstance(base, Density):
        raise ValueError(f"base: expected a Density, got {type(base).__name__}")
    return base


def onto(transform: Transform, base: Shaped, name: str = "base") -> Transform:
    """The transform on events of as many dimensions as the base needs, whose noise has the shape of the base's events.

    It is the transform itself, where the shapes fit; else the noise is reshaped, which has as many entries as the base.

    Raises:
        ValueError: it has not; the base is discrete, and the transform moves numbers.
    """
    if base.support.is_discrete and not transform.rearranges:
        raise ValueError(
            f"{name}: expected a density of real numbers under a {type(transform).__name__}, which moves numbers, "
            f"got {base.kinds if isinstance(base, Components) else type(base).__name__}, whose x are levels"
        )
    shape, noise = base.event_shape, transform.noise_shape
    if noise is None or (noise.numel() != shape.numel() and shape[-len(noise) :] == noise):
        transform = lifted(transform, len(shape) - transform.noise_dim + transform.event_dim)
        transform.inverse_shape(shape)
        return transform
    if noise.numel() != shape.numel():
        raise ValueError(
            f"{name}: expected event shape {tuple(noise)}, the transform's, or another of {noise.numel()} entries, "
            f"got {tuple(shape)} of {shape.numel()}"
        )
    return transform if noise == shape else Chain([transform, Reshape(noise, shape)])


def span_through(transform: Transform, base: Shaped, name: str = "base") -> Span:
    """Where the numbers of x lie, whose noise a base draws: what `onto` gave, walked back from the base's support.

    Raises:
        ValueError: the base draws numbers that the transform does not reach, so that p(x) would not integrate to 1.
    """
    try:
        return transform.span_behind(span_of(base.support, base.event_shape))
    except ValueError as error:
        kind = base.kinds if isinstance(base, Components) else type(base).__name__
        raise ValueError(
            f"{name}: expected one {error}, of a {kind}; p(x) would not integrate to 1: take another transform, or a base "
            "whose support says that it stays within, such as densities.Uniform"
        ) from error
