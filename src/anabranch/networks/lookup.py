"""The network that is a table."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from anabranch.checks import positive_int
from anabranch.networks.network import Network, Shape


class Lookup(Network):
    r"""y = v_i, where i is the last number of x: trained numbers for each of so many rows, which start at 0.

    Args:
        features: the size of x, of which the last number is a whole one from 0 on.
        rows: how many there are. A number beyond the last stands for that.
        outputs: the size of y, or its shape.

    Example:
        >>> import torch
        >>> from anabranch.networks import Lookup
        >>> Lookup(3, rows=10, outputs=2)(torch.tensor([[0.5, -1.0, 7.0]]))
        tensor([[0., 0.]], grad_fn=<IndexBackward0>)
    """

    def __init__(self, features: int, rows: int, outputs: Shape) -> None:
        super().__init__(features, outputs)
        self.rows = positive_int("rows", rows)
        self.values = nn.Parameter(torch.zeros(self.rows, *self.out_shape))

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        return self.values[x[..., -1].nan_to_num().round().long().clamp(0, self.rows - 1)]
