"""Quadratic spline of evenly spaced knots."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from anabranch.checks import positive, positive_int
from anabranch.transforms.univariate import UnivariateMap


class QuadraticSpline(UnivariateMap):
    r"""Monotone quadratic spline with linear tails, whose derivative is linear between evenly spaced knots.

    The knots x_0, ..., x_K cut [-bound, bound] into K bins of width w. With slopes d_k at the knots and xi = (x - x_k) / w,

    .. math:: \frac{dz}{dx} = d_k + (d_{k+1} - d_k)\, \xi, \qquad
              z = z_k + w \left(d_k \xi + \tfrac12 (d_{k+1} - d_k)\, \xi^2\right), \qquad
              z_{k+1} = z_k + \tfrac{w}{2} (d_k + d_{k+1}), \qquad z_0 = -z_K .

    Since the knots stay where they are, a division finds the bin of an x, and three numbers of a table say the rest. With
    constants as parameters (`Elementwise`) it takes a small part of the time of a `RationalQuadraticSpline`, whose knots
    move on both axes, and is less flexible. Each slope is within [1 / max_slope, max_slope], so that x comes back from z in
    float32: |z| within the knots is at most bound max_slope, a float32 rounds it to 6e-8 of that, and the way back stretches
    by max_slope at most, which makes 2e-5 by default. Parameters of 0 give the identity.

    Source: Müller et al., 2019, "Neural importance sampling", arXiv:1808.03856, section 4.2, whose knots move and whose z
    stays within an interval.

    Args:
        bins: number of bins K; a number takes K + 1 parameters.
        bound: half the width of the interval; outside it the map continues with the slope of its end.
        max_slope: largest slope, and one over the least.

    Example:
        >>> import torch
        >>> from anabranch.transforms import QuadraticSpline
        >>> g = QuadraticSpline(bins=8)
        >>> x, parameters = torch.randn(5), torch.randn(g.size)
        >>> z, log_derivative = g(x, parameters)
        >>> torch.allclose(g.inverse(z, parameters)[0], x, atol=1e-4)
        True
    """

    def __init__(self, bins: int = 16, bound: float = 4.0, max_slope: float = 8.0) -> None:
        bins = positive_int("bins", bins)
        super().__init__(size=bins + 1)
        self.bins = bins
        self.bound = positive("bound", bound)
        if positive("max_slope", max_slope) <= 1:
            raise ValueError(f"max_slope: expected a number above 1, got {max_slope}")
        self.max_slope = max_slope
        self._width = 2 * self.bound / bins

    def forward(self, x: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        slopes, knots = self._tables(parameters)
        inside = x.clamp(-self.bound, self.bound)
        place = (inside + self.bound) / self._width
        # whole numbers are clamped, not place: what a NaN becomes as one is a bin too
        index = place.detach().long().clamp(0, self.bins - 1)
        xi = place - index
        slope, rise, z = _bins(slopes, knots, index)
        more = rise * xi
        derivative = slope + more
        # Outside, `inside` stands still at the end, where the derivative is the tail's; inside, what lies beyond is 0.
        z = z + self._width * xi * (slope + 0.5 * more) + (x - inside) * derivative
        return z, derivative.log()

    def inverse(self, z: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        slopes, knots = self._tables(parameters)
        inside = torch.minimum(torch.maximum(z, knots[..., 0]), knots[..., -1])
        index = (inside.unsqueeze(-1) >= knots[..., 1:-1]).sum(dim=-1)
        slope, rise, start = _bins(slopes, knots, index)
        # y = slope xi + rise xi^2 / 2 has its root in [0, 1] in a form of positive terms alone; the derivative there is the
        # root of slope^2 + 2 rise y, which is no less than the square of the bin's lesser slope but for rounding
        y = (inside - start) / self._width
        least = 1 / self.max_slope**2
        derivative = (slope.square() + 2 * rise * y).clamp(min=least).sqrt()
        xi = 2 * y / (slope + derivative)
        # beyond the ends the slope must be the tail's to the last digit, since it multiplies all that lies outside
        derivative = torch.where(z > inside, slopes[..., -1], torch.where(z < inside, slopes[..., 0], derivative))
        x = self._width * (index + xi) - self.bound + (z - inside) / derivative
        return x, -derivative.log()

    def _tables(self, parameters: Tensor) -> tuple[Tensor, Tensor]:
        """Slopes and z at the knots, (..., K + 1) each."""
        limit = math.log(self.max_slope)
        slopes = torch.exp(limit * torch.tanh(parameters / limit))
        rises = 0.5 * self._width * (slopes[..., :-1] + slopes[..., 1:])
        ends = rises.sum(dim=-1, keepdim=True) / 2
        return slopes, torch.cat([-ends, rises.cumsum(dim=-1) - ends], dim=-1)


def _bins(slopes: Tensor, knots: Tensor, index: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Of the bin of each value: the slope at its start, its rise to the end's, and z at its start.

    Tables are not repeated for values that share them: all are one list, in which a value's place is that of its table and
    its bin.
    """
    bins = slopes.shape[-1] - 1
    shape = slopes.shape[:-1]
    tables = torch.arange(0, shape.numel() * bins, bins, device=index.device).reshape(shape)
    index = index + tables
    starts = torch.stack([slopes[..., :-1], slopes[..., 1:] - slopes[..., :-1], knots[..., :-1]])
    found = starts.reshape(3, -1).index_select(1, index.flatten())
    slope, rise, z = found.reshape(3, *index.shape).unbind()
    return slope, rise, z
