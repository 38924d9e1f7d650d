"""A network that is told which of its inputs were observed."""

from __future__ import annotations

import torch
from torch import Tensor

from anabranch.checks import instance_of
from anabranch.networks.network import Network


class WithMask(Network):
    r"""y = f(x with 0 for NaN, m): a network of rows with gaps, with the mask m, 1 where x was observed, for its context.

    The encoder of a posterior q(z | what was observed of x).
    Source: Mattei and Frellsen, 2019, arXiv:1812.02633 (gaps filled with 0); Ipsen et al., 2022, "How to deal with missing
    data in supervised deep learning?" (the mask beside them).

    Args:
        network: f, with a context of as many numbers as x has, in the shape of x or as a vector.

    Raises:
        ValueError: a network that takes no such context.

    Example:
        >>> import torch
        >>> from anabranch.networks import MLP, WithMask
        >>> network = WithMask(MLP(3, 4, context=3))
        >>> network(torch.tensor([[0.5, torch.nan, 2.0]])).isfinite().all()
        tensor(True)
    """

    gaps = True

    def __init__(self, network: Network) -> None:
        instance_of("network", network, Network)
        wanted, got = network.in_shape, network.context_shape
        if got is None or got not in (wanted, torch.Size([wanted.numel()])):
            raise ValueError(
                f"network: expected one with a context of {wanted.numel()} numbers, one for each that it reads, got "
                f"{'one without a context' if got is None else f'a context of shape {tuple(got)}'}"
            )
        super().__init__(wanted, network.out_shape)
        self.network = network

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        missing = x.isnan()
        mask = (~missing).to(x.dtype)
        if self.network.context_shape != self.in_shape:
            mask = mask.flatten(x.dim() - len(self.in_shape))
        y: Tensor = self.network(torch.where(missing, 0.0, x), mask)
        return y
