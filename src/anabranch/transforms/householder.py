"""Rotations and reflections as products of Householder reflections."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from anabranch.checks import positive_int
from anabranch.networks import Network
from anabranch.networks.of_context import network_of_context, read_distinct
from anabranch.transforms.orthogonal import reflected
from anabranch.transforms.transform import Transform


class Householder(Transform):
    r"""z = H_n ... H_1 x, a product of reflections H_i = I - 2 v_i v_i^T / |v_i|^2: orthogonal, log-determinant 0.

    With as many reflections as features the layer reaches every orthogonal matrix. With a network the matrix is a function
    of the context. This is a Householder flow: it turns draws of a normal density of diagonal covariance into draws of one
    of full covariance.

    Source: Tomczak and Welling, 2016, "Improving variational auto-encoders using Householder flow", arXiv:1611.09630,
    equation 8.

    Args:
        features: number of features.
        reflections: how many; by default as many as features.
        network: moves the vectors with the context: a `Network` from the context to reflections x features numbers, which
            are added to the trainable constants.

    Raises:
        ValueError: sizes that do not fit.

    Example:
        >>> import torch
        >>> from anabranch.transforms import Householder
        >>> x = torch.randn(10, 3)
        >>> z, log_det = Householder(3)(x)
        >>> torch.allclose(z.norm(dim=-1), x.norm(dim=-1), atol=1e-5)
        True
    """

    affine = True

    def __init__(self, features: int, reflections: int | None = None, network: Network | None = None) -> None:
        features = positive_int("features", features)
        count = features if reflections is None else positive_int("reflections", reflections)
        if network is not None:
            network = network_of_context(network, f"{count} x {features} outputs", count * features)
        super().__init__((features,), None if network is None else network.in_shape)
        self.vectors = nn.Parameter(torch.randn(count, features))
        self.network = network

    def _forward(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        x = self._at_every_context(x, context)
        z = reflected(x, self._vectors(context))
        return z, z.new_zeros(z.shape[:-1])

    def _inverse(self, z: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        z = self._at_every_context(z, context)
        x = reflected(z, self._vectors(context), back=True)
        return x, x.new_zeros(x.shape[:-1])

    def _vectors(self, context: Tensor | None) -> Tensor:
        """(reflections, features), or (*batch, reflections, features) at contexts."""
        if self.network is None:
            return self.vectors
        y = read_distinct(self.network, context)
        return self.vectors + y.flatten(y.dim() - len(self.network.out_shape)).unflatten(-1, self.vectors.shape)
