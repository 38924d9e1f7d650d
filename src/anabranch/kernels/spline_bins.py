"""Which bin of a spline holds a value: two ways to the same numbers, and back from the bin to the parameters."""

from __future__ import annotations

import operator
from abc import ABC, abstractmethod
from functools import reduce
from itertools import accumulate, pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor


class Spacing(NamedTuple):
    """How raw parameters become knots: K bins over [-bound, bound], none narrower than the fraction `least` of it."""

    bins: int
    bound: float
    least: float

    @property
    def scale(self) -> float:
        """What a fraction of 1, beyond the least, is worth on the axis."""
        return 2 * self.bound * (1 - self.bins * self.least)


class Bin(NamedTuple):
    """The bin k that holds a value: the knots k - 1 to k + 2 on both axes, the raw ratios of knots k and k + 1.

    Where there is no bin before or after, the knot beyond is that of the bin's other end: all chords stay finite and
    positive, and whoever reads them masks what is not there.
    """

    x: tuple[Tensor, ...]
    z: tuple[Tensor, ...]
    ratios: tuple[Tensor, ...]
    first: Tensor
    last: Tensor


class BinGradient(NamedTuple):
    """The gradient of a bin: of its lower left corner, of the sizes of bins k - 1, k, k + 1, and of its raw ratios."""

    left: tuple[Tensor, Tensor]
    widths: tuple[Tensor, Tensor, Tensor]
    heights: tuple[Tensor, Tensor, Tensor]
    ratios: tuple[Tensor, Tensor]


class BinSearch(ABC):
    """Finds the bin of a value among those that raw parameters describe, and carries its gradient back to them.

    Parameters are (*batch, rows, 3 K - 1): K raw widths, K raw heights, K - 1 raw ratios. They are read and written as
    (*batch, 3 K - 1, rows), which is how the networks lay them out: every number of the table is one run over the rows.
    """

    @abstractmethod
    def find(self, value: Tensor, parameters: Tensor, spacing: Spacing, by_height: bool) -> tuple[Bin, Any]:
        """The bin that holds the value on the z axis (by_height) or the x axis; and what `gradient` needs to know."""

    @abstractmethod
    def gradient(self, found: Any, gradient: BinGradient, spacing: Spacing) -> Tensor:
        """The gradient of the raw parameters, from that of the bin."""


class GatheredSearch(BinSearch):
    """Tables in one tensor, from which bins are gathered: few operations, for running them one by one."""

    def find(self, value: Tensor, parameters: Tensor, spacing: Spacing, by_height: bool) -> tuple[Bin, Any]:
        k, bound = spacing.bins, spacing.bound
        raw, raw_ratios = parameters.mT.split((2 * k, k - 1), dim=-2)
        fractions = torch.softmax(raw.unflatten(-2, (2, k)), dim=-2)
        sizes = fractions * spacing.scale + 2 * bound * spacing.least
        inner = sizes[..., :-1, :].cumsum(dim=-2) - bound
        # Counting the inner knots at or below the value always lands in 0 ... K - 1, also for NaN and infinity.
        searched = inner[..., int(by_height), :, :]
        index = (value.unsqueeze(-2) >= searched).sum(dim=-2, keepdim=True)

        end = inner.new_full((), bound).expand_as(inner[..., :1, :])
        knots = torch.cat([inner[..., :1, :], -end, inner, end, inner[..., -1:, :]], dim=-2)
        window = index + torch.arange(4, device=index.device).unsqueeze(-1)
        shape, rows = window.shape[:-2], window.shape[-1]
        picked = knots.expand(*shape, 2, -1, rows).gather(-2, window.unsqueeze(-3).expand(*shape, 2, -1, -1))
        near = (window[..., :2, :] - 1).clamp(0, k - 2)
        ratios = raw_ratios.expand(*shape, -1, rows).gather(-2, near)
        x, z = picked.unbind(-3)
        own = index.squeeze(-2)
        bin_ = Bin(x.unbind(-2), z.unbind(-2), ratios.unbind(-2), own == 0, own == k - 1)
        return bin_, (fractions, index, window)

    def gradient(self, found: Any, gradient: BinGradient, spacing: Spacing) -> Tensor:
        fractions, index, window = found
        k = spacing.bins
        # of bins k - 1, k, k + 1, in a table with one place more at either end for bins that are not there
        near = torch.stack([torch.stack(gradient.widths, dim=-2), torch.stack(gradient.heights, dim=-2)], dim=-3)
        places = window[..., :3, :].unsqueeze(-3).expand_as(near)
        table = near.new_zeros(*near.shape[:-2], k + 2, near.shape[-1]).scatter(-2, places, near)
        before = torch.arange(k, device=index.device).unsqueeze(-1) < index
        sizes = table[..., 1:-1, :] + before.unsqueeze(-3) * torch.stack(gradient.left, dim=-2).unsqueeze(-2)
        raw = fractions * (sizes - (fractions * sizes).sum(dim=-2, keepdim=True)) * spacing.scale

        knots = torch.stack(gradient.ratios, dim=-2)
        ratios = knots.new_zeros(*knots.shape[:-2], k + 1, knots.shape[-1]).scatter(-2, window[..., :2, :], knots)
        return torch.cat([raw.flatten(-3, -2), ratios[..., 1:-1, :]], dim=-2).mT


