"""Pinwheels and circles: toys whose density, labels and best attainable log-likelihood are known."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from anabranch.checks import positive, positive_int
from anabranch.densities import Mixture

# How many rows of data are looked up on the pinwheel's grid at once.
_ROWS = 10_000


class Pinwheel(Mixture):
    r"""Wings turned ever further the further out, one component each, of equal weight:

    .. math:: x = s\, R(2 \pi k / K + r e^{a_1})\, a, \qquad a_1 \sim N(1, 0.3^2), \quad a_2 \sim N(0, 0.05^2)

    with R(t) the rotation by t, K wings, rate r, and scale s. log_prob is exact: for each wing it sums over the a that come
    to x, which are roots of a function of a_1 alone.

    Source: Johnson et al., 2016, "Composing graphical models with neural networks", arXiv:1603.06277, section 5.

    Args:
        wings: K.
        rate: r, how fast wings turn.
        scale: s.

    Example:
        >>> from anabranch.datasets import Pinwheel
        >>> pinwheel = Pinwheel(wings=5)
        >>> x, wing = pinwheel.rows(100, seed=0)
        >>> x.shape, wing.bincount().tolist()
        (torch.Size([500, 2]), [100, 100, 100, 100, 100])
    """

    _SPREAD = (0.3, 0.05)
    _GRID = 400

    def __init__(self, wings: int = 5, rate: float = 0.4, scale: float = 0.5) -> None:
        super().__init__(positive_int("wings", wings), (2,))
        self.rate = positive("rate", rate)
        self.scale = positive("scale", scale)
        self.register_buffer("turns", 2 * math.pi * torch.arange(wings) / wings, persistent=False)

    def rows(self, rows: int, seed: int) -> tuple[Tensor, Tensor]:
        """So many rows of each wing, and which wing: (wings x rows, 2) and (wings x rows), in random order."""
        generator = torch.Generator().manual_seed(seed)
        wing = torch.arange(self.components).repeat_interleave(positive_int("rows", rows))
        x = self._place(torch.randn(len(wing), 2, generator=generator), wing)
        order = torch.randperm(len(x), generator=generator)
        return x[order], wing[order]

    def _joint_log_prob(self, x: Tensor, context: Tensor | None) -> Tensor:
        batch_shape = x.shape[:-1]
        y = x.reshape(-1, 2).double() / self.scale
        turns = self.get_buffer("turns").tolist()
        pieces = [torch.stack([self._log_wing(part, turn) for turn in turns], dim=-1) for part in y.split(_ROWS)]
        joint = torch.cat(pieces)
        joint = joint - math.log(self.components) - 2 * math.log(self.scale)
        joint = torch.where(y.isnan().any(-1, keepdim=True), torch.nan, joint)
        return joint.to(x.dtype).reshape(*batch_shape, self.components)

    def _sample(self, shape: torch.Size, context: Tensor | None) -> Tensor:
        turns = self.get_buffer("turns")
        wing = torch.randint(self.components, shape, device=turns.device)
        return self._place(torch.randn(*shape, 2, dtype=turns.dtype, device=turns.device), wing)

    def _place(self, noise: Tensor, wing: Tensor) -> Tensor:
        a_1, a_2 = 1 + self._SPREAD[0] * noise[..., 0], self._SPREAD[1] * noise[..., 1]
        angle = self.get_buffer("turns")[wing] + self.rate * a_1.exp()
        sine, cosine = angle.sin(), angle.cos()
        return self.scale * torch.stack([cosine * a_1 - sine * a_2, sine * a_1 + cosine * a_2], dim=-1)

    def _log_wing(self, y: Tensor, turn: float) -> Tensor:
        """log of the sum over the a that come to y; the grid reaches seven standard deviations of a_1 either way."""
        reach = 7 * self._SPREAD[0]
        grid = torch.linspace(1 - reach, 1 + reach, self._GRID, dtype=y.dtype, device=y.device)
        angle = turn + self.rate * grid.exp()
        sign = y @ torch.stack([angle.cos(), angle.sin()]) > grid
        row, cell = (sign[:, 1:] != sign[:, :-1]).nonzero(as_tuple=True)
        low, high, rising = grid[cell], grid[cell + 1], sign[row, cell + 1]
        for _ in range(12):
            middle = (low + high) / 2
            beyond = (self._turned_back(middle, y[row], turn)[0] > middle) == rising
            low, high = torch.where(beyond, low, middle), torch.where(beyond, middle, high)
        a_1 = (low + high) / 2
        for _ in range(3):  # Newton's, no further than what is known
            there, a_2 = self._turned_back(a_1, y[row], turn)
            a_1 = (a_1 - (there - a_1) / (self.rate * a_1.exp() * a_2 - 1)).clamp(low, high)
        a_2 = self._turned_back(a_1, y[row], turn)[1]
        log_normal = sum(
            -0.5 * ((a - mean) / spread).square() - math.log(spread * math.sqrt(2 * math.pi))
            for a, mean, spread in zip((a_1, a_2), (1.0, 0.0), self._SPREAD, strict=True)
        )
        # det dy/da = 1 - a_2 dangle/da_1
        log_density = log_normal - (1 - a_2 * self.rate * a_1.exp()).abs().log()
        return torch.zeros_like(y[:, 0]).index_add(0, row, log_density.exp()).log()

    def _turned_back(self, a_1: Tensor, y: Tensor, turn: float) -> tuple[Tensor, Tensor]:
        angle = turn + self.rate * a_1.exp()
        sine, cosine = angle.sin(), angle.cos()
        return cosine * y[..., 0] + sine * y[..., 1], cosine * y[..., 1] - sine * y[..., 0]


class Circles(Mixture):
    r"""Rings around the origin, one component each, of equal weight: uniform in angle, and normal in radius,

    .. math:: p(x \mid k) = \frac{N(\lVert x \rVert;\ R_k, \sigma^2)}{2 \pi \lVert x \rVert} .

    Args:
        radii: R_k, all far above the noise (a negative radius would count as positive).
        noise: sigma.

    Example:
        >>> from anabranch.datasets import Circles
        >>> circles = Circles()
        >>> x, ring = circles.rows(512, seed=0)
        >>> 1.8 < float(circles.log_prob(x).mean()) < 2.0
        True
    """

    def __init__(self, radii: tuple[float, ...] = (0.8, 0.4), noise: float = 0.005) -> None:
        super().__init__(len(radii), (2,))
        self.noise = positive("noise", noise)
        if min(radii, default=0.0) < 10 * noise:
            raise ValueError(f"radii: expected at least one, each at least 10 times the noise {noise:g}, got {radii}")
        self.register_buffer("radii", torch.tensor(radii, dtype=torch.get_default_dtype()), persistent=False)

    def rows(self, rows: int, seed: int) -> tuple[Tensor, Tensor]:
        """So many rows of each ring, and which ring: (rings x rows, 2) and (rings x rows), in random order."""
        generator = torch.Generator().manual_seed(seed)
        ring = torch.arange(self.components).repeat_interleave(positive_int("rows", rows))
        noise, turn = torch.randn(len(ring), generator=generator), torch.rand(len(ring), generator=generator)
        order = torch.randperm(len(ring), generator=generator)
        return self._place(noise, turn, ring)[order], ring[order]

    def _joint_log_prob(self, x: Tensor, context: Tensor | None) -> Tensor:
        radius = x.norm(dim=-1, keepdim=True)
        log_normal = -0.5 * ((radius - self.get_buffer("radii")) / self.noise).square()
        constant = math.log(self.noise * (2 * math.pi) ** 1.5 * self.components)
        # at the origin the density is that of a radius of nearly nothing: 0
        return log_normal - radius.clamp(min=torch.finfo(x.dtype).tiny).log() - constant

    def _sample(self, shape: torch.Size, context: Tensor | None) -> Tensor:
        radii = self.get_buffer("radii")
        ring = torch.randint(self.components, shape, device=radii.device)
        noise, turn = (f(shape, dtype=radii.dtype, device=radii.device) for f in (torch.randn, torch.rand))
        return self._place(noise, turn, ring)

    def _place(self, noise: Tensor, turn: Tensor, ring: Tensor) -> Tensor:
        radius, angle = self.get_buffer("radii")[ring] + self.noise * noise, 2 * math.pi * turn
        return radius.unsqueeze(-1) * torch.stack([angle.cos(), angle.sin()], dim=-1)
