"""Couplings of images: univariate maps and networks, over any mask."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from anabranch.checks import one_of
from anabranch.flows.scales import affine_maps
from anabranch.networks import GatedConvolutional
from anabranch.networks.network import Shape
from anabranch.transforms import Coupling, RationalQuadraticSpline, UnivariateMap

MAPS = ("affine", "spline")


class Couplings:
    """Couplings of one kind: over any mask, one univariate map and one set of settings of the networks."""

    def __init__(
        self,
        context: Shape | None,
        hidden: int,
        blocks: int,
        attention: int,
        dropout: float,
        univariate: Callable[[], UnivariateMap],
    ) -> None:
        self.context, self.univariate = context, univariate
        self.options: dict[str, Any] = {"hidden": hidden, "blocks": blocks, "attention": attention, "dropout": dropout}

    def over(self, mask: Tensor) -> Coupling:
        """A coupling that moves the numbers where the mask is true, by a network that starts at zero."""
        g = self.univariate()
        channels, *size = mask.shape
        whole = mask.flatten(1).all(dim=1)
        moved = int(whole.sum()) if bool((whole == mask.flatten(1).any(dim=1)).all()) else channels
        reads = channels if moved == channels else channels - moved
        network = GatedConvolutional(
            (reads, *size), (moved * g.size, *size), self.context, zero_start=True, **self.options
        )
        return Coupling(mask, g, network)


def image_maps(univariate: str, layers: int, bins: int, bound: float, max_scale: float) -> Callable[[], UnivariateMap]:
    """A function that makes the univariate map of this name for each of so many layers."""
    if one_of("univariate", univariate, MAPS) == "spline":
        return lambda: RationalQuadraticSpline(bins=bins, bound=bound)
    # a number moves in one layer of each pair, and once more in a split
    return affine_maps(max_scale, (layers + 1) // 2 + 1)
