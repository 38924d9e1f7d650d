"""Linear layers kept as something else than LU factors: an orthogonal and a triangular one, and a matrix logarithm."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from anabranch.checks import positive_int
from anabranch.transforms.orthogonal import reflected
from anabranch.transforms.transform import Transform


class QRLinear(Transform):
    r"""z = Q R x + b, with Q a product of Householder reflections and R upper triangular of positive diagonal.

    .. math:: \log |\det \partial z / \partial x| = \sum_i \log R_{ii}

    It starts at the identity (the reflections in equal pairs) and is invertible for every value of its parameters. As
    `LULinear` it has a log-determinant that is a sum and an inverse by triangular solves, and it turns features without
    stretching them. Source: Hoogeboom et al., 2019, "Emerging convolutions for generative normalizing flows",
    arXiv:1901.11137, section 3.2 and appendix B.

    Args:
        features: number of features.
        reflections: how many, an even number, so that the layer starts at the identity; by default as many as features, or
            one more. Then every matrix of positive determinant is reached.

    Raises:
        ValueError: an odd number of reflections.

    Example:
        >>> import torch
        >>> from anabranch.transforms import QRLinear
        >>> torch.allclose(QRLinear(2)(torch.tensor([1.0, 2.0]))[0], torch.tensor([1.0, 2.0]))
        True
    """

    affine = True

    def __init__(self, features: int, reflections: int | None = None) -> None:
        super().__init__((positive_int("features", features),))
        count = features + features % 2 if reflections is None else positive_int("reflections", reflections)
        if count % 2:
            raise ValueError(f"reflections: expected an even number, for a start at the identity, got {count}")
        self.vectors = nn.Parameter(torch.randn(count // 2, features).repeat_interleave(2, dim=0))
        self.upper = nn.Parameter(torch.zeros(features, features))
        self.log_diagonal = nn.Parameter(torch.zeros(features))
        self.bias = nn.Parameter(torch.zeros(features))

    def _forward(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        # the columns of Q R are those of R, reflected: cheaper than a reflection of every row of a batch
        weight = reflected(self._triangle().mT, self.vectors).mT
        return nn.functional.linear(x, weight, self.bias), self.log_diagonal.sum().expand(x.shape[:-1])

    def _inverse(self, z: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        # z - b = x R^T Q^T: the rows brought back from their reflections, then solved for all at once
        y = reflected((z - self.bias).reshape(-1, z.shape[-1]), self.vectors, back=True)
        x = torch.linalg.solve_triangular(self._triangle().mT, y, upper=False, left=False).reshape(z.shape)
        return x, -self.log_diagonal.sum().expand(z.shape[:-1])

    def _triangle(self) -> Tensor:
        return self.upper.triu(diagonal=1) + torch.diag(self.log_diagonal.exp())


class ExponentialLinear(Transform):
    r"""z = exp(A) x + b with the matrix exponential of any matrix A, starting at the identity, A = 0.

    .. math:: \log |\det \partial z / \partial x| = \operatorname{tr} A, \qquad x = \exp(-A) (z - b)

    No factor is singled out and none is solved for; the exponential costs O(features^3) a call, whatever the batch. Source:
    Xiao and Liu, 2020, "Generative flows with matrix exponential", arXiv:2007.09651, section 3.1.

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
