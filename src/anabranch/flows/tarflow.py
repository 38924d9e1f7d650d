"""The recipe of transformer autoregressive flows."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from anabranch.checks import as_shape, positive_int
from anabranch.flows.numbered import numbered
from anabranch.flows.scales import affine_maps
from anabranch.networks import CausalTransformer
from anabranch.networks.network import Shape
from anabranch.transforms import Autoregressive, Chain, Memory, Permutation, Reshape, Standardise, Transform


def tarflow(
    features: Sequence[int],
    context: Shape | None = 0,
    patch: int = 2,
    blocks: int = 4,
    hidden: int = 128,
    layers: int = 4,
    heads: int = 4,
    dropout: float = 0.0,
    memory: str | Memory = "store",
    max_scale: float = 1000.0,
) -> Chain:
    """Transformer autoregressive flow of images: affine layers over patches, in alternating order.

    The numbers of a patch are one position. A causal transformer reads the patches before it, and gives the shift and the
    scale of each of its numbers. z has the shape (height / patch, width / patch, channels patch^2).

    Source: Zhai et al., 2024, "Normalizing flows are capable generative models", arXiv:2412.06329, section 2.2.

    Args:
        features: the shape of the images, (channels, height, width).
        context: size of the context, or its shape; 0 for none.
        patch: side of a patch, of which height and width are multiples.
        blocks: number of affine layers.
        hidden: width of each transformer.
        layers: number of layers of each transformer.
        heads: number of attention heads of each layer.
        dropout: share of units that a fit drops in each transformer.
        memory, max_scale: as in `maf`.

    Raises:
        ValueError: shapes that do not fit.

    Example:
        >>> import torch
        >>> import anabranch as ab
        >>> flow = ab.Flow(ab.flows.tarflow((1, 8, 8), blocks=2, hidden=16, layers=1))
        >>> flow.sample((5,)).shape
        torch.Size([5, 1, 8, 8])
    """
    shape, side = as_shape("features", features), positive_int("patch", patch)
    if len(shape) != 3:
        raise ValueError(f"features: expected the shape (channels, height, width), got {tuple(shape)}")
    if shape[1] % side or shape[2] % side:
        raise ValueError(
            f"features: expected height and width that are multiples of {side}, the patch, got {shape[1]} x {shape[2]}; "
            f"pad the images to {-shape[1] % side + shape[1]} x {-shape[2] % side + shape[2]}, or take another patch"
        )
    channels, height, width = shape
    numbers, positions, inside = shape.numel(), (height // side, width // side), channels * side**2
    univariate = affine_maps(max_scale, positive_int("blocks", blocks))

    def layer(i: int) -> Transform:
        g = univariate()
        outputs = inside * g.size
        network = CausalTransformer(
            positions, outputs, context, hidden, layers, heads, dropout=dropout, zero_start=True, channels=inside
        )
        order = range(network.features) if i % 2 == 0 else range(network.features - 1, -1, -1)
        return Autoregressive(g, network, order)

    # (channels, rows, side, columns, side) to (rows, columns, channels, side, side)
    cut = torch.arange(numbers).reshape(channels, positions[0], side, positions[1], side).permute(1, 3, 0, 2, 4)
    return numbered(
        "affine",
        map(layer, range(blocks)),
        memory,
        vector=Reshape(shape, numbers),
        standardise=Standardise(numbers),
        cut=Permutation(cut.flatten().tolist()),
        patches=Reshape(numbers, (*positions, inside)),
    )
