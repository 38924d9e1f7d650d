"""The rational-quadratic curve inside a bin: its value, its inverse, its derivatives, as functions of raw parameters."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from anabranch.kernels.spline_bins import Bin, BinGradient, BinSearch, Spacing


class Curve(NamedTuple):
    """What fixes a spline, its raw parameters apart; with unit ends the slope there is 1, and the tails are the identity."""

    spacing: Spacing
    max_log_ratio: float
    unit_ends: bool = False


class _Slopes(NamedTuple):
    """A bin's width, height and chord s, its neighbours' chords, the squashed ratios t, and the slopes d at its ends."""

    width: Tensor
    height: Tensor
    s: Tensor
    s_before: Tensor
    s_after: Tensor
    t_0: Tensor
    t_1: Tensor
    d_0: Tensor
    d_1: Tensor


def evaluate(
    value: Tensor, parameters: Tensor, curve: Curve, inverse: bool, search: BinSearch
) -> tuple[Tensor, Tensor]:
    """z and log dz/dx at x, or x and log dx/dz at z."""
    bound = curve.spacing.bound
    inside = value.clamp(-bound, bound)
    bin_, _ = search.find(inside, parameters, curve.spacing, by_height=inverse)
    slopes = _slopes(bin_, curve)
    if inverse:
        xi = place_of((inside - bin_.z[1]) / slopes.height, slopes.s, slopes.d_0, slopes.d_1)
        # Beyond the bounds the slope must be the tail's to the last digit, since it multiplies all that lies outside.
        xi = torch.where(value > bound, 1.0, torch.where(value < -bound, 0.0, xi))
    else:
        xi = (inside - bin_.x[1]) / slopes.width
    rise, denominator, derivative = curve_at(xi, slopes.s, slopes.d_0, slopes.d_1)
    # Beyond the bounds `inside` stands still at the outermost knot, where the derivative is the tail's slope; within them
    # what lies outside is zero. So the tails need no branch.
    outside = value - inside
    if inverse:
        return bin_.x[1] + xi * slopes.width + outside / derivative, -derivative.log()
    return bin_.z[1] + slopes.height * rise / denominator + outside * derivative, derivative.log()


def differentiate(
    x: Tensor, parameters: Tensor, to_value: Tensor, to_log: Tensor, curve: Curve, inverse: bool, search: BinSearch
) -> tuple[Tensor, Tensor]:
    r"""The gradients of input and raw parameters, from those of the two results of `evaluate`.

    Both directions share it. With g = dz/dx and a gradient (u, v) of (z, log g), forward has

    .. math:: dx = u g + v\, \partial_x \log g, \qquad d\theta = u\, \partial_\theta z + v\, \partial_\theta \log g .

    For the inverse, x solves z(x, theta) = z, so that dx/dz = 1/g and dx/dtheta = -(dz/dtheta)/g: with a gradient (u, v) of
    (x, -log g) it is the forward formula of theta at the same x, for the pair (-y, -v), y = (u - v d_x log g) / g, and the
    gradient of z is y.
    """
    bound = curve.spacing.bound
    inside = x.clamp(-bound, bound)
    outside = x - inside
    bin_, found = search.find(inside, parameters, curve.spacing, by_height=False)
    slopes = _slopes(bin_, curve)
    width, height, s, s_before, s_after, t_0, t_1, d_0, d_1 = slopes
    per_width = 1 / width
    xi = (inside - bin_.x[1]) * per_width
    rest = 1 - xi
    q = xi * rest
    rise, denominator, g = curve_at(xi, s, d_0, d_1)
    per_denominator = 1 / denominator
    per_numerator = 1 / (d_1 * xi.square() + 2 * s * q + d_0 * rest.square())
    bend = d_0 + d_1 - 2 * s

    log_xi = 2 * ((d_1 * xi + s * (rest - xi) - d_0 * rest) * per_numerator - bend * (rest - xi) * per_denominator)
    log_x = torch.where(outside == 0, log_xi * per_width, 0.0)
    if inverse:
        to_input = (to_value - to_log * log_x) / g
        u, v = -to_input, -to_log
    else:
        to_input = to_value * g + to_log * log_x
        u, v = to_value, to_log
    # the tail, z + g outside, makes z depend on log g
    v = v + u * g * outside

    # Of z = z_k + height rise / denominator and log g, by xi, s, d_0 and d_1 ...
    part = rise * per_denominator
    scaled = u * height * per_denominator
    by_xi = u * g * width + v * log_xi
    by_s = scaled * (xi.square() - part * (1 - 2 * q))
    by_s = by_s + 2 * v * (q * per_numerator + 1 / s - (1 - 2 * q) * per_denominator)
    by_d_0 = scaled * q * (1 - part) + v * (rest.square() * per_numerator - 2 * q * per_denominator)
    by_d_1 = -scaled * q * part + v * (xi.square() * per_numerator - 2 * q * per_denominator)

    # ... through the slopes (harmonic means within, at the ends the chord, at most 1, or 1) ...
    by_end = torch.where(bin_.first, by_d_0, 0.0) + torch.where(bin_.last, by_d_1, 0.0)
    if not curve.unit_ends:
        by_s = by_s + torch.where(s <= 1, by_end, 0.0)
    by_d_0, by_d_1 = torch.where(bin_.first, 0.0, by_d_0 * d_0), torch.where(bin_.last, 0.0, by_d_1 * d_1)
    by_mean_0, by_mean_1 = by_d_0 / (s_before + s), by_d_1 / (s_after + s)
    by_s = by_s + (by_mean_0 * s_before + by_mean_1 * s_after) / s
    by_before, by_after = by_mean_0 * s / s_before, by_mean_1 * s / s_after

    # ... through the chords, height / width.
    x_0, x_1, x_2, x_3 = bin_.x
    height_before, height_after = by_before / (x_1 - x_0), by_after / (x_3 - x_2)
    by_height = by_s * per_width
    gradient = BinGradient(
        left=(-by_xi * per_width, u),
        widths=(-height_before * s_before, -(by_height * s + by_xi * xi * per_width), -height_after * s_after),
        heights=(height_before, by_height + u * part, height_after),
        ratios=(by_d_0 * (1 - t_0.square()), by_d_1 * (1 - t_1.square())),
    )
    return to_input, search.gradient(found, gradient, curve.spacing)


def curve_at(xi: Tensor, s: Tensor, d_0: Tensor, d_1: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """At xi in a bin of chord s and end slopes d: numerator of the rise (over the height), denominator, derivative."""
    rest = 1 - xi
    q = xi * rest
    denominator = s + (d_0 + d_1 - 2 * s) * q
    numerator = d_1 * xi.square() + 2 * s * q + d_0 * rest.square()
    return s * xi.square() + d_0 * q, denominator, numerator * (s / denominator).square()


def place_of(zeta: Tensor, s: Tensor, d_0: Tensor, d_1: Tensor) -> Tensor:
    """The xi at which such a bin has risen by zeta, a share of its height."""
    # In units of the bin, z = z_k + height zeta is a xi^2 + b xi - zeta s = 0. Its root in [0, 1] is taken in the form
    # that does not subtract nearly equal numbers when a is small; b >= s - d_1 (at zeta = 1) can be negative, but d_1 is
    # at most 2 max_ratio s, so at most that factor is lost there.
    t = zeta * (d_0 + d_1 - 2 * s)
    a, b = s - d_0 + t, d_0 - t
    # In exact arithmetic the discriminant is positive: the spline rises from 0 to 1 across the bin.
    root = (b.square() + 4 * a * zeta * s).clamp(min=0).sqrt()
    return (2 * zeta * s / (b + root)).clamp(0, 1)


def _slopes(bin_: Bin, curve: Curve) -> _Slopes:
    (x_0, x_1, x_2, x_3), (z_0, z_1, z_2, z_3) = bin_.x, bin_.z
    width, height = x_2 - x_1, z_2 - z_1
    s, s_before, s_after = height / width, (z_1 - z_0) / (x_1 - x_0), (z_3 - z_2) / (x_3 - x_2)
    limit = curve.max_log_ratio
    # tanh(r / limit): PyTorch's sigmoid is several times faster than its tanh
    t_0, t_1 = (2 * torch.sigmoid(raw * (2 / limit)) - 1 for raw in bin_.ratios)
    end = torch.ones_like(s) if curve.unit_ends else s.clamp(max=1)
    d_0 = torch.where(bin_.first, end, 2 * s_before * s / (s_before + s) * torch.exp(limit * t_0))
    d_1 = torch.where(bin_.last, end, 2 * s_after * s / (s_after + s) * torch.exp(limit * t_1))
    return _Slopes(width, height, s, s_before, s_after, t_0, t_1, d_0, d_1)
