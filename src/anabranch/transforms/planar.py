"""The planar layer: a bend along one direction."""

from __future__ import annotations

import torch
from torch import Tensor

from anabranch.checks import positive_int
from anabranch.networks import Network
from anabranch.transforms.learned import Learned
from anabranch.transforms.tanh_unit import increasing_factor, log_slope, unit_inverse
from anabranch.transforms.transform import Inversion, Transform

# of v at the start: layers that bend at random hold a fit up, by 0.04 to 0.14 nats in the plane
_LENGTH = 0.1


class Planar(Transform):
    r"""z = x + u tanh(w . x + b): x moves along the direction u, by a distance that depends on w . x alone.

    .. math:: \log |\det \partial z / \partial x| = \log(1 + w \cdot u \tanh'(w \cdot x + b))

    The parameters are v, w and b. The layer is invertible for every value of them, since :math:`u = k(v \cdot w)\, v` with a
    factor k > 0 that keeps :math:`w \cdot u` above -0.998 (`tanh_unit.increasing_factor`): the determinant is at least
    0.002. (The paper moves u along w instead, and divides by |w|^2.)

    Forward is a formula. The inverse solves an equation for one number, :math:`t + w \cdot u \tanh t = w \cdot z + b`, by
    Newton's method within a bracket. Where the method does not converge, x is NaN. Variational inference scores only its own
    draws, so turn the layer round for it: `Inverse(Planar(features))` samples by the formula, as in the paper, and scores
    data by the root (`flows.planar`).

    Source: Rezende and Mohamed, 2015, "Variational inference with normalizing flows", arXiv:1505.05770, equations 10 to 12.

    Args:
        features: number of features, D.
        network: moves the parameters with the context: a `Network` from the context to 2 D + 1 numbers (v, w and b), which
            are added to the trainable constants.

    Raises:
        ValueError: sizes that do not fit.

    Example:
        >>> import torch
        >>> from anabranch.transforms import Planar
        >>> layer, x = Planar(3), torch.randn(10, 3)
        >>> z, log_det = layer(x)
        >>> torch.allclose(layer.inverse(z)[0], x, atol=1e-5)
        True
    """

    inversion: Inversion = "iterative"

    def __init__(self, features: int, network: Network | None = None) -> None:
        features = positive_int("features", features)
        # nearly the identity, v of length about 0.1 and w of about 1: at v = w = 0 no gradient would tell them where to go
        start = torch.cat([torch.randn(2 * features) * features**-0.5, torch.zeros(1)])
        start[:features] *= _LENGTH
        learned = Learned(start, network, "numbers (v, w and b)")
        super().__init__((features,), learned.context_shape)
        self.features, self.learned = features, learned

    def _forward(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        x = self._at_every_context(x, context)
        u, w, b, product = self._bend(context)
        return self._at(x, (x * w).sum(dim=-1) + b, u, product, 1)

    def _inverse(self, z: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        z = self._at_every_context(z, context)
        u, w, b, product = self._bend(context)
        s = (z * w).sum(dim=-1) + b
        t = unit_inverse(s, product, torch.ones_like(product), torch.zeros_like(product))
        return self._at(z, t, u, product, -1)

    def _bend(self, context: Tensor | None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """u, w, b and w . u."""
        v, w, b = self.learned(context).split([self.features, self.features, 1], dim=-1)
        a = (v * w).sum(dim=-1)
        factor = increasing_factor(a)
        return factor.unsqueeze(-1) * v, w, b.squeeze(-1), factor * a

    @staticmethod
    def _at(x: Tensor, t: Tensor, u: Tensor, product: Tensor, sign: int) -> tuple[Tensor, Tensor]:
        """x moved by u tanh t, or back, and the log-determinant."""
        h = torch.tanh(t)
        return x + sign * h.unsqueeze(-1) * u, sign * log_slope(product, t)
