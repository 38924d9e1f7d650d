"""Steps from more noise to less: random ones, and those of a differential equation."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor

from anabranch.models.denoising import signal_and_noise

Noise = Callable[[Tensor, Tensor], Tensor]
"""eps_hat of z at a level gamma."""


def earlier(z: Tensor, noise: Tensor, before: Tensor, gamma: Tensor) -> tuple[Tensor, Tensor]:
    r"""A draw of q(z_s | z_t, y), and the normal numbers in it, with y such that `noise` is the noise of z_t.

    .. math:: z_s = \frac{\alpha_s}{\alpha_t} (z_t - c\, \sigma_t \epsilon) + \sigma_s \sqrt{c}\, n, \qquad
              c = 1 - e^{\gamma(s) - \gamma(t)}

    Source: Kingma et al., 2021, arXiv:2107.00630, equations 25 to 33.
    """
    (alpha, sigma), (alpha_before, sigma_before) = signal_and_noise(gamma), signal_and_noise(before)
    share = -(before - gamma).expm1()
    drawn = torch.randn_like(z)
    mean = alpha_before / alpha * (z - share * sigma * noise)
    return mean + sigma_before * share.sqrt() * drawn, drawn


def solved(z: Tensor, levels: Tensor, noise: Noise, order: int) -> Tensor:
    r"""z at the last level, by the differential equation of z that begins at the first.

    With the guess at y held over a step, the equation is solved exactly:

    .. math:: z_s = \frac{\sigma_s}{\sigma_t} z_t - \alpha_s (e^{(\gamma(s) - \gamma(t)) / 2} - 1)\, \hat y

    Order 2 takes the line through the last two guesses, in the middle of the step.

    Args:
        z: at the first level.
        levels: gamma, falling in equal steps.
        noise: eps_hat.
        order: 1 or 2.
    """
    last: Tensor | None = None
    for gamma, before in pairwise(levels):
        (alpha, sigma), (alpha_before, sigma_before) = signal_and_noise(gamma), signal_and_noise(before)
        guess = (z - sigma * noise(z, gamma)) / alpha
        held = guess if last is None or order == 1 else 1.5 * guess - 0.5 * last
        z = sigma_before / sigma * z - alpha_before * (0.5 * (before - gamma)).expm1() * held
        last = guess
    return z
