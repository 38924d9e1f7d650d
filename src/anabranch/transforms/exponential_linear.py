"""A linear layer as a matrix exponential."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from anabranch.checks import positive_int
from anabranch.transforms.transform import Transform


class ExponentialLinear(Transform):
    r"""z = exp(A) x + b with the matrix exponential of any matrix A, starting at the identity, A = 0.

    .. math:: \log |\det \partial z / \partial x| = \operatorname{tr} A, \qquad x = \exp(-A) (z - b)

    The inverse needs no linear solve. The exponential costs O(features^3) a call, however large the batch is.

    Source: Xiao and Liu, 2020, "Generative flows with matrix exponential", arXiv:2007.09651, section 3.1.

    Args:
        features: number of features.

    Example:
        >>> import torch
        >>> from anabranch.transforms import ExponentialLinear
        >>> ExponentialLinear(2)(torch.tensor([1.0, 2.0]))[0].detach()
        tensor([1., 2.])
    """

    affine = True

    def __init__(self, features: int) -> None:
        super().__init__((positive_int("features", features),))
        self.logarithm = nn.Parameter(torch.zeros(features, features))
        self.bias = nn.Parameter(torch.zeros(features))

    def _forward(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        z = nn.functional.linear(x, torch.linalg.matrix_exp(self.logarithm), self.bias)
        return z, self.logarithm.trace().expand(x.shape[:-1])

    def _inverse(self, z: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        x = nn.functional.linear(z - self.bias, torch.linalg.matrix_exp(-self.logarithm))
        return x, -self.logarithm.trace().expand(z.shape[:-1])
