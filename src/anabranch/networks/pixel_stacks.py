"""The two stacks of a PixelCNN, one layer each: rows above, and the pixels to the left.

All images lie pixel by pixel, (rows of data, height, width, units): the memory format that convolutions call channels last.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, linear, pad

from anabranch.kernels.layout import cast


def gated(u: Tensor, groups: int = 1) -> Tensor:
    """tanh(a / 2) sigmoid(b), where the last dimension of u holds a and b, one after the other in each group."""
    # tanh(a / 2) = 2 sigmoid(a) - 1: one pass over memory that lies in one run, which is twice as fast
    s = torch.sigmoid(u)
    a, b = s.chunk(2, dim=-1) if groups == 1 else s.unflatten(-1, (groups, 2, -1)).unbind(-2)
    y = (2 * a - 1) * b
    return y if groups == 1 else y.flatten(-2)


class RowsAbove(nn.Module):
    r"""A layer of the vertical stack: a gate of the rows from `above` before to the one at hand, k pixels wide.

    .. math:: v_l = v_{l-1} + \tanh(a / 2) \odot \sigma(b), \quad (a, b) = W * v_{l-1} + V c, \qquad m_l = M v_l + b + V' c

    The stack begins one row late, so that the row at hand of v knows of the rows above alone. m_l is for the other stack.

    Args:
        width: units of v.
        message: units of m.
        above: rows before the one at hand that the convolution reads.
        kernel_size: how wide it is.
    """

    def __init__(self, width: int, message: int, above: int, kernel_size: int) -> None:
        super().__init__()
        self.above = above
        self.convolution = nn.Conv2d(width, 2 * width, (above + 1, kernel_size), padding=(0, kernel_size // 2))
        self.message = nn.Linear(width, message)

    def forward(self, v: Tensor, condition: Tensor | None, dtype: torch.dtype | None) -> Tensor:
        """What the gate lets through, (..., H, W, width), given v with the rows above, (..., above + H, W, width)."""
        u = convolve(self.convolution, v, dtype)
        return gated(u if condition is None else u + condition)

    def tell(self, v: Tensor, condition: Tensor | None, dtype: torch.dtype | None) -> Tensor:
        """The message m to the other stack."""
        weight, bias = cast(dtype, self.message.weight, self.message.bias)
        m = linear(v, weight, bias)
        return m if condition is None else m + condition


class PixelsToTheLeft(nn.Module):
    r"""A layer of the horizontal stack: a gate of the pixels from `left` before to the one at hand, in the same row.

    .. math:: h_l = h_{l-1} + U (\tanh(a / 2) \odot \sigma(b)), \quad (a, b) = W * h_{l-1} + m_l

    The stack begins one pixel late. Where a pixel has an order of channels, the units come in as many groups; group i at the
    pixel at hand sees groups 1 to i there, and all groups to the left.

    Args:
        width: units of a group.
        left: pixels before the one at hand that the convolution reads.
        groups: how many groups there are.
    """

    def __init__(self, width: int, left: int, groups: int) -> None:
        super().__init__()
        self.left, self.groups = left, groups
        self.convolution = nn.Conv2d(groups * width, 2 * groups * width, (1, left + 1), bias=False)
        self.out = nn.Conv2d(groups * width, groups * width, 1, bias=False, groups=groups)
        if groups > 1:
            self.register_buffer("mask", order_mask(self.convolution, groups, strictly=False), persistent=False)

    def forward(self, h: Tensor, message: Tensor, dropout: nn.Module, dtype: torch.dtype | None) -> Tensor:
        mask = self.get_buffer("mask") if self.groups > 1 else None
        u = convolve(self.convolution, pad(h, (0, 0, self.left, 0)), dtype, mask) + message
        passed = dropout(gated(u, self.groups).permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        return h + convolve(self.out, passed, dtype)


def order_mask(convolution: nn.Conv2d, groups: int, strictly: bool) -> Tensor:
    """Which weights of a convolution, whose last tap is the pixel at hand, obey an order of groups of its units."""
    weight = convolution.weight
    mask = torch.ones_like(weight, dtype=torch.bool)
    after, before = (torch.arange(groups).repeat_interleave(n // groups) for n in weight.shape[:2])
    mask[:, :, 0, -1] = after[:, None] > before[None, :] if strictly else after[:, None] >= before[None, :]
    return mask


def convolve(convolution: nn.Conv2d, x: Tensor, dtype: torch.dtype | None = None, mask: Tensor | None = None) -> Tensor:
    """A convolution of images that lie pixel by pixel."""
    weight = convolution.weight if mask is None else convolution.weight * mask
    (weight,) = cast(dtype, weight)
    bias = None if convolution.bias is None else cast(dtype, convolution.bias)[0]
    y = conv2d(x.permute(0, 3, 1, 2), weight, bias, padding=convolution.padding, groups=convolution.groups)
    return y.permute(0, 2, 3, 1)
