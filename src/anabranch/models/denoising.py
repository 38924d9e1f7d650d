"""Signal and noise at a level, and what a network says of them."""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import softplus

from anabranch.models.noise_schedule import NoiseSchedule
from anabranch.networks import Network

Predicts = Literal["velocity", "noise"]
_HALF_LOG_TAU = 0.5 * math.log(2 * math.pi)


def signal_and_noise(gamma: Tensor) -> tuple[Tensor, Tensor]:
    """alpha and sigma, of alpha^2 + sigma^2 = 1 and sigma^2 / alpha^2 = e^gamma."""
    return (-gamma).sigmoid().sqrt(), gamma.sigmoid().sqrt()


def along(gamma: Tensor, dims: int) -> Tensor:
    """Levels (*batch) of a shape that broadcasts with arrays (*batch, ...) of so many dimensions; one for all as it is."""
    return gamma.reshape(*gamma.shape, *(1 for _ in range(dims))) if gamma.dim() else gamma


def told(denoiser: Network, schedule: NoiseSchedule, z: Tensor, gamma: Tensor, context: Tensor | None) -> Tensor:
    """What a network says of z (*batch, ...) at gamma, (*batch) or one for all, and at contexts that broadcast."""
    time = schedule.read(gamma).unsqueeze(-1)
    if context is not None and denoiser.context > 1:
        batch = torch.broadcast_shapes(time.shape[:-1], context.shape[:-1])
        time = torch.cat([time.expand(*batch, 1), context.expand(*batch, -1)], dim=-1)
    y: Tensor = denoiser(z, time)
    return y


def noise_of(output: Tensor, predicts: Predicts, z: Tensor, gamma: Tensor) -> Tensor:
    """eps_hat of the network's output, gamma in a shape that broadcasts with z.

    Of a velocity v = alpha eps - sigma y: sigma z + alpha v = (sigma^2 + alpha^2) eps.
    """
    if predicts == "noise":
        return output
    alpha, sigma = signal_and_noise(gamma)
    return sigma * z + alpha * output


def velocity_of(output: Tensor, predicts: Predicts, z: Tensor, gamma: Tensor) -> Tensor:
    """v_hat of the network's output: the derivative of z by the angle whose tangent is sigma / alpha."""
    if predicts == "velocity":
        return output
    alpha, sigma = signal_and_noise(gamma)
    return (output - sigma * z) / alpha


class Noisy(NamedTuple):
    """A draw of q(z | y) = N(alpha y, sigma^2) at a level of noise.

    Attributes:
        z: (*batch, ...).
        y: of which it is.
        noise: eps, in it.
        gamma: the level, of a shape that broadcasts with z.
    """

    z: Tensor
    y: Tensor
    noise: Tensor
    gamma: Tensor

    def log_prob(self, dims: int) -> Tensor:
        """log q(z | y), nats, (*batch), of arrays of so many dimensions."""
        # log sigma^2 is -softplus(-gamma)
        each = -0.5 * (self.noise.square() - softplus(-self.gamma)) - _HALF_LOG_TAU
        return each.flatten(self.z.dim() - dims).sum(dim=-1)

    def divergence_from_standard(self, dims: int) -> Tensor:
        """KL(q(z | y) || N(0, 1)), nats, (*batch)."""
        alpha, sigma = signal_and_noise(self.gamma)
        each = sigma.square() + (alpha * self.y).square() - 1 + softplus(-self.gamma)
        return 0.5 * each.flatten(self.z.dim() - dims).sum(dim=-1)


def noised(y: Tensor, gamma: Tensor, dims: int) -> Noisy:
    """y (*batch, ...), arrays of so many dimensions, with noise of levels (*batch), or of one for all."""
    gamma = along(gamma, dims)
    alpha, sigma = signal_and_noise(gamma)
    noise = torch.randn_like(y)
    return Noisy(alpha * y + sigma * noise, y, noise, gamma)


def noisy_of(z: Tensor, y: Tensor, gamma: Tensor) -> Noisy:
    """z, a draw at one level for all, with the noise that is in it."""
    alpha, sigma = signal_and_noise(gamma)
    return Noisy(z, y, (z - alpha * y) / sigma, gamma)
