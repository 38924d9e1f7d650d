"""Rational-quadratic spline around a circle."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.distributions.constraints import Constraint

from anabranch.checks import positive, positive_int
from anabranch.kernels.spline_curve import curve_at, place_of
from anabranch.transforms.domain import Circle
from anabranch.transforms.univariate import UnivariateMap


class CircularSpline(UnivariateMap):
    r"""A map of the circle to itself: a shift, then a monotone rational-quadratic spline with equal slopes at both ends.

    .. math:: z = g\big((x + \varphi) \bmod P\big), \qquad 0 \le x, z \le P, \qquad g(0) = 0, \; g(P) = P, \; g'(0) = g'(P)

    with the bins of `RationalQuadraticSpline`. Over a `densities.Uniform` on the circle the density dz/dx / P of x is
    continuous all the way around. The shift phi makes no point of the circle special. If the parameters come from a network
    of other angles, `networks.OfAngles` keeps the density continuous around those too. With parameters 0 the map is the
    identity.

    Source: Rezende et al., 2020, "Normalizing flows on tori and spheres", arXiv:2002.02428, section 2.1.2 (circular splines)
    and 2.1 (phase translation). The limits of widths, heights and slopes are those of `RationalQuadraticSpline`.

    Args:
        bins: number of bins K; a number takes 3 K + 1 parameters: K widths, K heights, K slopes, and the shift.
        period: P, by default 2 pi.
        least: smallest width and height of a bin, as a share of the period; 0.015, or 0.5 / bins with more than 33 bins.
        max_ratio: largest factor between a knot's slope and the harmonic mean of its chords.

    Example:
        >>> import torch
        >>> from anabranch.transforms import CircularSpline
        >>> g = CircularSpline(bins=8)
        >>> parameters = torch.randn(g.size)
        >>> _, log_slope = g(torch.tensor([0.0, 2 * torch.pi]), parameters)
        >>> torch.allclose(log_slope[0], log_slope[1], atol=1e-4)
        True
    """

    def __init__(
        self, bins: int = 8, period: float = 2 * math.pi, least: float | None = None, max_ratio: float = 4.0
    ) -> None:
        self.bins = positive_int("bins", bins, least=2)
        super().__init__(size=3 * bins + 1)
        self.period = positive("period", period)
        self.least = min(0.015, 0.5 / bins) if least is None else positive("least", least)
        if self.least * bins >= 1:
            raise ValueError(f"least: expected less than 1 / bins = {1 / bins:g}, got {self.least:g}")
        if positive("max_ratio", max_ratio) <= 1:
            raise ValueError(f"max_ratio: expected a number above 1, got {max_ratio}")
        self._limit = math.log(max_ratio)

    @property
    def domain(self) -> Constraint:
        return Circle(self.period)

    @property
    def codomain(self) -> Constraint:
        return Circle(self.period)

    def forward(self, x: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        turned = torch.remainder(x + parameters[..., -1], self.period)
        x_0, width, z_0, height, s, d_0, d_1 = self._bin_of(turned, parameters, by_height=False)
        rise, denominator, slope = curve_at((turned - x_0) / width, s, d_0, d_1)
        # what rounding takes a digit beyond the end would be off the circle
        return (z_0 + height * rise / denominator).clamp(max=self.period), slope.log()

    def inverse(self, z: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        x_0, width, z_0, height, s, d_0, d_1 = self._bin_of(z, parameters, by_height=True)
        xi = place_of((z - z_0) / height, s, d_0, d_1)
        _, _, slope = curve_at(xi, s, d_0, d_1)
        x = torch.remainder(x_0 + width * xi - parameters[..., -1], self.period)
        return torch.where((z >= 0) & (z <= self.period), x, torch.nan), -slope.log()

    def _bin_of(self, value: Tensor, parameters: Tensor, by_height: bool) -> list[Tensor]:
        """Of the bin of each value: its start and size on both axes, its chord, and the slopes at its ends."""
        k = self.bins
        raw = parameters[..., : 2 * k].unflatten(-1, (2, k))
        sizes = self.period * ((1 - k * self.least) * torch.softmax(raw, dim=-1) + self.least)
        starts = sizes.cumsum(dim=-1) - sizes
        width, height = sizes.unbind(-2)
        chord = height / width
        before = chord.roll(1, dims=-1)
        ratio = self._limit * torch.tanh(parameters[..., 2 * k : 3 * k] / self._limit)
        slope = 2 * before * chord / (before + chord) * ratio.exp()
        x_0, z_0 = starts.unbind(-2)
        table = torch.stack([x_0, width, z_0, height, chord, slope, slope.roll(-1, dims=-1)], dim=-2)
        # of K starts the first is 0: a count of the others that lies in 0 ... K - 1, also for a NaN
        knots = (z_0 if by_height else x_0)[..., 1:]
        index = (value.unsqueeze(-1) >= knots).sum(dim=-1)
        table = table.expand(*index.shape, *table.shape[-2:])
        found = table.gather(-1, index[..., None, None].expand(*index.shape, table.shape[-2], 1))
        return list(found.squeeze(-1).unbind(-1))
