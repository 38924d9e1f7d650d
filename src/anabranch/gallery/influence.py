"""How much of what comes before a position moves what an autoregressive model says of it."""

from __future__ import annotations

import torch
from torch import Tensor

from anabranch.models import Autoregressive


def influence(model: Autoregressive, x: Tensor, position: int) -> Tensor:
    r"""The receptive field of a position, by autodiff: exactly 0 wherever the network does not look.

    .. math:: r_e = E_x \, \| \partial \log p(x_d = \cdot \mid x_1, \ldots, x_{d-1}) / \partial \phi(x_e) \|

    with phi the features that the network reads, the mean over the given x, and the Frobenius norm over levels and features.

    Args:
        model: over levels (`families.Levels`), without a context, in the order of its events.
        x: events (rows, *positions).
        position: d, counted row by row.

    Returns:
        r, as large as an event: (*positions).

    Example:
        >>> import torch
        >>> import anabranch as ab
        >>> from anabranch.families import Levels
        >>> from anabranch.gallery.influence import influence
        >>> from anabranch.networks import FiniteMemory
        >>> model = ab.models.Autoregressive(Levels(3), FiniteMemory(6, outputs=3, channels=3, memory=2))
        >>> (influence(model, torch.randint(3, (5, 6)), position=4) > 0).tolist()
        [False, False, True, True, False, False]
    """
    chain = model.chain
    features = chain.read(chain.layout.to_positions(x)).detach().requires_grad_()
    positions = len(chain.network.positions)
    theta = chain.start(chain.network(features)).flatten(1, positions)[:, position]
    log_p = theta.log_softmax(dim=-1).sum(dim=0)
    squares = torch.zeros(features.shape[:-1])
    for level in log_p:
        (slope,) = torch.autograd.grad(level, features, retain_graph=True)
        squares += slope.square().sum(dim=-1)
    return squares.sqrt().mean(dim=0)
