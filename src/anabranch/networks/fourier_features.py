"""A network that reads fine differences of its inputs."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from anabranch.checks import as_shape, instance_of, numbers_below
from anabranch.networks.network import Network, Shape


class FourierFeatures(Network):
    r"""y = f((x, \sin 2^n \pi x, \cos 2^n \pi x), c): a network f that reads waves of every number beside the number.

    Layers over x alone tell nearby numbers apart badly. Waves of a length of about four steps of a lattice tell its levels
    apart: of `count` levels on [-1, 1], n of about log2(count / 4) and below.

    Source: Kingma et al., 2021, "Variational diffusion models", arXiv:2107.00630, appendix C.

    Args:
        network: f. It reads a vector of features (1 + 2 waves), or an image of channels (1 + 2 waves); all of x come
            first, then the sines and cosines of each n.
        features: the size of x, or its shape (channels, height, width).
        powers: the n.

    Raises:
        ValueError: a network of other inputs.

    Example:
        >>> import torch
        >>> from anabranch.networks import MLP, FourierFeatures
        >>> network = FourierFeatures(MLP(2 * 5, 3, hidden=(16,)), features=2, powers=(0, 1))
        >>> network(torch.randn(10, 2)).shape
        torch.Size([10, 3])
    """

    def __init__(self, network: Network, features: Shape, powers: Sequence[int]) -> None:
        instance_of("network", network, Network)
        shape, powers = as_shape("features", features), numbers_below("powers", powers)
        wanted = torch.Size([shape[0] * (1 + 2 * len(powers)), *shape[1:]])
        if network.in_shape != wanted:
            raise ValueError(
                f"network: expected features {tuple(wanted)}, those of x and {len(powers)} sines and cosines of each, got "
                f"{tuple(network.in_shape)}"
            )
        super().__init__(shape, network.out_shape, network.context_shape)
        self.network = network
        self.powers = powers

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        angles = [2.0**n * math.pi * x for n in self.powers]
        waves = [wave for angle in angles for wave in (angle.sin(), angle.cos())]
        y: Tensor = self.network(torch.cat([x, *waves], dim=-len(self.in_shape)), context)
        return y
