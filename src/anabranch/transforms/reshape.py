"""Another shape for the same numbers."""

from __future__ import annotations

from torch import Tensor

from anabranch.checks import as_shape
from anabranch.networks.network import Shape
from anabranch.transforms.transform import Transform


class Reshape(Transform):
    r"""The numbers of x in their order (the last dimension fastest) in an array of another shape; log-determinant 0.

    Args:
        event_shape: the shape of x, or its size if it is a vector.
        noise_shape: the shape of z, with as many numbers.

    Raises:
        ValueError: shapes of different numbers of entries.

    Example:
        >>> import torch
        >>> from anabranch.transforms import Reshape
        >>> z, _ = Reshape((1, 8, 8), 64)(torch.randn(5, 1, 8, 8))
        >>> z.shape
        torch.Size([5, 64])
    """

    rearranges = True

    def __init__(self, event_shape: Shape, noise_shape: Shape) -> None:
        before, after = as_shape("event_shape", event_shape), as_shape("noise_shape", noise_shape)
        if before.numel() != after.numel():
            raise ValueError(
                f"noise_shape: expected one of {before.numel()} entries, as {tuple(before)} has, "
                f"got {tuple(after)} of {after.numel()}"
            )
        super().__init__(before, noise_shape=after)
        self._shapes = (before, after)

    def _forward(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        before, after = self._shapes
        batch = x.shape[: x.dim() - len(before)]
        return x.reshape(*batch, *after), x.new_zeros(batch)

    def _inverse(self, z: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        before, after = self._shapes
        batch = z.shape[: z.dim() - len(after)]
        return z.reshape(*batch, *before), z.new_zeros(batch)
