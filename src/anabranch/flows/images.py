"""Recipes for images: multi-scale flows of convolutional couplings."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from anabranch.checks import positive_int
from anabranch.flows.image_couplings import Couplings, image_maps
from anabranch.flows.image_levels import in_levels
from anabranch.networks.network import Shape
from anabranch.transforms import (
    ActNorm,
    Chain,
    LULinear,
    Memory,
    Pointwise,
    Squeeze,
    Transform,
    checkerboard,
    half_of_channels,
)


def glow(
    features: Sequence[int],
    context: Shape | None = 0,
    levels: int = 2,
    steps: int = 8,
    hidden: int = 32,
    blocks: int = 2,
    attention: int = 0,
    dropout: float = 0.0,
    univariate: str = "affine",
    bins: int = 8,
    bound: float = 5.0,
    memory: str | Memory = "store",
    max_scale: float = 1000.0,
) -> Chain:
    r"""Glow: steps of activation normalisation, invertible 1 x 1 convolution and coupling, at each of several scales.

    .. code-block:: text

        level_1:  squeeze, steps, split            on (C, H, W)
        level_2:  squeeze, steps, split            on half of the channels that level_1 gives
        ...

    A level squeezes squares of four pixels into channels. Every level but the last ends with a split: half of the channels
    go on to the next level, and a network reads them to shift and scale the other half (the learned prior of Kingma and
    Dhariwal, as a coupling). z has the shape (4 C, H / 2, W / 2) for any number of levels, so that each level is a block of
    the chain and a depth for `DepthMixture`. Networks are `GatedConvolutional` and start at zero, so that every coupling
    starts at the identity.

    Source: Kingma and Dhariwal, 2018, "Glow", arXiv:1807.03039, section 3. The networks are those of Ho et al., 2019,
    arXiv:1902.00275.

    Args:
        features: the shape of the images, (channels, height, width): multiples of 2^levels. context: size of the context, or
        its shape (channels, height, width) if it is an image, which each level squeezes as it
            squeezes x; 0 for none.
        levels: number of levels, one for each scale.
        steps: number of steps of each level.
        hidden: number of channels of each network.
        blocks: number of residual blocks of each network.
        attention: number of attention heads of each network, 0 for none.
        dropout: share of units that a fit drops in each network; above 0 it needs memory="store".
        univariate: the map of the couplings: "affine", or "spline", rational-quadratic.
        bins, bound: of splines, as in `nsf`.
        memory: what the chain of steps of each level keeps for the gradients, see `Chain`. With "invert" the memory of a fit
            hardly grows with the number of steps.
        max_scale: as in `maf`, for each level.

    Raises:
        ValueError: shapes that do not fit; the error names the level.

    Example:
        >>> import torch
        >>> import anabranch as ab
        >>> flow = ab.Flow(ab.flows.glow((1, 8, 8), levels=2, steps=2, hidden=8, blocks=1))
        >>> flow.sample((5,)).shape
        torch.Size([5, 1, 8, 8])
        >>> list(flow.transform.blocks), flow.base.event_shape
        (['level_1', 'level_2'], torch.Size([4, 4, 4]))
    """
    mapped = image_maps(univariate, positive_int("steps", steps), bins, bound, max_scale)
    coupled = Couplings(context, hidden, blocks, attention, dropout, mapped)

    def step(shape: torch.Size, i: int) -> Chain:
        norm, mix = Pointwise(ActNorm(shape[0])), Pointwise(LULinear(shape[0]))
        return Chain({"norm": norm, "mix": mix, "coupling": coupled.over(half_of_channels(shape, i))})

    def body(shape: torch.Size) -> dict[str, Transform]:
        squeezed = Squeeze().forward_shape(shape)
        named = {f"step_{i + 1}": step(squeezed, i) for i in range(steps)}
        return {"squeeze": Squeeze(), "steps": Chain(named, memory=memory)}

    return in_levels(features, levels, body, coupled)


def realnvp_image(
    features: Sequence[int],
    context: Shape | None = 0,
    levels: int = 2,
    couplings: int = 3,
    hidden: int = 32,
    blocks: int = 2,
    attention: int = 0,
    dropout: float = 0.0,
    univariate: str = "affine",
    bins: int = 8,
    bound: float = 5.0,
    memory: str | Memory = "store",
    max_scale: float = 1000.0,
) -> Chain:
    r"""Real NVP of images: couplings over checkerboards, a squeeze, and couplings over channels, at each of several scales.

    .. code-block:: text

        level_1:  checkerboards, squeeze, channels, split       on (C, H, W)
        level_2:  checkerboards, squeeze, channels, split       on half of the channels that level_1 gives
        ...

    Masks alternate from each coupling to the next. `ActNorm` normalises activations before each, in place of the paper's
    batch normalisation. Levels, splits, shapes and networks are those of `glow`.

    Source: Dinh et al., 2017, arXiv:1605.08803, sections 3.4 to 3.6. In the paper the last level has checkerboards alone,
    and a split shifts and scales nothing.

    Args:
        features, context, levels, hidden, blocks, attention, dropout, univariate, bins, bound, memory, max_scale: as in
            `glow`.
        couplings: number of couplings over checkerboards of each level, and number of couplings over channels.

    Raises:
        ValueError: shapes that do not fit; the error names the level.

    Example:
        >>> import anabranch as ab
        >>> chain = ab.flows.realnvp_image((3, 8, 8), couplings=2, hidden=8, blocks=1)
        >>> chain.forward_shape((3, 8, 8)), len(chain)
        (torch.Size([12, 4, 4]), 2)
    """
    mapped = image_maps(univariate, 2 * positive_int("couplings", couplings), bins, bound, max_scale)
    coupled = Couplings(context, hidden, blocks, attention, dropout, mapped)

    def body(shape: torch.Size) -> dict[str, Transform]:
        squeezed = Squeeze().forward_shape(shape)
        boards: dict[str, Transform] = {}
        rows: dict[str, Transform] = {}
        for i in range(couplings):
            boards |= {f"norm_{i + 1}": Pointwise(ActNorm(shape[0]))}
            boards |= {f"checkerboard_{i + 1}": coupled.over(checkerboard(shape, i))}
            rows |= {f"norm_{i + 1}": Pointwise(ActNorm(squeezed[0]))}
            rows |= {f"channels_{i + 1}": coupled.over(half_of_channels(squeezed, i))}
        named: dict[str, Transform] = {"pixels": Chain(boards, memory=memory), "squeeze": Squeeze()}
        return named | {"channels": Chain(rows, memory=memory)}

    return in_levels(features, levels, body, coupled)
