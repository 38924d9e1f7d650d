"""Any differentiable bijection of few features, with its log-determinant by autodiff."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from anabranch.checks import as_context_shape, one_of, positive, positive_int
from anabranch.networks import Network
from anabranch.networks.network import Shape
from anabranch.transforms.jacobian import Rows, jacobian, pulled_back
from anabranch.transforms.transform import Inversion, Transform

Structure = Literal["full", "triangular", "diagonal"]


class Differentiable(Transform):
    r"""z = f(x, c) for a network f that is a differentiable bijection of vectors, with its Jacobian J by autodiff.

    .. math:: \log |\det \partial z / \partial x| = \log |\det J(x)|, \qquad J_{ij} = \partial f_i / \partial x_j

    You must know that f is one-to-one and that J is nowhere singular. `anabranch.testing.check_transform` looks for a point
    where it is not. J takes D passes back through f, and its determinant O(D^3) operations. A structure makes the
    determinant a product of D numbers: "triangular", where z_i depends on x_i and on the features before it in some order;
    and "diagonal", where z_i depends on x_i alone and the whole of J takes one pass.

    There is an inverse if you give a tolerance. It is Newton's method from x = z, with each step halved until f(x) comes
    nearer to z. The number of steps is fixed: an f that bends strongly, as sinh does far out, needs more steps. Where f(x)
    is not within the tolerance of z at the end, x is NaN.

    Source: Papamakarios et al., 2021, "Normalizing flows for probabilistic modeling and inference", arXiv:1912.02762.

    Args:
        network: f, a `Network` from vectors of D features to vectors of D features, with a context or without; or any module
            that maps (*batch, D) to (*batch, D), each row independently. A module from outside the library cannot be saved.
        features: D, for a module that is no `Network`.
        structure: "full", "triangular" or "diagonal".
        tolerance: the largest |f(x) - z| of the inverse, relative to 1 + |z|; None for no inverse.
        steps: number of steps of Newton's method. All are taken, since nothing branches on a value. `torch.compile` unrolls
            them.
        context: size of the context, or its shape, for a module that is no `Network` and takes (x, context).

    Raises:
        ValueError: a network whose outputs are not as many as its features, or no number of features.

    Example:
        >>> import torch
        >>> from anabranch.transforms import Differentiable
        >>> class Cubic(torch.nn.Module):
        ...     def forward(self, x):
        ...         return x + x**3 / 3 + 0.5 * x.roll(1, dims=-1)
        >>> f = Differentiable(Cubic(), features=2, tolerance=1e-6)
        >>> z, log_det = f(torch.tensor([1.0, 2.0]))
        >>> log_det, f.inverse(z)[0]
        (tensor(2.2773), tensor([1., 2.]))
    """

    def __init__(
        self,
        network: nn.Module,
        features: int | None = None,
        structure: Structure = "full",
        tolerance: float | None = None,
        steps: int = 20,
        context: Shape | None = 0,
    ) -> None:
        size, context_shape = _shapes(network, features, context)
        super().__init__((size,), context_shape)
        self.network, self.features = network, size
        self.structure = one_of("structure", structure, ("full", "triangular", "diagonal"))
        self.tolerance = None if tolerance is None else positive("tolerance", tolerance)
        self.steps = positive_int("steps", steps)
        self.inversion: Inversion = "none" if tolerance is None else "iterative"

    def _forward(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        x = self._at_every_context(x, context)
        z, derivative = self._value_and_jacobian(x, context)
        return z, self._log_det(derivative)

    def _inverse(self, z: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        if self.tolerance is None:
            raise NotImplementedError(
                "Differentiable: the inverse of f is not known; give a tolerance for Newton's method"
            )
        z = self._at_every_context(z, context)
        with torch.no_grad():
            x = z
            f, derivative = self._value_and_jacobian(x, context)
            for _ in range(self.steps):
                x = x + self._best_share(x, self._solved(derivative, z - f), z, context)
                f, derivative = self._value_and_jacobian(x, context)
            off = (f - z).abs().amax(dim=-1) / (1 + z.abs().amax(dim=-1))
            x = torch.where((off <= self.tolerance).unsqueeze(-1), x, torch.nan)
        # one step more, with the derivatives by z, context and parameters
        x = x + self._solved(derivative, z - self._function(context)(x))
        _, derivative = self._value_and_jacobian(x, context)
        return x, -self._log_det(derivative)

    def _best_share(self, x: Tensor, step: Tensor, z: Tensor, context: Tensor | None) -> Tensor:
        """The step, or the half, quarter, ... of it that brings f nearest to z."""
        shares = step * x.new_tensor(_SHARES).reshape(-1, *[1] * step.dim())
        off = (self._function(context)(x + shares) - z).square().sum(dim=-1)
        # a share that leads to infinity or NaN is the worst
        best = off.nan_to_num(nan=torch.inf).argmin(dim=0, keepdim=True)
        return shares.take_along_dim(best.unsqueeze(-1), dim=0).squeeze(0)

    def _solved(self, derivative: Tensor, right: Tensor) -> Tensor:
        """J^-1 times vectors, infinite or NaN where J is singular."""
        if self.structure == "diagonal":
            return right / derivative
        solution: Tensor = torch.linalg.solve_ex(derivative, right.unsqueeze(-1))[0]
        return solution.squeeze(-1)

    def _log_det(self, derivative: Tensor) -> Tensor:
        if self.structure == "full":
            return torch.linalg.slogdet(derivative).logabsdet
        diagonal = derivative if self.structure == "diagonal" else derivative.diagonal(dim1=-2, dim2=-1)
        return diagonal.abs().log().sum(dim=-1)

    def _function(self, context: Tensor | None) -> Rows:
        if self.context_shape is None:
            return self.network
        return lambda x: self.network(x, context)

    def _value_and_jacobian(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        """f(x), and J, (*batch, D, D); its diagonal (*batch, D) alone where there is no more."""
        function = self._function(context)
        if self.structure != "diagonal":
            return jacobian(function, x)
        z, pull = pulled_back(function, x)
        return z, pull(torch.ones_like(z))


def _shapes(network: nn.Module, features: int | None, context: Shape | None) -> tuple[int, torch.Size | None]:
    """D, and the shape of the context."""
    if not isinstance(network, nn.Module):
        raise ValueError(f"network: expected a Network or another module, got {type(network).__name__}")
    if not isinstance(network, Network):
        if features is None:
            raise ValueError(
                f"features: expected their number, which a {type(network).__name__} does not tell, got None"
            )
        return positive_int("features", features), as_context_shape("context", context)
    if network.in_shape != network.out_shape or len(network.in_shape) != 1 or features not in (None, network.features):
        wanted = "as many features as outputs, in vectors" if features is None else f"{features} features and outputs"
        raise ValueError(f"network: expected {wanted}, got {tuple(network.in_shape)} and {tuple(network.out_shape)}")
    if context not in (0, None):
        raise ValueError(f"context: expected none, since a Network tells its own, got {context}")
    return network.features, network.context_shape


_SHARES = tuple(2.0**-k for k in range(8))
