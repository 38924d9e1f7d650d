"""Affine and additive univariate maps."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from anabranch.checks import positive
from anabranch.transforms.univariate import UnivariateMap


class Affine(UnivariateMap):
    r"""z = (x - mu) exp(a), with the log-scale a held within +-log(max_scale) by a soft clip.

    .. math:: a = A \tanh(\theta_2 / A), \quad A = \log(\text{max\_scale}), \quad \mu = \theta_1

    The shift comes before the scale: then x = z exp(-a) + mu recovers x to a few units in the last place of |x| + |mu| for
    every scale, while z = x exp(a) + t would lose x in the rounding of a large t.

    Source: Papamakarios et al., 2017, arXiv:1705.07057, equation 4; Dinh et al., 2017, arXiv:1605.08803, equation 8.

    Args:
        max_scale: the largest scale; the smallest is its reciprocal.

    Example:
        >>> import torch
        >>> from anabranch.transforms import Affine
        >>> Affine()(torch.tensor([3.0]), torch.tensor([[1.0, 0.0]]))
        (tensor([2.]), tensor([0.]))
    """

    affine = True

    def __init__(self, max_scale: float = 1000.0) -> None:
        super().__init__(size=2)
        if positive("max_scale", max_scale) <= 1:
            raise ValueError(f"max_scale: expected a number above 1, got {max_scale}")
        self.max_log_scale = math.log(max_scale)

    def forward(self, x: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        loc, log_scale = self._loc_log_scale(parameters)
        z = (x - loc) * torch.exp(log_scale)
        return z, log_scale.expand_as(z)

    def inverse(self, z: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        loc, log_scale = self._loc_log_scale(parameters, sign=-1)
        x = torch.addcmul(loc, z, torch.exp(log_scale))
        return x, log_scale.expand_as(x)

    def _loc_log_scale(self, parameters: Tensor, sign: int = 1) -> tuple[Tensor, Tensor]:
        loc, raw = parameters.unbind(-1)
        return loc, torch.tanh(raw * (1 / self.max_log_scale)) * (sign * self.max_log_scale)


class Shift(UnivariateMap):
    r"""z = x - mu: volume-preserving, log-derivative 0.

    Source: Dinh et al., 2015, "NICE", arXiv:1410.8516, section 3.

    Example:
        >>> import torch
        >>> from anabranch.transforms import Shift
        >>> Shift()(torch.tensor([3.0]), torch.tensor([[1.0]]))
        (tensor([2.]), tensor([0.]))
    """

    affine = True

    def __init__(self) -> None:
        super().__init__(size=1)

    def forward(self, x: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        z = x - parameters[..., 0]
        return z, torch.zeros_like(z)

    def inverse(self, z: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        x = z + parameters[..., 0]
        return x, torch.zeros_like(x)
