"""Space to channels."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from anabranch.checks import positive_int
from anabranch.transforms.transform import Transform, fitting


class Squeeze(Transform):
    r"""Squares of pixels become channels: (C, H, W) to (C f^2, H / f, W / f), log-determinant 0.

    .. math:: z_{c f^2 + i f + j,\, h,\, w} = x_{c,\, h f + i,\, w f + j}, \quad i, j = 0, \ldots, f - 1

    Source: Dinh et al., 2017, arXiv:1605.08803, section 3.6. `Inverse(Squeeze())` gives channels back to space.

    Args:
        factor: f, of which height and width are multiples.

    Raises:
        ValueError: when it meets images whose height or width is no multiple of f.

    Example:
        >>> import torch
        >>> from anabranch.transforms import Squeeze
        >>> Squeeze()(torch.randn(5, 1, 8, 8))[0].shape
        torch.Size([5, 4, 4, 4])
    """

    event_dim = 3
    rearranges = True

    def __init__(self, factor: int = 2) -> None:
        super().__init__()
        self.factor = positive_int("factor", factor)

    def forward_shape(self, shape: Sequence[int]) -> torch.Size:
        """(C f^2, H / f, W / f)."""
        f = self.factor
        channels, height, width = fitting(self, "x", self._image("x", shape), None, 3)
        if height % f or width % f:
            raise ValueError(
                f"x: expected images whose height and width are multiples of {f}, for Squeeze, got {height} x {width}; pad "
                f"them to {-height % f + height} x {-width % f + width}"
            )
        return torch.Size([channels * f**2, height // f, width // f])

    def inverse_shape(self, shape: Sequence[int]) -> torch.Size:
        """(C / f^2, H f, W f)."""
        f = self.factor
        channels, height, width = self._image("z", shape)
        if channels % f**2:
            raise ValueError(f"z: expected a multiple of {f**2} channels, for the inverse of Squeeze, got {channels}")
        return torch.Size([channels // f**2, height * f, width * f])

    def _image(self, name: str, shape: Sequence[int]) -> Sequence[int]:
        if len(shape) != 3:
            raise ValueError(f"{name}: expected images (channels, height, width) for Squeeze, got shape {tuple(shape)}")
        return shape

    def _forward(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        batch, after = x.shape[:-3], self.forward_shape(x.shape[-3:])
        f = self.factor
        # (..., C, H, W) -> (..., C, H / f, i, W / f, j) -> (..., C, i, j, H / f, W / f)
        parts = x.unflatten(-1, (-1, f)).unflatten(-3, (-1, f))
        return parts.movedim((-3, -1), (-4, -3)).reshape(*batch, *after), x.new_zeros(batch)

    def _inverse(self, z: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        batch, before = z.shape[:-3], self.inverse_shape(z.shape[-3:])
        f = self.factor
        parts = z.unflatten(-3, (-1, f, f))
        return parts.movedim((-4, -3), (-3, -1)).reshape(*batch, *before), z.new_zeros(batch)
