"""Rotations and reflections as products of Householder reflections."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from anabranch.checks import positive_int
from anabranch.transforms.transform import Transform


class Householder(Transform):
    r"""z = H_n ... H_1 x, a product of reflections H_i = I - 2 v_i v_i^T / |v_i|^2: orthogonal, log-determinant 0.

    With as many reflections as features every orthogonal matrix can be reached. Source: Tomczak and Welling, 2016,
    "Improving variational auto-encoders using Householder flow", arXiv:1611.09630, equation 8.

    Args:
        features: number of features.
        reflections: how many; by default as many as features.

    Example:
        >>> import torch
        >>> from anabranch.transforms import Householder
        >>> x = torch.randn(10, 3)
        >>> z, log_det = Householder(3)(x)
        >>> torch.allclose(z.norm(dim=-1), x.norm(dim=-1), atol=1e-5)
        True
    """

    affine = True

    def __init__(self, features: int, reflections: int | None = None) -> None:
        super().__init__((positive_int("features", features),))
        count = features if reflections is None else positive_int("reflections", reflections)
        self.vectors = nn.Parameter(torch.randn(count, features))

    def _forward(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        for v in self._directions():
            x = x - 2 * (x @ v).unsqueeze(-1) * v
        return x, x.new_zeros(x.shape[:-1])

    def _inverse(self, z: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        # each reflection is its own inverse
        for v in reversed(self._directions()):
            z = z - 2 * (z @ v).unsqueeze(-1) * v
        return z, z.new_zeros(z.shape[:-1])

    def _directions(self) -> list[Tensor]:
        return list((self.vectors / self.vectors.norm(dim=-1, keepdim=True)).unbind())
