"""Real numbers around what is left of noise."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from anabranch.densities import Density
from anabranch.models.noise_schedule import NoiseSchedule

_HALF_LOG_TAU = 0.5 * math.log(2 * math.pi)


class Blurred(Density):
    r"""p(x | u) = N(x; u, e^{gamma_0}): the decoder of a diffusion of real numbers, as blurred as its last level of noise.

    Args:
        schedule: of which gamma_0 is the lower end; it stays its owner's.
        shape: of x and of u.
    """

    def __init__(self, schedule: NoiseSchedule, shape: torch.Size) -> None:
        super().__init__(shape, shape)
        self._schedule = (schedule,)

    def _log_prob(self, x: Tensor, context: Tensor | None) -> Tensor:
        log_scale = self._log_scale
        each = -0.5 * ((x - self._centre(context)) * (-log_scale).exp()).square() - log_scale - _HALF_LOG_TAU
        return each.flatten(each.dim() - len(self.event_shape)).sum(dim=-1)

    def _sample(self, shape: torch.Size, context: Tensor | None) -> Tensor:
        u = self._centre(context)
        u = u.expand(*shape, *u.shape)
        return u + self._log_scale.exp() * torch.randn_like(u)

    def _centre(self, context: Tensor | None) -> Tensor:
        if context is None:
            raise ValueError(f"context: expected shape (..., {', '.join(map(str, self.event_shape))}), got None")
        return context

    @property
    def _log_scale(self) -> Tensor:
        return 0.5 * self._schedule[0].ends()[0]
