"""Numbers on a circle: directions, hours of the day, phases."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import softplus

from anabranch.checks import positive, positive_int
from anabranch.families.cut_logistics import log_between
from anabranch.families.draw_levels import draw_levels
from anabranch.families.family import Family, quantiles_of
from anabranch.families.inversion import least_at
from anabranch.families.logistics import read_mixture

# so often each way around the circle is summed up, and the widest scale, as a share of the period, for which
# that is enough: what is left out is below e^{-15}
_TIMES_AROUND = 2
_WIDEST = 1 / 6
# how far from a point of the lattice a number still is that point, in steps
_NEAR = 0.02


class Wrapped(Family):
    r"""A mixture of logistics wound around a circle of so long a way around,

    .. math:: p(x | \theta) = \sum_k w_k \sum_{j = -\infty}^{\infty} l((x - \mu_k + j P) / s_k) / s_k,
              \qquad 0 \le x < P,

    whose density is the same on both sides of 0, or on a lattice the probability of what is within half a step. theta is
    that of `Logistics`, with scales below P / 6, at which a component covers the circle nearly evenly. `below` and
    `quantile` count from 0; `mean` is the direction of the mean vector (the circular mean). A network reads sines and
    cosines.
    Source: Mardia and Jupp, Directional Statistics, 2000, section 3.5.7 (wrapped distributions).

    Args:
        period: P.
        step: of a lattice from 0 on, which it divides; None for a density.
        components: how many.
        harmonics: how many sines, and as many cosines.

    Raises:
        ValueError: a period that is no multiple of the step.

    Example:
        >>> import torch
        >>> from anabranch.families import Wrapped
        >>> wind = Wrapped(360.0, components=1)
        >>> theta = torch.tensor([0.0, 0.0, 2.0])  # from the north
        >>> wind.log_prob(torch.tensor([0.0, 5.0, 355.0]), theta.expand(3, 3)).exp()
        tensor([0.0338, 0.0302, 0.0302])
    """

    def __init__(
        self, period: float = 2 * math.pi, step: float | None = None, components: int = 8, harmonics: int = 4
    ) -> None:
        self.components = positive_int("components", components)
        self.harmonics = positive_int("harmonics", harmonics)
        super().__init__(3 * self.components, 2 * self.harmonics)
        self.period = positive("period", period)
        self.step = 0.0 if step is None else positive("step", step)
        self.count = round(self.period / self.step) if self.step else 0
        if self.step and abs(self.count * self.step - self.period) > 1e-9 * self.period:
            raise ValueError(f"step: expected one that divides the period, {self.period:g}, got {self.step:g}")
        self.discrete = self.step > 0

    def log_prob(self, x: Tensor, theta: Tensor) -> Tensor:
        log_w, loc, log_s = self._read(theta)
        if self.discrete:
            point = self._point(x)
            width = torch.full_like(point, self.step)
            # the cell's place as seen from each component, at most half a circle away
            low = self._near(point.unsqueeze(-1) - loc) - 0.5 * self.step
            inside = self._between(low, low + self.step, width.unsqueeze(-1), log_s)
            log_p = torch.logsumexp(log_w + inside, dim=-1)
            return torch.where(x.isnan(), torch.nan, torch.where(self.contains(x), log_p, -torch.inf))
        turns = self._turns(x)
        t = (self._near(x.unsqueeze(-1) - loc).unsqueeze(-1) + turns) * (-log_s).exp().unsqueeze(-1)
        around = torch.logsumexp(-t - 2 * softplus(-t), dim=-1)
        log_p = torch.logsumexp(log_w + around - log_s, dim=-1)
        return torch.where(self.contains(x) | x.isnan(), log_p, -torch.inf)

    def contains(self, x: Tensor) -> Tensor:
        digit = 4 * torch.finfo(x.dtype).eps * self.period
        inside = (x >= -digit) & (x <= self.period + digit)
        if not self.discrete:
            return inside
        off = (x - self.step * torch.round(x / self.step)).abs()
        return inside & (off <= _NEAR * self.step + digit) & (x < self.period - 0.5 * self.step)

    def nearest(self, x: Tensor) -> Tensor:
        return self._point(x) if self.discrete else torch.full_like(x, torch.nan)

    def ends(self) -> tuple[float, float]:
        return 0.0, self.step * (self.count - 1) if self.discrete else self.period

    def sample(self, theta: Tensor) -> Tensor:
        log_w, loc, log_s = self._read(theta)
        chosen = draw_levels(log_w).unsqueeze(-1)
        u = torch.rand_like(loc[..., 0])
        u = u.clamp(torch.finfo(u.dtype).eps / 4, 1 - torch.finfo(u.dtype).eps / 2)
        x = loc.gather(-1, chosen).squeeze(-1) + log_s.gather(-1, chosen).squeeze(-1).exp() * torch.logit(u)
        return self._point(x) if self.discrete else self._reduced(x)

    def below(self, x: Tensor, theta: Tensor) -> tuple[Tensor, Tensor]:
        if not self.discrete:
            p = self._way(x, 0.0, theta)
            return p, p
        # from the first cell on, half of which lies before 0
        n = torch.round(x / self.step).clamp(-1, self.count)
        first = -0.5 * self.step
        left, right = (self._way(first + self.step * k.clamp(0, self.count), first, theta) for k in (n, n + 1))
        return left, right

    def quantile(self, u: Tensor, theta: Tensor) -> Tensor:
        shape = torch.broadcast_shapes(u.shape, theta.shape[:-1])
        first = -0.5 * self.step  # 0 of a density
        low = torch.full(shape, first, dtype=theta.dtype, device=theta.device)
        theta = theta.expand(*shape, -1).reshape(-1, theta.shape[-1])
        ends = low.reshape(-1), (low + self.period).reshape(-1)
        x = least_at(lambda x, rows: self._way(x, first, theta[rows]), u.expand(shape).reshape(-1), *ends).reshape(
            shape
        )
        if not self.discrete:
            return x.clamp(0.0, self._last(x))
        return self.step * torch.round(x / self.step).clamp(0, self.count - 1)

    def mean(self, theta: Tensor) -> Tensor:
        """The direction of the mean vector: of e^{i tau X} a logistic has e^{i tau mu} pi s tau / sinh(pi s tau)."""
        log_w, loc, log_s = self._read(theta)
        tau = 2 * math.pi / self.period
        t = math.pi * tau * log_s.exp()
        length = log_w.exp() * t / torch.sinh(t)
        angle = torch.atan2((length * (tau * loc).sin()).sum(dim=-1), (length * (tau * loc).cos()).sum(dim=-1))
        return self._reduced(angle / tau)

    def features(self, x: Tensor) -> Tensor:
        order = torch.arange(1, self.harmonics + 1, dtype=x.dtype, device=x.device)
        # what cannot be has probability 0 by itself; read as it is, an infinity would make NaN of other positions
        angle = (2 * math.pi / self.period) * torch.where(x.isinf(), 0.0, x).unsqueeze(-1) * order
        return torch.cat([angle.cos(), angle.sin()], dim=-1)

    def start(self, x: Tensor) -> Tensor:
        k = self.components
        angle = (2 * math.pi / self.period) * x
        mean = torch.atan2(angle.sin().mean(), angle.cos().mean()) * (self.period / (2 * math.pi))
        # a line from the other side of the circle
        way = self._near(x - mean)
        loc = mean + quantiles_of(way, (torch.arange(k, device=x.device) + 0.5) / k)
        spread = way.std(correction=0) if len(way) > 1 else way.new_ones(())
        scale = (min(2 / k, math.sqrt(3) / math.pi) * spread).clamp(1e-3 * self.period, 0.5 * _WIDEST * self.period)
        return torch.cat([torch.zeros_like(loc), loc, scale.log().expand(k)])

    def _read(self, theta: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        most = torch.tensor(math.log(_WIDEST * self.period), dtype=theta.dtype, device=theta.device)
        return read_mixture(theta, most)

    def _turns(self, like: Tensor, more: int = 0) -> Tensor:
        n = torch.arange(-_TIMES_AROUND - more, _TIMES_AROUND + more + 1, dtype=like.dtype, device=like.device)
        return n * self.period

    def _near(self, d: Tensor) -> Tensor:
        """A distance as at most half a circle either way."""
        return d - self.period * torch.round(d / self.period)

    def _reduced(self, x: Tensor) -> Tensor:
        x = torch.remainder(x, self.period)
        return x.clamp(0.0, self._last(x))

    def _last(self, like: Tensor) -> float:
        """The last number before a whole turn."""
        whole = torch.tensor(self.period, dtype=like.dtype)
        return float(torch.nextafter(whole, torch.zeros_like(whole)))

    def _point(self, x: Tensor) -> Tensor:
        return self.step * torch.remainder(torch.round(x / self.step), self.count)

    def _between(self, low: Tensor, high: Tensor, width: Tensor, log_s: Tensor) -> Tensor:
        """log P of each component around the circle between places seen from it, (*batch, components)."""
        turns = self._turns(log_s)
        inside = log_between(
            (low.unsqueeze(-1) + turns),
            (high.unsqueeze(-1) + turns),
            width.unsqueeze(-1).expand(*low.shape, len(turns)),
            log_s.new_zeros(()),
            (-log_s).exp().unsqueeze(-1).unsqueeze(-1),
        )
        return torch.logsumexp(inside.squeeze(-1), dim=-1)

    def _way(self, x: Tensor, first: float, theta: Tensor) -> Tensor:
        """P of what lies from `first` to x, at most a period further."""
        log_w, loc, log_s = self._read(theta)
        way = (x.unsqueeze(-1) - first).clamp(0, self.period)
        begin = self._near(first - loc)
        s = log_s.exp()
        turns = self._turns(theta, more=1)  # x may be a period further away
        right = torch.sigmoid(((begin + way).unsqueeze(-1) + turns) / s.unsqueeze(-1))
        left = torch.sigmoid((begin.unsqueeze(-1) + turns) / s.unsqueeze(-1))
        return (log_w.exp() * (right - left).sum(dim=-1)).sum(dim=-1).clamp(0, 1)
