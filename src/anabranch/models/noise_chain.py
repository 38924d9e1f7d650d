"""The chain of a diffusion: its levels of noise, its steps, and what the network misses at each."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import torch
from torch import Tensor

from anabranch.models.denoising import Noisy, Predicts, along, noise_of, noised, noisy_of, told
from anabranch.models.denoising_steps import earlier
from anabranch.models.noise_schedule import NoiseSchedule
from anabranch.networks import Network


class NoiseChain:
    r"""T steps from z at the time `depth` to z_0, by a network's guess at the noise. It knows nothing of x and of the prior.

    .. math:: -KL = -\tfrac{T}{2} (e^{\gamma(t_i) - \gamma(s_i)} - 1)\, \| \epsilon - \hat\epsilon(z_{t_i}, \gamma(t_i)) \|^2

    Args:
        denoiser: as of `Diffusion`, whose modules these stay.
        schedule: gamma.
        predicts: what the network gives.
        depth: the time at which the chain begins.
        steps: T.

    Attributes:
        dims: how many dimensions z has.
    """

    def __init__(
        self, denoiser: Network, schedule: NoiseSchedule, predicts: Predicts, depth: float, steps: int
    ) -> None:
        self.denoiser = denoiser
        self.schedule = schedule
        self.predicts: Predicts = predicts
        self.depth = depth
        self.steps = steps
        self.dims = len(denoiser.in_shape)

    @property
    def beginning(self) -> Tensor:
        """gamma where the chain begins."""
        return self._gamma(self.depth)

    @property
    def end(self) -> Tensor:
        """gamma of z_0."""
        return self._gamma(0.0)

    def levels(self) -> Tensor:
        """gamma at the ends of the steps, from the beginning of the chain on: (steps + 1)."""
        low = self._like
        number = torch.arange(self.steps, -1, -1, dtype=low.dtype, device=low.device)
        gamma: Tensor = self.schedule(self.depth * number / self.steps)[0]
        return gamma

    def noise(self, z: Tensor, gamma: Tensor, context: Tensor | None) -> Tensor:
        """eps_hat, of the shape of z (*batch, ...), at gamma (*batch) or one for all."""
        output = told(self.denoiser, self.schedule, z, gamma, context)
        return noise_of(output, self.predicts, z, along(gamma, self.dims))

    def one_step(self, y: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        """The number of a step for each event, from 0 on, and its divergence times the number of steps: (*batch) each."""
        number = (self._times(y) * self.steps).floor().clamp(max=self.steps - 1)
        begin, end = (self.schedule(self.depth * (number + k) / self.steps)[0] for k in (0, 1))
        return number, 0.5 * self.steps * (end - begin).expm1() * self._missed(y, end, context)

    def continuous(self, y: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        """A time for each event, and the divergence of infinitely many steps that it stands for: (*batch) each."""
        time = self.depth * self._times(y)
        gamma, rate = self.schedule(time)
        return time, 0.5 * self.depth * rate * self._missed(y, gamma, context)

    def walk(self, y: Tensor, context: Tensor | None) -> Iterator[tuple[Noisy, Tensor]]:
        """z of every level from the beginning of the chain on, drawn of q(z | y), and log p - log q of the steps so far."""
        levels = self.levels()
        noisy = noised(y, levels[0], self.dims)
        gained = y.new_zeros(y.shape[: y.dim() - self.dims])
        yield noisy, gained
        for gamma, before in pairwise(levels):
            missed = noisy.noise - self.noise(noisy.z, gamma, context)
            z, drawn = earlier(noisy.z, noisy.noise, before, gamma)
            # log p(z_s | z_t) - log q(z_s | z_t, y): two normal densities of one variance, whose means lie `apart`
            # deviations from each other, at a draw of the second
            apart = (gamma - before).expm1().sqrt() * missed
            gained = gained + (apart * (drawn - 0.5 * apart)).flatten(y.dim() - self.dims).sum(dim=-1)
            noisy = noisy_of(z, y, before)
            yield noisy, gained

    def descended(self, z: Tensor, context: Tensor | None) -> Iterator[Tensor]:
        """z of every level after the first, drawn step by step of p(z_s | z_t); the last is z_0."""
        for gamma, before in pairwise(self.levels()):
            z, _ = earlier(z, self.noise(z, gamma, context), before, gamma)
            yield z

    def _missed(self, y: Tensor, gamma: Tensor, context: Tensor | None) -> Tensor:
        """|eps - eps_hat|^2, (*batch), of one draw of z at gamma (*batch)."""
        noisy = noised(y, gamma, self.dims)
        missed = noisy.noise - self.noise(noisy.z, gamma, context)
        return missed.flatten(y.dim() - self.dims).square().sum(dim=-1)

    def _times(self, y: Tensor) -> Tensor:
        """A time on [0, 1) for each event, (*batch): equally spaced from a random one on, so that each is uniform."""
        batch = y.shape[: y.dim() - self.dims]
        count = batch.numel()
        number = torch.arange(count, dtype=y.dtype, device=y.device) / max(1, count)
        return ((torch.rand((), dtype=y.dtype, device=y.device) + number) % 1.0).reshape(batch)

    def _gamma(self, time: float) -> Tensor:
        gamma: Tensor = self.schedule(torch.full_like(self._like, time))[0]
        return gamma

    @property
    def _like(self) -> Tensor:
        """Of the dtype and device of the model."""
        low: Tensor = self.schedule.low  # type: ignore[assignment]
        return low.detach()
