"""The radial layer: a contraction or an expansion around a point."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from anabranch.checks import positive_int
from anabranch.networks import Network
from anabranch.transforms.learned import Learned
from anabranch.transforms.orthogonal import length
from anabranch.transforms.transform import Transform


class Radial(Transform):
    r"""z = x_0 + (x - x_0) (1 + a g / (a + r)), r = |x - x_0|: it stretches space around x_0 (g > 0) or squeezes it (g < 0).

    .. math:: \log |\det \partial z / \partial x| = (D - 1) \log \left(1 + \frac{a g}{a + r}\right)
              + \log \left(1 + \frac{a^2 g}{(a + r)^2}\right)

    a is the reach, and 1 + g is the stretch at x_0. For every value of the parameters a > 0 and 1 + g > 0.001, so that both
    factors are positive. The paper writes :math:`\beta = a g`.

    Forward and inverse are formulas. With R = |z - x_0|, the inverse solves :math:`r^2 + (a (1 + g) - R) r - a R = 0`. This
    quadratic has one root of at least 0, and the code computes it without cancellation.

    Source: Rezende and Mohamed, 2015, "Variational inference with normalizing flows", arXiv:1505.05770, equation 14.

    Args:
        features: number of features, D.
        network: moves the parameters with the context: a `Network` from the context to D + 2 numbers (x_0, and the raw
            values of a and g), which are added to the trainable constants.

    Raises:
        ValueError: sizes that do not fit.

    Example:
        >>> import torch
        >>> from anabranch.transforms import Radial
        >>> layer, x = Radial(3), torch.randn(10, 3)
        >>> z, log_det = layer(x)
        >>> torch.allclose(layer.inverse(z)[0], x, atol=1e-5)
        True
    """

    def __init__(self, features: int, network: Network | None = None) -> None:
        features = positive_int("features", features)
        # the identity, g = 0, around a random point
        start = torch.cat([torch.randn(features) * features**-0.5, torch.zeros(2)])
        learned = Learned(start, network, "numbers (the centre, the reach and the stretch)")
        super().__init__((features,), learned.context_shape)
        self.features, self.learned = features, learned

    def _forward(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        x = self._at_every_context(x, context)
        centre, reach, stretch = self._shape(context)
        y = x - centre
        r = length(y)
        factor, log_det = self._factor(r, reach, stretch)
        return centre + factor.unsqueeze(-1) * y, log_det

    def _inverse(self, z: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        z = self._at_every_context(z, context)
        centre, reach, stretch = self._shape(context)
        y = z - centre
        distance = length(y)
        # r / R is (B + root) / (2 R) = 2 a / (root - B), and each is without cancellation on one side of B = 0
        b = distance - reach * stretch
        # the square of a distance may overflow, and at b = 0 = R a root has no slope
        root = torch.hypot(b, 2 * (reach * distance.clamp(min=torch.finfo(z.dtype).tiny)).sqrt())
        far = b > 0
        by_sum = (b + root) / (2 * torch.where(far, distance, 1.0))
        by_difference = 2 * reach / torch.where(far, 1.0, root - b)
        ratio = torch.where(far, by_sum, by_difference)
        _, log_det = self._factor(ratio * distance, reach, stretch)
        return centre + ratio.unsqueeze(-1) * y, -log_det

    def _shape(self, context: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """x_0, a and 1 + g."""
        centre, raw_reach, raw_stretch = self.learned(context).split([self.features, 1, 1], dim=-1)
        reach, stretch = (_LEAST + (1 - _LEAST) * functional.softplus(raw + _ONE) for raw in (raw_reach, raw_stretch))
        return centre, reach.squeeze(-1), stretch.squeeze(-1)

    def _factor(self, r: Tensor, reach: Tensor, stretch: Tensor) -> tuple[Tensor, Tensor]:
        """|z - x_0| / r at the distance r, and the log-determinant."""
        near = reach / (reach + r)
        # 1 + g near^p as a mean of 1 and the stretch: positive, whatever rounds
        factor, slope = (1 + (stretch - 1) * weight for weight in (near, near.square()))
        return factor, (self.features - 1) * factor.log() + slope.log()


_LEAST = 1e-3
# softplus is 1 here
_ONE = math.log(math.e - 1)
