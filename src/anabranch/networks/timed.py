"""A network that reads the time at several frequencies."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import silu

from anabranch.checks import as_context_shape, instance_of, positive_int
from anabranch.networks.network import Network, Shape, as_vectors


class Timed(Network):
    r"""y = f(x, (e, c)), a network f whose context begins with a learned vector e of the time t:

    .. math:: e = s(W (t, \sin \pi t, \cos \pi t, \ldots, \sin K \pi t, \cos K \pi t) + b)

    s is the silu, and W has as many rows as f has numbers of context beside c. As a `Network` it takes the context (t, c),
    as `Diffusion` and `transforms.Continuous` want it, so that any network of a context becomes one of a time.

    Source: Vaswani et al., 2017, arXiv:1706.03762, section 3.5 (places read at several frequencies).

    Args:
        network: f, with a context that is a vector.
        context: how many numbers c has; 0 for none.
        waves: K.

    Raises:
        ValueError: a network without a context, or with one of no more numbers than c.

    Example:
        >>> import torch
        >>> from anabranch.networks import ResidualMLP, Timed
        >>> network = Timed(ResidualMLP(2, 2, context=16, hidden=32))
        >>> network(torch.randn(10, 2), torch.rand(10, 1)).shape
        torch.Size([10, 2])
    """

    def __init__(self, network: Network, context: Shape | None = 0, waves: int = 8) -> None:
        instance_of("network", network, Network)
        beside = as_context_shape("context", context)
        count = 0 if beside is None else beside.numel()
        given = network.context_shape
        if given is None or len(given) != 1 or given[0] <= count:
            got = "none" if given is None else f"one of shape {tuple(given)}"
            raise ValueError(
                f"network: expected a context that is a vector of more than {count} numbers, the time's before those of the "
                f"context, got {got}"
            )
        super().__init__(network.in_shape, network.out_shape, 1 + count)
        self.network = network
        waves = positive_int("waves", waves, least=0)
        self.embedding = nn.Linear(1 + 2 * waves, given[0] - count)
        self.register_buffer("frequencies", math.pi * torch.arange(1.0, waves + 1), persistent=False)

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        if context is None or self.context_shape is None:
            raise ValueError(f"context: expected the time, a vector of {self.context} numbers, got None")
        context = as_vectors(context, self.context_shape)
        time = context[..., :1]
        angles = time * self.get_buffer("frequencies")
        embedded = silu(self.embedding(torch.cat([time, angles.sin(), angles.cos()], dim=-1)))
        y: Tensor = self.network(x, torch.cat([embedded, context[..., 1:]], dim=-1))
        return y
