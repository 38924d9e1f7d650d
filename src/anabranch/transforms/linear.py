"""Linear layers: a full matrix, and a matrix kept as its LU factors."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from anabranch.checks import positive_int
from anabranch.transforms.transform import Transform


class Linear(Transform):
    r"""z = W x + b with any invertible matrix W, starting at the identity.

    .. math:: \log |\det \partial z / \partial x| = \log |\det W|

    The determinant and the inverse cost O(features^3) a call, whatever the batch. W may become singular in a fit; the matrix
    of `LULinear` cannot.

    Args:
        features: number of features.

    Raises:
        ValueError: the inverse of a singular W.

    Example:
        >>> import torch
        >>> from anabranch.transforms import Linear
        >>> Linear(2)(torch.tensor([1.0, 2.0]))[0].detach()
        tensor([1., 2.])
    """

    affine = True

    def __init__(self, features: int) -> None:
        super().__init__((positive_int("features", features),))
        self.weight = nn.Parameter(torch.eye(features))
        self.bias = nn.Parameter(torch.zeros(features))

    def _forward(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        log_det = torch.linalg.slogdet(self.weight).logabsdet
        return nn.functional.linear(x, self.weight, self.bias), log_det.expand(x.shape[:-1])

    def _inverse(self, z: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        # z - b = x W^T, solved for all rows at once: the matrix is not repeated for each of them
        try:
            x = torch.linalg.solve(self.weight.mT, _rows(z - self.bias), left=False).reshape(z.shape)
        except torch.linalg.LinAlgError as error:  # type: ignore[attr-defined]
            raise ValueError(
                "Linear: expected an invertible matrix W for the inverse, got a singular one; take LULinear, whose matrix "
                "is invertible for all parameters"
            ) from error
        return x, -torch.linalg.slogdet(self.weight).logabsdet.expand(z.shape[:-1])


class LULinear(Transform):
    r"""z = L U x + b, with L lower triangular of unit diagonal and U upper triangular of positive diagonal.

    .. math:: \log |\det \partial z / \partial x| = \sum_i \log U_{ii}

    The log-determinant is a sum and the inverse two triangular solves. It starts at the identity and is invertible for
    every value of its parameters. Source: Kingma and Dhariwal, 2018, "Glow", arXiv:1807.03039, section 3.2; without its
    fixed permutation, for which there is `Permutation`.

    Args:
        features: number of features.

    Example:
        >>> import torch
        >>> from anabranch.transforms import LULinear
        >>> LULinear(2)(torch.tensor([1.0, 2.0]))[0].detach()
        tensor([1., 2.])
    """

    affine = True

    def __init__(self, features: int) -> None:
        super().__init__((positive_int("features", features),))
        self.lower = nn.Parameter(torch.zeros(features, features))
        self.upper = nn.Parameter(torch.zeros(features, features))
        self.log_diagonal = nn.Parameter(torch.zeros(features))
        self.bias = nn.Parameter(torch.zeros(features))

    def _forward(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        lower, upper = self._factors()
        # One product of the two small matrices is cheaper than a second pass over the batch.
        z = nn.functional.linear(x, lower @ upper, self.bias)
        return z, self.log_diagonal.sum().expand(x.shape[:-1])

    def _inverse(self, z: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        lower, upper = self._factors()
        # z - b = x U^T L^T, solved from the right for all rows at once: the factors are not repeated for each of them
        y = torch.linalg.solve_triangular(lower.mT, _rows(z - self.bias), upper=True, left=False, unitriangular=True)
        x = torch.linalg.solve_triangular(upper.mT, y, upper=False, left=False).reshape(z.shape)
        return x, -self.log_diagonal.sum().expand(z.shape[:-1])

    def _factors(self) -> tuple[Tensor, Tensor]:
        identity = torch.eye(len(self.bias), dtype=self.bias.dtype, device=self.bias.device)
        lower = self.lower.tril(diagonal=-1) + identity
        upper = self.upper.triu(diagonal=1) + torch.diag(self.log_diagonal.exp())
        return lower, upper


def _rows(x: Tensor) -> Tensor:
    """All events as the rows of one matrix."""
    return x.reshape(-1, x.shape[-1])
