"""The recipe of noise that fills the gaps between levels of images."""

from __future__ import annotations

from collections.abc import Sequence

from anabranch.checks import positive_int
from anabranch.flows.image_couplings import Couplings
from anabranch.flows.image_levels import image_shape
from anabranch.flows.scales import affine_maps
from anabranch.networks import GatedConvolutional
from anabranch.transforms import ActNorm, Chain, Elementwise, Memory, Pointwise, Probit, Transform, checkerboard


def dequantisation(
    features: Sequence[int],
    couplings: int = 2,
    hidden: int = 16,
    blocks: int = 1,
    dropout: float = 0.0,
    memory: str | Memory = "store",
    max_scale: float = 1000.0,
) -> Chain:
    r"""Variational dequantisation: a map from noise u in (0, 1) of every pixel to normal numbers, given the image x.

    It consists of a probit, a shift and a scale of every pixel, and couplings over checkerboards. All networks read x, which
    is the context. A `Flow` of it is the noise of a `densities.Dequantized`. It starts as the uniform density for every x,
    up to the normalisation of the first batch.

    A probit, since then the noise falls as a power of u at the ends of a cell, and importance weights keep a finite
    variance where the scale of every pixel is above sqrt(1/2). Behind a logit the noise falls faster than any power, and the
    variance of the weights is infinite at every scale. Few large weights then decide: an estimate of too few draws lies low.

    Source: Ho et al., 2019, "Flow++", arXiv:1902.00275, section 3.1.

    Args:
        features: the shape of the images, (channels, height, width), with any number of pixels.
        couplings: number of couplings over checkerboards.
        hidden, blocks, dropout, memory, max_scale: as in `glow`.

    Raises:
        ValueError: a shape that is not (channels, height, width); couplings over images of one pixel.

    Example:
        >>> import torch
        >>> import anabranch as ab
        >>> from anabranch.densities import Dequantized, Normal
        >>> noise = ab.Flow(ab.flows.dequantisation((1, 8, 8)))
        >>> levels = Dequantized(Normal(torch.zeros(1, 8, 8)), 17, noise, logit=True)
        >>> levels.lower_bound(torch.zeros(5, 1, 8, 8, dtype=torch.uint8)).shape
        torch.Size([5])
    """
    shape = image_shape(features, 0)
    mapped = affine_maps(max_scale, positive_int("couplings", couplings, least=0) // 2 + 1)
    if couplings and shape[1] * shape[2] == 1:
        raise ValueError(
            f"features: expected images of at least two pixels, which a checkerboard divides, got shape {tuple(shape)}; "
            "take couplings=0"
        )
    coupled = Couplings(shape, hidden, blocks, 0, dropout, mapped)
    g = mapped()
    told = GatedConvolutional(
        shape, (shape[0] * g.size, *shape[1:]), hidden=hidden, blocks=blocks, dropout=dropout, zero_start=True
    )
    named: dict[str, Transform] = {
        "probit": Elementwise(Probit(), shape),
        "norm": Pointwise(ActNorm(shape[0])),
        "affine": Elementwise(g, shape, told),
    }
    named |= {f"checkerboard_{i + 1}": coupled.over(checkerboard(shape, i)) for i in range(couplings)}
    return Chain(named, memory=memory)
