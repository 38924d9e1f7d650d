"""The Sylvester layer: a residual network of one hidden layer, in an orthonormal basis."""

from __future__ import annotations

import torch
from torch import Tensor

from anabranch.checks import one_of, positive_int
from anabranch.networks import Network
from anabranch.transforms.learned import Learned
from anabranch.transforms.orthogonal import orthonormal_factor, reflected, times
from anabranch.transforms.tanh_unit import increasing_factor, log_slope, unit_inverse
from anabranch.transforms.transform import Inversion, Transform


class Sylvester(Transform):
    r"""z = x + Q R tanh(S Q^T x + b), with M orthonormal columns Q and upper triangular R and S of size M.

    .. math:: \log |\det \partial z / \partial x| = \sum_{i=1}^M \log(1 + R_{ii} S_{ii} \tanh'(S Q^T x + b)_i)

    The layer is a residual network with one hidden layer of M units; `Planar` has one unit. It is invertible for every
    value of its parameters: a positive factor on R_ii keeps every R_ii S_ii above -0.998 (`tanh_unit.increasing_factor`), so
    that each term of the sum is at least log 0.002.

    Forward is a formula. The inverse solves the triangular system Q^T z = y + R tanh(S y + b) from its last row to its
    first. Each row is an equation for one number, solved by Newton's method within a bracket. Where one does not converge, x
    is NaN. For variational inference `Inverse(Sylvester(features))` samples by the formula (`flows.sylvester`).

    Source: van den Berg et al., 2018, "Sylvester normalizing flows for variational inference", arXiv:1803.05649, equations 8
    to 13.

    Args:
        features: number of features, D.
        units: number of hidden units, M, at most as many as features; by default as many.
        basis: the kind of Q. "orthogonal": the orthonormal factor of any D x M matrix, by an exact QR factorisation in place
            of the paper's iteration. "householder": the first M columns of a product of reflections. "triangular": the
            first M features themselves; put a `Permutation` between such layers, as the paper does.
        reflections: how many, with basis="householder"; by default as many as hidden units.
        network: moves the parameters with the context: a `Network` from the context to `Sylvester.size` numbers, which are
            added to the trainable constants: M (M + 2) for R, S and b, and for Q none, D M, or D for each reflection.

    Raises:
        ValueError: sizes that do not fit.

    Example:
        >>> import torch
        >>> from anabranch.transforms import Sylvester
        >>> layer, x = Sylvester(3, units=2), torch.randn(10, 3)
        >>> z, log_det = layer(x)
        >>> torch.allclose(layer.inverse(z)[0], x, atol=1e-5)
        True
    """

    inversion: Inversion = "iterative"

    def __init__(
        self,
        features: int,
        units: int | None = None,
        basis: str = "orthogonal",
        reflections: int | None = None,
        network: Network | None = None,
    ) -> None:
        features = positive_int("features", features)
        rows = _vectors_of(features, units, basis, reflections)
        units = features if units is None else int(units)
        # small random bends in a random basis: with R = S = 0 no gradient would tell where to go
        bends = torch.randn(units * (units + 1)) * (2 * units) ** -0.5
        start = torch.cat([bends, torch.zeros(units), torch.randn(rows * features)])
        learned = Learned(start, network, "numbers (R, S, b and Q)")
        super().__init__((features,), learned.context_shape)
        self.features, self.units, self.basis, self.vectors = features, units, basis, rows
        self.learned = learned

    @staticmethod
    def size(features: int, units: int | None = None, basis: str = "orthogonal", reflections: int | None = None) -> int:
        """How many numbers such a layer learns: the outputs of its network.

        Example:
            >>> from anabranch.networks import MLP
            >>> from anabranch.transforms import Sylvester
            >>> Sylvester(3, units=2, network=MLP(5, Sylvester.size(3, units=2))).context_shape
            torch.Size([5])
        """
        features = positive_int("features", features)
        units = features if units is None else units
        return units * (units + 2) + features * _vectors_of(features, units, basis, reflections)

    def _forward(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        x = self._at_every_context(x, context)
        outer, inner, b, vectors = self._matrices(context)
        q = self._columns(vectors)
        t = times(inner, times(q.mT, x)) + b
        return self._at(x, t, q, outer, inner, 1)

    def _inverse(self, z: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        z = self._at_every_context(z, context)
        outer, inner, b, vectors = self._matrices(context)
        q = self._columns(vectors)
        s = times(q.mT, z)
        # from the last row on: y_i + R_ii tanh(S_ii y_i + b_i + sum_j>i S_ij y_j) = s_i - sum_j>i R_ij tanh(t_j)
        y: list[Tensor] = []
        t: list[Tensor] = []
        for i in reversed(range(self.units)):
            rest, shift = s[..., i], b[..., i]
            for j in range(i + 1, self.units):
                rest = rest - outer[..., i, j] * torch.tanh(t[j - i - 1])
                shift = shift + inner[..., i, j] * y[j - i - 1]
            y_i = unit_inverse(rest, outer[..., i, i], inner[..., i, i], shift)
            y.insert(0, y_i)
            t.insert(0, inner[..., i, i] * y_i + shift)
        return self._at(z, torch.stack(torch.broadcast_tensors(*t), dim=-1), q, outer, inner, -1)

    def _at(self, x: Tensor, t: Tensor, q: Tensor, outer: Tensor, inner: Tensor, sign: int) -> tuple[Tensor, Tensor]:
        """x moved by Q R tanh t, or back, and the log-determinant."""
        h = torch.tanh(t)
        slopes = log_slope(_diagonal(outer) * _diagonal(inner), t)
        return x + sign * times(q, times(outer, h)), sign * slopes.sum(dim=-1)

    def _matrices(self, context: Tensor | None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """R, S, b and what Q is made of, (*batch, rows, features)."""
        units, rows = self.units, self.vectors
        sizes = [units * units, units, units, rows * self.features]
        square, diagonal, b, vectors = self.learned(context).split(sizes, dim=-1)
        square = square.unflatten(-1, (units, units))
        # one matrix holds R above and on its diagonal and S, transposed, below; S has its diagonal apart
        scaled = _diagonal(square) * increasing_factor(_diagonal(square) * diagonal)
        outer = square.triu(1) + torch.diag_embed(scaled)
        inner = square.tril(-1).mT + torch.diag_embed(diagonal)
        return outer, inner, b, vectors.unflatten(-1, (rows, self.features))

    def _columns(self, vectors: Tensor) -> Tensor:
        """Q, (*batch, D, M)."""
        if self.basis == "orthogonal":
            return orthonormal_factor(vectors.mT)
        identity = torch.eye(self.units, self.features, dtype=vectors.dtype, device=vectors.device)
        if self.basis == "householder":
            identity = reflected(identity, vectors.unsqueeze(-3) if vectors.dim() > 2 else vectors)
        return identity.mT


def _vectors_of(features: int, units: int | None, basis: str, reflections: int | None) -> int:
    """How many vectors of D numbers Q is made of.

    Raises:
        ValueError: arguments that do not fit.
    """
    units = positive_int("features", features) if units is None else positive_int("units", units)
    if units > features:
        raise ValueError(f"units: expected at most {features}, the number of features, got {units}")
    one_of("basis", basis, ("orthogonal", "householder", "triangular"))
    if reflections is not None and basis != "householder":
        raise ValueError(
            f'reflections: expected None, since basis={basis!r} has none, got {reflections}; use "householder"'
        )
    if basis == "triangular":
        return 0
    return units if reflections is None else positive_int("reflections", reflections)


def _diagonal(matrix: Tensor) -> Tensor:
    return matrix.diagonal(dim1=-2, dim2=-1)
