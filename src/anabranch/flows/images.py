"""Recipes for images: multi-scale flows of convolutional couplings."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from anabranch.checks import positive_int
from anabranch.flows.image_couplings import Couplings, checkerboard, half_of_channels, image_maps
from anabranch.flows.image_levels import in_levels
from anabranch.networks.network import Shape
from anabranch.transforms import ActNorm, Chain, LULinear, Memory, Pointwise, Squeeze, Transform


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
    r"""Glow: at each of several scales steps of activation normalisation, invertible 1 x 1 convolution and coupling.

    .. code-block:: text

        level_1:  squeeze, steps, split            on (C, H, W)
        level_2:  squeeze, steps, split            on half of the channels that level_1 gives
        ...

    A level squeezes squares of four pixels into channels, and all but the last one end with a split: half of the channels
    are factored out, shifted and scaled as a network says of those that go on (Kingma and Dhariwal's learned prior, as a
    coupling). z has the shape (4 C, H / 2, W / 2), whatever the number of levels, so that each level is a block of the
    chain and a depth for `DepthMixture`. Networks are `GatedConvolutional` and start at zero, so that every coupling starts
    at the identity.

    Source: Kingma and Dhariwal, 2018, "Glow", arXiv:1807.03039, section 3. The networks are those of Ho et al., 2019,
    arXiv:1902.00275.

    Args:
        features: the shape of the images, (channels, height, width): multiples of 2^levels.
        context: size of the context, or its shape (channels, height, width), an image whose pixels every level sees
            squeezed as it sees x; 0 for none.
        levels: how many scales there are.
        steps: of each level.
        hidden: channels of each network.
        blocks: of each network.
        attention: heads of each network's attention, 0 for none.
        dropout: of each network; above 0 it takes memory="store".
        univariate: the map of the couplings: "affine", or "spline", rational-quadratic.
        bins, bound: of splines, as in `nsf`.
        memory: what the chain of each level's steps keeps for the gradients, see `Chain`. With "invert" the memory of a fit
            hardly grows with the steps.
        max_scale: as in `maf`, of each level.

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
    r"""Real NVP of images: at each of several scales couplings over checkerboards, a squeeze, couplings over channels.

    .. code-block:: text

        level_1:  checkerboards, squeeze, channels, split       on (C, H, W)
        level_2:  checkerboards, squeeze, channels, split       on half of the channels that level_1 gives
        ...

    Masks turn round from each coupling to the next, and activations are normalised before each (`ActNorm`, in place of
    the paper's batch normalisation). Levels, splits, shapes and networks are those of `glow`.

    Source: Dinh et al., 2017, arXiv:1605.08803, section 3.4 to 3.6. There the last level has checkerboards alone, and what
    is factored out is not shifted by what goes on.

    Args:
        features, context, levels, hidden, blocks, attention, dropout, univariate, bins, bound, memory, max_scale: as in
            `glow`.
        couplings: over checkerboards, and as many over channels, of each level.

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
