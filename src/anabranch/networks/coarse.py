"""Coarse images: every so many pixels in fewer levels, and what they say of the image they come from."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from anabranch.checks import as_shape, instance_of, positive_int
from anabranch.networks.network import Network

# log-odds of what cannot be, whose probability is 0 in every float
_NEVER = -1e4


class Coarse(Network):
    r"""Every s-th pixel of every s-th row of an image, in fewer levels: y_{cij} = floor(x_{c,si,sj} K' / K).

    Args:
        features: the shape of x, (channels, height, width), whole numbers from 0.
        levels: K, how many there are of them.
        coarse: K', how many are left, 2 to K.
        stride: s.

    Raises:
        ValueError: a shape that is no image's, more levels than there were.

    Example:
        >>> import torch
        >>> from anabranch.networks import Coarse
        >>> x = torch.tensor([[[0.0, 3.0, 7.0, 1.0], [5.0, 5.0, 5.0, 5.0]]])
        >>> Coarse((1, 2, 4), levels=8, coarse=2, stride=2)(x)
        tensor([[[0., 1.]]])
    """

    def __init__(self, features: Sequence[int], levels: int, coarse: int, stride: int = 1) -> None:
        shape = as_shape("features", features)
        if len(shape) != 3:
            raise ValueError(f"features: expected (channels, height, width), got {tuple(shape)}")
        stride = positive_int("stride", stride)
        super().__init__(shape, (shape[0], *(-(-size // stride) for size in shape[1:])))
        self.levels = positive_int("levels", levels, least=2)
        self.coarse = positive_int("coarse", coarse, least=2)
        if self.coarse > self.levels:
            raise ValueError(f"coarse: expected at most {levels} levels, as many as there are, got {coarse}")
        self.stride = stride

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        return self.level(x[..., :: self.stride, :: self.stride])

    def level(self, x: Tensor) -> Tensor:
        """The coarse level of each number of x."""
        # of whole numbers, whose division is exact
        return (x.round() * self.coarse).div(self.levels, rounding_mode="floor").clamp(0, self.coarse - 1)


class Certain(Network):
    r"""Log-odds of levels, 0 for the one that a network tells and -10,000 for all others, whose probability is 0 in floats.

    As the network of `models.Factorized(Levels(count), ...)` it makes a density of what is certain given the context: the
    posterior of a hidden variable that x determines.

    Args:
        network: to whole numbers from 0 to count - 1.
        count: how many levels.

    Example:
        >>> import torch
        >>> from anabranch.networks import Certain, Coarse
        >>> Certain(Coarse((1, 1, 2), levels=4, coarse=2), count=2)(torch.tensor([[[0.0, 3.0]]]))
        tensor([     0., -10000., -10000.,      0.])
    """

    def __init__(self, network: Network, count: int) -> None:
        instance_of("network", network, Network)
        super().__init__(network.in_shape, network.outputs * positive_int("count", count), network.context_shape)
        self.network = network
        self.count = count

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        told = self.network(x, context).flatten(-len(self.network.out_shape)).unsqueeze(-1)
        every = torch.arange(self.count, dtype=told.dtype, device=told.device)
        odds = torch.where(told == every, 0.0, _NEVER).to(told)
        return (odds + 0 * told).flatten(-2)  # NaN where that is


class Within(Network):
    r"""Log-odds of the levels of an image that its coarse image y leaves: -10,000 for all others.

    The decoder of p(x | z, y): a network reads z and y and gives log-odds of every level of every pixel, of which those stay
    whose coarse level is that of y. So every image that it draws has y for its coarse image.

    Args:
        network: from a vector, z and then y with its levels spread over [-1, 1], to the levels of every pixel, as a vector
            or an image (channels times levels, height, width).
        coarse: from images to theirs.

    Raises:
        ValueError: a network of other shapes.

    Example:
        >>> import torch
        >>> from anabranch.networks import MLP, Coarse, Within
        >>> coarse = Coarse((1, 1, 2), levels=4, coarse=2, stride=2)
        >>> odds = Within(MLP(3 + 1, 2 * 4), coarse)(torch.zeros(4))  # z of three numbers, and y of one, which is 0
        >>> odds.unflatten(-1, (2, 4)) > -1e4
        tensor([[ True,  True, False, False],
                [ True,  True,  True,  True]])
    """

    def __init__(self, network: Network, coarse: Coarse) -> None:
        instance_of("network", network, Network)
        instance_of("coarse", coarse, Coarse)
        c, h, w = coarse.in_shape
        shapes = [(coarse.features * coarse.levels,), (c * coarse.levels, h, w)]
        if tuple(network.out_shape) not in shapes or len(network.in_shape) != 1 or network.features < coarse.outputs:
            raise ValueError(
                f"network: expected one from a vector of at least {coarse.outputs} numbers to {shapes[0]} or {shapes[1]}, "
                f"got one from {tuple(network.in_shape)} to {tuple(network.out_shape)}"
            )
        super().__init__(network.in_shape, network.out_shape, network.context_shape)
        self.network = network
        self.coarse = coarse

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        coarse = self.coarse
        z, y = x[..., : -coarse.outputs], x[..., -coarse.outputs :]
        odds: Tensor = self.network(torch.cat([z, 2 * y / (coarse.coarse - 1) - 1], dim=-1), context)
        left = self._left(y.unflatten(-1, coarse.out_shape))
        left = left.movedim(-1, -3).flatten(-4, -3) if len(self.out_shape) == 3 else left.flatten(-4)
        return odds.masked_fill(~left, _NEVER)

    def _left(self, y: Tensor) -> Tensor:
        """Which levels y leaves to each pixel: (*batch, channels, height, width, levels)."""
        coarse = self.coarse
        of_level = coarse.level(torch.arange(coarse.levels, dtype=y.dtype, device=y.device))
        # a NaN in y rules nothing out, and is NaN in what the network makes of it
        fits = (of_level == y.unsqueeze(-1)) | y.isnan().unsqueeze(-1)
        left = torch.ones((*y.shape[:-3], *coarse.in_shape, coarse.levels), dtype=torch.bool, device=y.device)
        left[..., :: coarse.stride, :: coarse.stride, :] = fits
        return left
