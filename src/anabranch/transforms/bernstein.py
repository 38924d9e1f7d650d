"""Rising polynomials in Bernstein's form."""

from __future__ import annotations

import torch
from torch import Tensor

from anabranch.checks import positive, positive_int
from anabranch.transforms.root import root_between, with_derivatives
from anabranch.transforms.transform import Inversion
from anabranch.transforms.univariate import UnivariateMap

# the share of the interval that no coefficient takes from its neighbours; the least slope of the polynomial
_LEAST = 0.05


class BernsteinPolynomial(UnivariateMap):
    r"""A rising polynomial of degree n that takes [-B, B] to itself, with linear tails of the slopes it has at the ends.

    .. math:: z = \sum_{k=0}^n \alpha_k \binom{n}{k} t^k (1 - t)^{n - k}, \quad t = \frac{x + B}{2 B}, \qquad
              \frac{dz}{dx} = \sum_{k=0}^{n-1} n \frac{\alpha_{k+1} - \alpha_k}{2 B} \binom{n-1}{k} t^k (1 - t)^{n-1-k},

    .. math:: \alpha_0 = -B, \quad \alpha_n = B, \quad
              \alpha_{k+1} - \alpha_k = 2 B \, \big( (1 - \epsilon) \operatorname{softmax}(\theta)_k + \epsilon / n \big).

    The slope is a mean of the numbers n (alpha_{k+1} - alpha_k) / (2 B), each at least epsilon = 0.05, so that the map
    rises. For all parameters, and degrees up to 16, x comes back in float32 to within 5e-5 of the greater of |x| and B. The
    map is smooth, where splines have knots. It has less detail: a coefficient reaches over about 1 / sqrt(n) of the
    interval. With parameters 0 it is the identity. The inverse has no formula; `root_between` finds it.

    Source: Ramasinghe et al., 2021, "Robust normalizing flows using Bernstein-type polynomials", arXiv:2102.03509, sections
    3 and 4. The linear tails and the fixed ends are not in the paper; with them the map takes all numbers to all numbers.

    Args:
        degree: n; a number takes n parameters.
        bound: B; outside [-B, B] the map is linear.

    Example:
        >>> import torch
        >>> from anabranch.transforms import BernsteinPolynomial
        >>> g = BernsteinPolynomial(degree=12)
        >>> x, parameters = torch.randn(5), torch.randn(5, g.size)
        >>> z, log_derivative = g(x, parameters)
        >>> torch.allclose(g.inverse(z, parameters)[0], x, atol=1e-4)
        True
    """

    inversion: Inversion = "iterative"

    def __init__(self, degree: int = 16, bound: float = 5.0) -> None:
        self.degree = positive_int("degree", degree, least=2)
        super().__init__(size=degree)
        self.bound = positive("bound", bound)

    def forward(self, x: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        inside = x.clamp(-self.bound, self.bound)
        z, slope = self._at(inside, self._coefficients(parameters))
        # outside, `inside` stands still at the end, where the slope is the tail's; inside, what lies beyond is 0
        return z + (x - inside) * slope, slope.log()

    def inverse(self, z: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        coefficients = self._coefficients(parameters)
        inside = z.clamp(-self.bound, self.bound)
        end = z.new_tensor(self.bound)

        def function(x: Tensor) -> tuple[Tensor, Tensor]:
            y, slope = self._at(x, coefficients)
            return y - inside, slope

        x = with_derivatives(root_between(function, -end, end, size=inside.abs()), function)
        # beyond the ends the slope must be the tail's to the last digit, since it multiplies all that lies outside
        x = torch.where(z > self.bound, end, torch.where(z < -self.bound, -end, x))
        _, slope = self._at(x, coefficients)
        return x + (z - inside) / slope, -slope.log()

    def _coefficients(self, parameters: Tensor) -> Tensor:
        """alpha, (..., n + 1)."""
        shares = (1 - _LEAST) * torch.softmax(parameters, dim=-1) + _LEAST / self.degree
        end = torch.full_like(shares[..., :1], self.bound)
        inner = 2 * self.bound * shares[..., :-1].cumsum(dim=-1) - self.bound
        return torch.cat([-end, inner, end], dim=-1)

    def _at(self, x: Tensor, coefficients: Tensor) -> tuple[Tensor, Tensor]:
        """z and dz/dx within the ends, by de Casteljau's means of neighbours: they round no more than the coefficients."""
        t = ((x + self.bound) / (2 * self.bound)).unsqueeze(-1)
        for _ in range(self.degree - 1):
            coefficients = torch.lerp(coefficients[..., :-1], coefficients[..., 1:], t)
        low, high = coefficients.unbind(-1)
        return torch.lerp(low, high, t.squeeze(-1)), (high - low) * (self.degree / (2 * self.bound))
