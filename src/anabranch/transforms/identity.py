"""The transform that changes nothing."""

from __future__ import annotations

from torch import Tensor

from anabranch.checks import positive_int
from anabranch.transforms.transform import Transform


class Identity(Transform):
    r"""z = x, log-determinant 0.

    Args:
        event_dim: how many dimensions an event has.

    Example:
        >>> import torch
        >>> from anabranch.transforms import Identity
        >>> Identity()(torch.tensor([1.0, 2.0]))
        (tensor([1., 2.]), tensor(0.))
    """

    rearranges = True
    affine = True

    def __init__(self, event_dim: int = 1) -> None:
        super().__init__()
        self.event_dim = positive_int("event_dim", event_dim)

    def on_columns(self, columns: list[int], context: Tensor | None) -> tuple[None, list[int]]:
        """They stay as they are."""
        return None, columns

    def _forward(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        return x, x.new_zeros(x.shape[: x.dim() - self.event_dim])

    def _inverse(self, z: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        return self._forward(z, context)
