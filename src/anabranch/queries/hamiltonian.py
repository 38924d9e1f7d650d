"""Hamiltonian moves of many chains at once, each with a step of its own length."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

# the share of moves that is taken where steps are as long as they may be, and how fast their length follows
_TAKEN, _FOLLOWS = 0.65, 0.3
# the logarithm of the first length
_START = -1.5
# a chain's step is at least this share of the longest: of one length, trajectories may come back to where they began
_SHORTEST = 0.4


class Hamiltonian:
    r"""Moves z -> z' that leave a density f as it is: leapfrog steps of z and a normal momentum, then Metropolis.

    While it searches, the length of a chain's steps follows what is taken, so that the density is left only about as it is.
    `settled` gives moves of the lengths that were found in every place of a path, which leave it exactly.
    Source: Neal, 2011, arXiv:1206.1901.

    Args:
        batch: of chains, the first dimension those of one row, which share the lengths.
        event_dim: dimensions of z.
        leapfrogs: of a move.
        like: a tensor of the dtype and device of z.
    """

    def __init__(self, batch: torch.Size, event_dim: int, leapfrogs: int, like: Tensor) -> None:
        self.batch, self.event_dim, self.leapfrogs = batch, event_dim, leapfrogs
        self.log_step = torch.full(batch[1:], _START, dtype=like.dtype, device=like.device)
        self.lengths: dict[int, Tensor] = {}
        self.searches = True

    def settled(self) -> Hamiltonian:
        """Moves of the lengths that were found."""
        moves = Hamiltonian(self.batch, self.event_dim, self.leapfrogs, self.log_step)
        moves.lengths, moves.searches = dict(self.lengths), False
        return moves

    def __call__(self, log_f: Callable[[Tensor], Tensor], z: Tensor, place: int) -> Tensor:
        """z' of z (*batch, *event) in a place of the path, where f is log_f."""
        log_step = self.log_step if self.searches else self.lengths[place]
        jitter = _SHORTEST + (1 - _SHORTEST) * torch.rand(self.batch, dtype=log_step.dtype, device=log_step.device)
        step = (log_step.exp() * jitter).reshape(*self.batch, *[1] * self.event_dim)
        momentum = torch.randn_like(z)
        value, slope = _slope(log_f, z)
        energy, begun = self._kinetic(momentum), value
        moved = z
        for _ in range(self.leapfrogs):
            momentum = momentum + 0.5 * step * slope
            moved = moved + step * momentum
            value, slope = _slope(log_f, moved)
            momentum = momentum + 0.5 * step * slope
        ratio = value - begun + energy - self._kinetic(momentum)
        # a NaN is never above anything: such a move is refused
        taken = torch.rand_like(ratio).log() < ratio
        if self.searches:
            self.lengths[place] = log_step
            share = taken.to(log_step).mean(dim=0)
            self.log_step = log_step + _FOLLOWS * (share - _TAKEN)
        return torch.where(taken.reshape(*taken.shape, *[1] * self.event_dim), moved, z)

    def _kinetic(self, momentum: Tensor) -> Tensor:
        return 0.5 * momentum.square().flatten(momentum.dim() - self.event_dim).sum(dim=-1)


def _slope(log_f: Callable[[Tensor], Tensor], z: Tensor) -> tuple[Tensor, Tensor]:
    """log f and its gradient, 0 where that is not finite."""
    with torch.enable_grad():
        z = z.detach().requires_grad_()
        value = log_f(z)
        (gradient,) = torch.autograd.grad(value.sum(), z)
    return value.detach(), torch.where(gradient.isfinite(), gradient, 0.0)
