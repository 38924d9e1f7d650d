"""A linear layer as an orthogonal and a triangular factor."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from anabranch.checks import positive_int
from anabranch.transforms.orthogonal import reflected
from anabranch.transforms.transform import Transform


class QRLinear(Transform):
    r"""z = Q R x + b, with Q a product of Householder reflections and R upper triangular of positive diagonal.

    .. math:: \log |\det \partial z / \partial x| = \sum_i \log R_{ii}

    The layer starts at the identity: the reflections come in equal pairs, and R is the identity. It is invertible for every
    value of its parameters but reflections by a vector of 0, which give NaN. As in `LULinear`, the log-determinant is a sum
    and the inverse takes triangular solves. Q turns features without stretching them, so that R alone stretches.

    Source: Hoogeboom et al., 2019, "Emerging convolutions for generative normalizing flows", arXiv:1901.11137, section 3.2
    and appendix B.

    Args:
        features: number of features.
        reflections: how many, an even number, so that the layer starts at the identity. By default there are as many as
            features, or one more if that number is odd: then the layer reaches every matrix of positive determinant.

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
