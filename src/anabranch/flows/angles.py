"""The recipe for angles."""

from __future__ import annotations

from collections.abc import Sequence

from anabranch.flows.numbered import numbered
from anabranch.flows.row_layers import RowLayers
from anabranch.transforms import Chain, CircularSpline, Elementwise, Memory, UnivariateMap


def circular(
    features: int,
    context: int = 0,
    blocks: int = 4,
    hidden: Sequence[int] = (128, 128),
    bins: int = 8,
    activation: str = "relu",
    memory: str | Memory = "store",
) -> Chain:
    """Flow of angles from 0 to 2 pi: couplings of circular splines, whose networks read sines and cosines.

    Over a `densities.Uniform` the density is continuous around every circle. For a single angle the flow is one spline.

    Source: Rezende et al., 2020, "Normalizing flows on tori and spheres", arXiv:2002.02428, section 2.

    Args:
        features, context, blocks, hidden, bins, activation, memory: as in `nsf`.

    Example:
        >>> import torch
        >>> import anabranch as ab
        >>> base = ab.densities.Uniform([0.0, 0.0], [2 * torch.pi, 2 * torch.pi])
        >>> flow = ab.Flow(ab.flows.circular(features=2), base)
        >>> ends = flow.log_prob(torch.tensor([[1.0, 0.0], [1.0, 2 * torch.pi]]))
        >>> torch.allclose(ends[0], ends[1], atol=1e-4)
        True
    """

    def spline() -> UnivariateMap:
        return CircularSpline(bins)

    rows = RowLayers(features, context, blocks, hidden, activation)
    if features == 1:
        return numbered("spline", [Elementwise(spline(), 1, rows.of_context(spline().size))], memory)
    return numbered("spline", rows.coupling(spline, of_angles=True), memory)
