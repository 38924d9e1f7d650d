"""Reordering of the features."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from anabranch.checks import numbers_below
from anabranch.transforms.transform import Transform


class Permutation(Transform):
    r"""z_i = x_{order(i)}: the features in another order, log-determinant 0.

    Args:
        order: order[i] is the feature that comes to place i.

    Raises:
        ValueError: the order is not a permutation of 0, ..., features - 1.

    Example:
        >>> import torch
        >>> from anabranch.transforms import Permutation
        >>> Permutation([2, 0, 1])(torch.tensor([10.0, 20.0, 30.0]))
        (tensor([30., 10., 20.]), tensor(0.))
    """

    rearranges = True
    affine = True

    def __init__(self, order: Sequence[int]) -> None:
        places = as_order(order, len(order))
        super().__init__((len(places),))
        self.register_buffer("order", places, persistent=False)
        self.register_buffer("places", places.argsort(), persistent=False)

    def on_columns(self, columns: list[int], context: Tensor | None) -> tuple[None, list[int]]:
        """They stay as they are, in other places."""
        places = self.get_buffer("places").tolist()
        return None, [places[i] for i in columns]

    def _forward(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        return x.index_select(-1, self.get_buffer("order")), x.new_zeros(x.shape[:-1])

    def _inverse(self, z: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        return z.index_select(-1, self.get_buffer("places")), z.new_zeros(z.shape[:-1])


def as_order(order: Sequence[int], features: int) -> Tensor:
    """The order as a tensor.

    Raises:
        ValueError: it is not a permutation of 0, ..., features - 1.
    """
    values = numbers_below("order", order)
    if sorted(values) != list(range(features)) or features == 0:
        raise ValueError(f"order: expected each of 0 to {features - 1} once, got {values}")
    return torch.tensor(values)
