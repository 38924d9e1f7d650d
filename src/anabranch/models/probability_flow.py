"""The differential equation of a diffusion as a vector field."""

from __future__ import annotations

import torch
from torch import Tensor

from anabranch.models.denoising import Predicts, along, signal_and_noise, told, velocity_of
from anabranch.models.noise_schedule import NoiseSchedule
from anabranch.networks import Network


class ProbabilityFlow(Network):
    r"""The vector field that carries z_0 / alpha_0 to z_1, from time 0 to time 1, with the noisy densities of a diffusion.

    With the angle phi whose tangent is sigma / alpha, the equation is dz / d phi = v: the velocity v = alpha eps - sigma y
    as the network guesses it. phi rises evenly with the time t, and the state w = z / alpha_0^{1 - t} begins at
    z_0 / alpha_0 and ends at z_1:

    .. math:: \frac{dw}{dt} = (\phi_1 - \phi_0)\, \alpha_0^{t - 1}\, \hat v(z, \gamma) + w \log \alpha_0

    Its context is (t, c), as `transforms.Continuous` wants it. `Diffusion.flow` makes one.

    Source: Song et al., 2021, arXiv:2011.13456, equation 13; Salimans and Ho, 2022, arXiv:2202.00512, appendix D (angles).

    Args:
        denoiser: that of the diffusion.
        schedule: its noise, whose ends count.
        predicts: what the network gives, "velocity" or "noise".
        depth: the time of the schedule at which the equation ends.
    """

    def __init__(
        self, denoiser: Network, schedule: NoiseSchedule, predicts: Predicts = "velocity", depth: float = 1.0
    ) -> None:
        super().__init__(denoiser.in_shape, denoiser.out_shape, denoiser.context_shape)
        self.denoiser = denoiser
        self.schedule = schedule
        self.predicts = predicts
        self.depth = depth

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        if context is None:
            raise ValueError(f"context: expected the time, a vector of {self.context} numbers, got None")
        time, dims = context[..., 0].clamp(0, 1), len(self.in_shape)
        low, high = self.schedule(time.new_tensor([0.0, self.depth]))[0].unbind()
        begin, end = ((0.5 * gamma).exp().atan() for gamma in (low, high))
        gamma = 2 * torch.lerp(begin, end, time).tan().log()
        log_alpha = signal_and_noise(low)[0].log()
        shrunk = along(((1 - time) * log_alpha).exp(), dims)
        z = x * shrunk
        output = told(self.denoiser, self.schedule, z, gamma, context[..., 1:])
        return (end - begin) * velocity_of(output, self.predicts, z, along(gamma, dims)) / shrunk + x * log_alpha
