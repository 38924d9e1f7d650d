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

    There is an inverse if you give a tolerance. It is Newton's method, which starts from whichever of z, asinh z, sinh z and
    0 brings f nearest to z. It tries several shares of each step: from 8 times the step to a 128th of it, shares as long as
    x is large, and none. It takes the share that brings f nearest to z; with a diagonal J it takes one for each feature. The
    number of steps is fixed. Where f(x) is not within the tolerance of z, before or after the last step, x is NaN.

    Source: Papamakarios et al., 2021, "Normalizing flows for probabilistic modeling and inference", arXiv:1912.02762.

    Args:
        network: f, a `Network` from vectors of D features to vectors of D features, with a context or without; or any module
            that maps (*batch, D) to (*batch, D), each row independently. A module from outside the library cannot be saved.
        features: D, for a module that is no `Network`.
        structure: "full", "triangular" or "diagonal".
        tolerance: the largest |f_i(x) - z_i| of the inverse, relative to 1 + |z_i|, apart from the rounding of the largest
            z; None for no inverse.
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
        >>> log_det, f.inverse(z)[0].round(decimals=4)
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
            function = self._function(context)
            x = self._nearest(torch.stack([z, z.asinh(), z.sinh(), torch.zeros_like(z)]), z, function)
            f, derivative = self._value_and_jacobian(x, context)
            for _ in range(self.steps):
                # where J is singular there is no step
                step = self._solved(derivative, z - f).nan_to_num(nan=0.0, posinf=0.0, neginf=0.0)
                x = self._nearest(x + self._shares(x, step) * step, z, function)
                f, derivative = self._value_and_jacobian(x, context)
            x = torch.where(self._reached(f, z), x, torch.nan)
        # one step more, with the derivatives by z, context and parameters
        x = x + self._solved(derivative, z - function(x))
        f, derivative = self._value_and_jacobian(x, context)
        # where J is nearly singular that step may lead anywhere
        reached = self._reached(f, z)
        x, log_det = torch.where(reached, x, torch.nan), self._log_det(derivative)
        return x, torch.where(reached.squeeze(-1), -log_det, torch.nan)

    def _shares(self, x: Tensor, step: Tensor) -> Tensor:
        """Which shares of the steps are tried, (shares, *batch, 1), or with a diagonal J (shares, *batch, D)."""
        size, reach = step.abs(), 1 + x.abs()
        if self.structure != "diagonal":
            size, reach = size.amax(dim=-1, keepdim=True), reach.amax(dim=-1, keepdim=True)
        fixed, lengths = (x.new_tensor(some).reshape(-1, *[1] * x.dim()) for some in (_SHARES, _LENGTHS))
        limited = lengths * (reach / size.clamp(min=torch.finfo(x.dtype).tiny))
        # none comes last: where rounding hides that f came nearer, a step is taken
        return torch.cat([fixed.expand(-1, *size.shape), limited.clamp(max=1.0), torch.zeros_like(limited[:1])])

    def _nearest(self, points: Tensor, z: Tensor, function: Rows) -> Tensor:
        """Of points of each row (points, *batch, D) the one whose f is nearest to z; with a diagonal J number by number."""
        off = (function(points) - z).abs()
        if self.structure != "diagonal":
            # any norm falls along Newton's step, and this one does not overflow
            off = off.amax(dim=-1, keepdim=True)
        # a point that leads to infinity or NaN is the worst
        best = off.nan_to_num(nan=torch.inf).argmin(dim=0, keepdim=True)
        return points.take_along_dim(best, dim=0).squeeze(0)

    def _reached(self, f: Tensor, z: Tensor) -> Tensor:
        """Whether f(x) is z, up to the tolerance and the rounding of what f adds up: (*batch, 1)."""
        size = z.abs()
        rounding = _ROUNDINGS * torch.finfo(z.dtype).eps * size.amax(dim=-1, keepdim=True)
        limit = (0.0 if self.tolerance is None else self.tolerance) * (1 + size) + rounding
        return ((f - z).abs() <= limit).all(dim=-1, keepdim=True)

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


# of a step of Newton's method: longer ones where f grows like an exponential
_SHARES = (1.0, 8.0, 2.0, 0.5, 0.25, 2.0**-4, 2.0**-7)
# and shares as long as so many times 1 + |x|: where J is small beside what is missing, a step has no length of its own
_LENGTHS = (64.0, 8.0, 2.0, 0.5, 0.1, 0.01)
_ROUNDINGS = 16
