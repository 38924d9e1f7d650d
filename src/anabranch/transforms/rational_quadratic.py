"""Rational-quadratic spline."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from anabranch.checks import positive, positive_int
from anabranch.transforms.univariate import UnivariateMap


class RationalQuadraticSpline(UnivariateMap):
    r"""Monotone rational-quadratic spline with linear tails.

    The interval [-bound, bound] is cut into `bins` bins in x and in z. In the bin from (x_k, z_k) to (x_{k+1}, z_{k+1}),
    with width w, height h, chord s = h / w, knot slopes d_k and xi = (x - x_k) / w,

    .. math:: z = z_k + \frac{h\,(s \xi^2 + d_k \xi (1 - \xi))}{D}, \qquad
              \frac{dz}{dx} = \frac{s^2 (d_{k+1} \xi^2 + 2 s \xi (1 - \xi) + d_k (1 - \xi)^2)}{D^2}, \qquad
              D = s + (d_{k+1} + d_k - 2 s)\, \xi (1 - \xi).

    Source: Durkan et al., 2019, "Neural spline flows", arXiv:1906.04032, equations 4 to 8 and 29. Two things are ours, and
    both keep float32 round trips exact to 1e-4 whatever the parameters:

    - The slope at a knot is the harmonic mean of the two chords that meet there, times a factor within
      [1 / max_ratio, max_ratio]. A slope can so be at most 2 max_ratio times its bin's chord. Were it free, a bin with a
      small chord between two steep knots would have derivatives around 2 s^2 / d in its middle, a millionth and less, and
      x could not be recovered from a rounded z.
    - The tail continues the outermost bin's own slope, which is the lesser of that bin's chord and 1, instead of forcing
      slope 1 on it. With parameters 0 all slopes are 1 and the map is the identity.

    Args:
        bins: number of bins K; a number takes 3 K - 1 parameters.
        bound: half the width of the interval; outside it the map is linear.
        min_width: smallest width of a bin, as a fraction of the interval.
        min_height: smallest height of a bin, as a fraction of the interval.
        max_ratio: largest factor between a knot's slope and the harmonic mean of its chords.

    Example:
        >>> import torch
        >>> from anabranch.transforms import RationalQuadraticSpline
        >>> spline = RationalQuadraticSpline(bins=8)
        >>> x, parameters = torch.randn(5), torch.randn(5, spline.size)
        >>> z, log_derivative = spline(x, parameters)
        >>> torch.allclose(spline.inverse(z, parameters)[0], x, atol=1e-4)
        True
    """

    def __init__(
        self,
        bins: int = 8,
        bound: float = 5.0,
        min_width: float = 0.015,
        min_height: float = 0.015,
        max_ratio: float = 4.0,
    ) -> None:
        self.bins = positive_int("bins", bins, least=2)
        super().__init__(size=3 * self.bins - 1)
        self.bound = positive("bound", bound)
        self.min_width = positive("min_width", min_width)
        self.min_height = positive("min_height", min_height)
        if max(self.min_width, self.min_height) * self.bins >= 1:
            raise ValueError(
                f"min_width, min_height: expected less than 1 / bins = {1 / self.bins:g}, "
                f"got {self.min_width:g}, {self.min_height:g}"
            )
        if positive("max_ratio", max_ratio) <= 1:
            raise ValueError(f"max_ratio: expected a number above 1, got {max_ratio}")
        self.max_log_ratio = math.log(max_ratio)

    def forward(self, x: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        inside = x.clamp(-self.bound, self.bound)
        x_0, w, z_0, h, d_0, d_1 = self._bin(inside, parameters, search_heights=False)
        s = h / w
        xi = (inside - x_0) / w
        rest = xi * (1 - xi)
        denominator = s + (d_0 + d_1 - 2 * s) * rest
        z = z_0 + h * (s * xi.square() + d_0 * rest) / denominator
        derivative = self._derivative(xi, s, d_0, d_1, denominator)
        # Beyond the bounds `inside` stands still at the outermost knot, where the derivative is the tail's slope; within
        # them the second term is zero. So the tails need no branch.
        return z + derivative * (x - inside), derivative.log()

    def inverse(self, z: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        inside = z.clamp(-self.bound, self.bound)
        x_0, w, z_0, h, d_0, d_1 = self._bin(inside, parameters, search_heights=True)
        s = h / w
        # In units of the bin, z = z_0 + h zeta is a xi^2 + b xi - zeta s = 0. Its root in [0, 1] is taken in the form
        # that does not subtract nearly equal numbers when a is small; b >= s - d_1 (at zeta = 1) can be negative, but
        # d_1 is at most 2 max_ratio s, so at most that factor is lost there.
        zeta = (inside - z_0) / h
        t = zeta * (d_0 + d_1 - 2 * s)
        a, b = s - d_0 + t, d_0 - t
        # In exact arithmetic the discriminant is positive: the spline rises from 0 to 1 across the bin.
        root = (b.square() + 4 * a * zeta * s).clamp(min=0).sqrt()
        xi = (2 * zeta * s / (b + root)).clamp(0, 1)
        # Beyond the bounds the slope must be the tail's to the last digit, since it multiplies all that lies outside.
        xi = torch.where(z > self.bound, 1.0, torch.where(z < -self.bound, 0.0, xi))
        denominator = s + (d_0 + d_1 - 2 * s) * xi * (1 - xi)
        derivative = self._derivative(xi, s, d_0, d_1, denominator)
        return x_0 + xi * w + (z - inside) / derivative, -derivative.log()

    @staticmethod
    def _derivative(xi: Tensor, s: Tensor, d_0: Tensor, d_1: Tensor, denominator: Tensor) -> Tensor:
        numerator = d_1 * xi.square() + 2 * s * xi * (1 - xi) + d_0 * (1 - xi).square()
        return numerator * (s / denominator).square()

    def _bin(self, value: Tensor, parameters: Tensor, search_heights: bool) -> tuple[Tensor, ...]:
        """Left end, width, lower end, height and the two slopes of the bin that holds `value`, in x or in z."""
        k = self.bins
        raw_widths, raw_heights, raw_ratios = parameters.split((k, k, k - 1), dim=-1)
        x_knots = self._knots(raw_widths, self.min_width)
        z_knots = self._knots(raw_heights, self.min_height)
        widths, heights = x_knots.diff(dim=-1), z_knots.diff(dim=-1)
        slopes = self._slopes(heights / widths, raw_ratios)
        searched = z_knots if search_heights else x_knots
        # Counting the inner knots at or below the value always lands in 0 ... K - 1, also for NaN and infinity.
        index = (value.unsqueeze(-1) >= searched[..., 1:-1]).sum(dim=-1, keepdim=True)

        def pick(table: Tensor, at: Tensor) -> Tensor:
            return table.expand(*at.shape[:-1], table.shape[-1]).gather(-1, at).squeeze(-1)

        return (
            pick(x_knots, index),
            pick(widths, index),
            pick(z_knots, index),
            pick(heights, index),
            pick(slopes, index),
            pick(slopes, index + 1),
        )

    def _knots(self, raw: Tensor, least: float) -> Tensor:
        fractions = least + (1 - least * self.bins) * torch.softmax(raw, dim=-1)
        inner = self.bound * (2 * fractions[..., :-1].cumsum(dim=-1) - 1)
        # The outermost knots are the bounds themselves, not a sum that comes close to them.
        return functional.pad(functional.pad(inner, (1, 0), value=-self.bound), (0, 1), value=self.bound)

    def _slopes(self, chords: Tensor, raw_ratios: Tensor) -> Tensor:
        left, right = chords[..., :-1], chords[..., 1:]
        ratios = torch.exp(self.max_log_ratio * torch.tanh(raw_ratios / self.max_log_ratio))
        inner = 2 * left * right / (left + right) * ratios
        return torch.cat([chords[..., :1].clamp(max=1), inner, chords[..., -1:].clamp(max=1)], dim=-1)