class UnrolledSearch(BinSearch):
    """Tables as sequences of tensors, read by one-hot weights: many small operations that a compiler makes one loop of."""

    def find(self, value: Tensor, parameters: Tensor, spacing: Spacing, by_height: bool) -> tuple[Bin, Any]:
        k, bound = spacing.bins, spacing.bound
        raw = parameters.unbind(-1)
        fractions = _softmax(raw[:k]), _softmax(raw[k : 2 * k])
        x, z = (_inner_knots(part, spacing) for part in fractions)
        beyond = [(value >= knot).to(value.dtype) for knot in (z if by_height else x)]
        own = [1 - beyond[0], *(a - b for a, b in pairwise(beyond)), beyond[-1]]

        def around(inner: list[Tensor]) -> tuple[Tensor, ...]:
            end = torch.full_like(inner[0], bound)
            knots = [inner[0], -end, *inner, end, inner[-1]]
            return tuple(_weighted(own, knots[i : i + k]) for i in range(4))

        ratios = _weighted(own[1:], raw[2 * k :]), _weighted(own[:-1], raw[2 * k :])
        return Bin(around(x), around(z), ratios, own[0] > 0, own[-1] > 0), (fractions, own, beyond)

    def gradient(self, found: Any, gradient: BinGradient, spacing: Spacing) -> Tensor:
        (widths, heights), own, beyond = found
        left, right = gradient.ratios
        rows = [
            *self._raw_sizes(widths, own, beyond, gradient.left[0], gradient.widths, spacing),
            *self._raw_sizes(heights, own, beyond, gradient.left[1], gradient.heights, spacing),
            *(own[i] * left + own[i - 1] * right for i in range(1, spacing.bins)),
        ]
        return torch.stack(rows, dim=-2).mT

    @staticmethod
    def _raw_sizes(
        fractions: list[Tensor],
        own: list[Tensor],
        beyond: list[Tensor],
        left: Tensor,
        near: tuple[Tensor, Tensor, Tensor],
        spacing: Spacing,
    ) -> list[Tensor]:
        previous, this, following = near
        previous = previous + left
        sizes = []
        for i in range(spacing.bins):
            size = own[i] * this
            if i > 0:
                size = torch.addcmul(size, own[i - 1], following)
            if i + 1 < spacing.bins:
                size = torch.addcmul(size, own[i + 1], previous)
            if i + 2 < spacing.bins:
                size = torch.addcmul(size, beyond[i + 1], left)
            sizes.append(size)
        mean = _weighted(fractions, sizes)
        return [part * (size - mean) * spacing.scale for part, size in zip(fractions, sizes, strict=True)]


def _softmax(raw: tuple[Tensor, ...]) -> list[Tensor]:
    top = reduce(torch.maximum, raw)
    powers = [torch.exp(value - top) for value in raw]
    inverse = 1 / reduce(operator.add, powers)
    return [power * inverse for power in powers]


def _inner_knots(fractions: list[Tensor], spacing: Spacing) -> list[Tensor]:
    starts = (2 * spacing.bound * spacing.least * (i + 1) - spacing.bound for i in range(spacing.bins - 1))
    return [part * spacing.scale + start for part, start in zip(accumulate(fractions[:-1]), starts, strict=True)]


def _weighted(weights: list[Tensor], values: Any) -> Tensor:
    total = weights[0] * values[0]
    for weight, value in zip(weights[1:], values[1:], strict=True):
        total = torch.addcmul(total, weight, value)
    return total
