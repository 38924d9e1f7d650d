"""How noise rises with time, as strategies."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from anabranch.checks import is_number, positive_int
from anabranch.described import Described

# log SNR of at most 20: deviations of 5e-5, at which float32 still tells the noise from what it is added to
LEAST = -20.0


class NoiseSchedule(Described, ABC):
    r"""gamma(t), the negative logarithm of the signal-to-noise ratio, rising with t from 0 to 1:

    .. math:: z_t = \alpha_t y + \sigma_t \epsilon, \quad \alpha_t^2 = 1 / (1 + e^{\gamma(t)}), \quad
              \sigma_t^2 = 1 - \alpha_t^2, \qquad \gamma(t) = \gamma_0 + (\gamma_1 - \gamma_0)\, n(t)

    In continuous time the bound of a diffusion depends on the two ends alone. The inside, n, decides how far single draws
    of the bound scatter, and how well a chain of few steps fares.

    To write your own: define `inside`.

    Source: Kingma et al., 2021, "Variational diffusion models", arXiv:2107.00630, sections 3.1, 4.1 and 5.1.

    Args:
        low: gamma at time 0; not below -20.
        high: gamma at time 1.
        learnable: whether the ends are trained.

    Raises:
        ValueError: ends in another order, or that are no numbers.
    """

    learns_inside: bool = False

    def __init__(self, low: float = -13.3, high: float = 5.0, learnable: bool = False) -> None:
        super().__init__()
        if not (is_number(low) and is_number(high) and LEAST <= low < high < math.inf):
            raise ValueError(f"low, high: expected two numbers, {LEAST:g} <= low < high, got {low!r} and {high!r}")
        self.first = (float(low), float(high))
        for name, start in (("low", low), ("log_width", math.log(high - low))):
            value = torch.tensor(float(start))
            if learnable:
                self.register_parameter(name, nn.Parameter(value))
            else:
                self.register_buffer(name, value)

    @abstractmethod
    def inside(self, time: Tensor) -> tuple[Tensor, Tensor]:
        """n(t), from 0 to 1, and its derivative, which is above 0: the shape of t each."""

    def ends(self) -> tuple[Tensor, Tensor]:
        """gamma at times 0 and 1."""
        low, width = (getattr(self, name) for name in ("low", "log_width"))
        low = low.clamp(min=LEAST)
        return low, low + width.exp()

    def forward(self, time: Tensor) -> tuple[Tensor, Tensor]:
        """gamma(t) and its derivative. The inside gets no gradients by them (`steered`)."""
        low, high = self.ends()
        n, rate = (value.detach() for value in self.inside(time))
        return low + (high - low) * n, (high - low) * rate

    def read(self, gamma: Tensor) -> Tensor:
        """gamma as networks read it: 0 and 1 at the ends of the schedule as it was built."""
        low, high = self.first
        return (gamma - low) / (high - low)

    def steered(self, time: Tensor, losses: Tensor) -> Tensor:
        r"""Zeros, whose gradient by the inside is that of the mean square of the losses.

        With t uniform, gamma has the density r = 1 / gamma' on its range. A loss at gamma is e(gamma) / r(gamma), where e
        does not depend on the schedule. So the mean stays as it is when r changes, and the mean square moves by

        .. math:: \nabla \int e^2 / r \, d\gamma = - E[(e / r)^2\, \nabla \log r(\gamma)]

        at gamma as it was drawn, which needs no derivative of e, so no second pass through the network. It is in units
        of the batch's mean square, so that its size is that of no loss.

        Args:
            time: (*batch), as it was drawn.
            losses: (*batch), of gamma at that time.
        """
        n, rate = self.inside(time)
        # the time at which gamma is reached if the inside moves: one step of Newton's method, exact where it stands, and
        # with the derivative of the inverse function
        moved = time - (n - n.detach()) / rate.detach()
        log_rate = self.inside(moved)[1].log()
        square = losses.detach().square()
        value = square / square.mean().clamp(min=torch.finfo(square.dtype).tiny) * log_rate
        return value - value.detach()


class LinearSchedule(NoiseSchedule):
    """gamma(t) = gamma_0 + (gamma_1 - gamma_0) t.

    Args:
        low: gamma at time 0.
        high: gamma at time 1.
        learnable: whether the ends are trained.

    Example:
        >>> import torch
        >>> from anabranch.models import LinearSchedule
        >>> LinearSchedule(-10.0, 5.0)(torch.tensor([0.0, 0.5, 1.0]))[0]
        tensor([-10.0000,  -2.5000,   5.0000])
    """

    def inside(self, time: Tensor) -> tuple[Tensor, Tensor]:
        return time, torch.ones_like(time)


class CosineSchedule(NoiseSchedule):
    r"""tan(phi) = e^{gamma / 2} with an angle phi that is linear in time, so that alpha is a cosine.

    Source: Nichol and Dhariwal, 2021, arXiv:2102.09672, section 3.2.

    Args:
        low: gamma at time 0.
        high: gamma at time 1.
        learnable: whether the ends are trained.

    Example:
        >>> import torch
        >>> from anabranch.models import CosineSchedule
        >>> CosineSchedule(-8.0, 8.0)(torch.tensor([0.0, 0.5, 1.0]))[0].round(decimals=2)
        tensor([-8.,  0.,  8.])
    """

    def inside(self, time: Tensor) -> tuple[Tensor, Tensor]:
        low, high = self.ends()
        begin, end = ((0.5 * gamma).exp().atan() for gamma in (low, high))
        angle = begin + (end - begin) * time
        n = (2 * angle.tan().log() - low) / (high - low)
        # d/d phi of 2 log tan phi is 4 / sin(2 phi)
        return n, 4 / (2 * angle).sin() * (end - begin) / (high - low)


class MonotoneSchedule(NoiseSchedule):
    r"""A learned inside, n(t) = (m(t) - m(0)) / (m(1) - m(0)), of a network that rises:

    .. math:: m(t) = t + \sum_k w_k\, \sigma(s_k (t - c_k)), \qquad w_k, s_k > 0

    Source: Kingma et al., 2021, arXiv:2107.00630, appendix H (a monotone network), equation 80 (its aim).

    Args:
        low: gamma at time 0.
        high: gamma at time 1.
        learnable: whether the ends are trained too.
        hidden: how many terms.

    Example:
        >>> import torch
        >>> from anabranch.models import MonotoneSchedule
        >>> gamma, rate = MonotoneSchedule(-10.0, 5.0)(torch.linspace(0, 1, 100))
        >>> bool((gamma.diff() > 0).all()), bool((rate > 0).all())
        (True, True)
    """

    learns_inside = True

    def __init__(self, low: float = -13.3, high: float = 5.0, learnable: bool = True, hidden: int = 32) -> None:
        super().__init__(low, high, learnable)
        count = positive_int("hidden", hidden)
        # steps of a width of about their distance, which together begin as a line
        self.centre = nn.Parameter((torch.arange(count) + 0.5) / count)
        self.log_steepness = nn.Parameter(torch.full((count,), math.log(4 * count)))
        self.weight = nn.Parameter(torch.full((count,), math.log(math.expm1(1 / count))))

    def inside(self, time: Tensor) -> tuple[Tensor, Tensor]:
        weight, steepness = softplus(self.weight), self.log_steepness.exp()
        ends = time.new_tensor([0.0, 1.0])
        begin, end = self._raised(ends, weight, steepness)[0].unbind()
        m, rate = self._raised(time, weight, steepness)
        return (m - begin) / (end - begin), rate / (end - begin)

    def _raised(self, time: Tensor, weight: Tensor, steepness: Tensor) -> tuple[Tensor, Tensor]:
        """m(t) and its derivative."""
        steps = (steepness * (time.unsqueeze(-1) - self.centre)).sigmoid()
        return time + (weight * steps).sum(dim=-1), 1 + (weight * steepness * steps * (1 - steps)).sum(dim=-1)
