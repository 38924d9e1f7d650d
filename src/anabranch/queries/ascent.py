"""Uphill from many starts."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

_HALVINGS = 12

LogProb = Callable[[Tensor], Tensor]


def climb(log_prob: LogProb, x: Tensor, scale: Tensor, moving: Tensor, steps: int) -> Tensor:
    """Rows (n, D) moved uphill in some of their columns, each by itself: Adam with falling steps, the best point kept.

    Args:
        log_prob: of rows (n, D), differentiable.
        x: the starts.
        scale: the unit of a step in each column, (D).
        moving: which columns of each row move, (n, D).
        steps: how many.
    """
    if not bool(moving.any()):
        return x
    best, best_log_p = x.clone(), torch.full_like(x[:, 0], -torch.inf)
    first, second = torch.zeros_like(x), torch.zeros_like(x)
    unit = torch.where(moving, scale, 0.0)
    for t in range(1, steps + 1):
        log_p, slope = slope_of(log_prob, x)
        better = log_p > best_log_p
        best = torch.where(better.unsqueeze(-1), x, best)
        best_log_p = torch.where(better, log_p, best_log_p)
        g = (slope * unit).nan_to_num(0.0, 0.0, 0.0)
        first = 0.9 * first + 0.1 * g
        second = 0.99 * second + 0.01 * g.square()
        step = (first / (1 - 0.9**t)) / ((second / (1 - 0.99**t)).sqrt() + 1e-8)
        rate = 0.2 * (1 - (t - 1) / steps) ** 2 + 1e-4
        x = x + rate * unit * step
    log_p, _ = slope_of(log_prob, x)
    return torch.where((log_p > best_log_p).unsqueeze(-1), x, best)


def polish(log_prob: LogProb, x: Tensor, scale: Tensor, free: list[int], steps: int = 20) -> Tensor:
    """One row (D) brought to the top of the hill it is on: Newton's steps, made uphill, halved until they are.

    The matrix of second derivatives comes from differences of gradients, so that a log_prob need be differentiable once.
    """
    if not free:
        return x
    unit = scale[free]
    width = float(torch.finfo(x.dtype).eps ** (1 / 3))
    offsets = x.new_zeros(2 * len(free), len(x))
    for j, i in enumerate(free):
        offsets[2 * j, i], offsets[2 * j + 1, i] = width * scale[i], -width * scale[i]
    for _ in range(steps):
        log_p, slope = slope_of(log_prob, torch.cat([x.unsqueeze(0), x + offsets]))
        here, g = log_p[0], slope[0, free] * unit
        second = (slope[1::2][:, free] - slope[2::2][:, free]) * unit / (2 * width)
        if not bool(g.isfinite().all() & second.isfinite().all()):
            break
        values, vectors = torch.linalg.eigh(0.5 * (second + second.mT))
        # uphill along every axis: curved up or hardly at all, the step is that of a gradient
        step = vectors @ ((vectors.mT @ g) / values.abs().clamp(min=1e-3 * float(values.abs().max()) + 1e-12))
        tries = x.new_tensor([0.5**k for k in range(_HALVINGS)]).unsqueeze(-1) * (unit * step)
        candidates = x.expand(_HALVINGS, -1).clone()
        candidates[:, free] = candidates[:, free] + tries
        with torch.no_grad():
            reached = log_prob(candidates).nan_to_num(nan=-torch.inf)
        top = int(reached.argmax())
        if not bool(reached[top] > here):
            break
        x = candidates[top]
    return x


def slope_of(log_prob: LogProb, x: Tensor) -> tuple[Tensor, Tensor]:
    """log p of rows and its gradient."""
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        log_p = log_prob(x)
        (slope,) = torch.autograd.grad(log_p.sum(), x)
    return log_p.detach(), slope


def try_levels(log_prob: LogProb, x: Tensor, column: int, levels: Tensor) -> Tensor:
    """Rows (n, D) with the best of several values in one column, or their own if none is better."""
    with torch.no_grad():
        options = torch.cat([x[:, column].unsqueeze(-1), levels.expand(len(x), -1)], dim=-1)
        many = x.unsqueeze(1).repeat(1, options.shape[1], 1)
        many[..., column] = options
        log_p = log_prob(many.reshape(-1, x.shape[1])).reshape(options.shape).nan_to_num(nan=-torch.inf)
        x = x.clone()
        x[:, column] = options.gather(1, log_p.argmax(dim=-1, keepdim=True)).squeeze(-1)
        return x
