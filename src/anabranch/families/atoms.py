"""A continuous distribution beside values that repeat."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from anabranch.checks import instance_of
from anabranch.families.draw_levels import draw_levels
from anabranch.families.family import Family
from anabranch.families.point_masses import PointMasses


class Atoms(Family):
    r"""Single values a_j that have a probability, such as a cap or a zero, beside a density of everything else:

    .. math:: p(x) = w_j \text{ at } x = a_j, \qquad p(x) = w_0\, p_0(x) \text{ elsewhere.}

    log_prob is the logarithm of a probability at an atom and of a density elsewhere: sums over atoms and integrals over the
    rest come to one together. Where p_0 itself is of probabilities (a `Lattice`), an atom has more than that would give it:
    p(a_j) = w_j + w_0 p_0(a_j).

    Args:
        inner: the family of p_0.
        values: the atoms, different from each other.

    Example:
        >>> import torch
        >>> from anabranch.families import Atoms, Logistics
        >>> family = Atoms(Logistics(1), [0.0])
        >>> theta = torch.zeros(5)  # one half at 0, one half a standard logistic
        >>> family.log_prob(torch.tensor([0.0, 1.0]), theta.expand(2, 5)).exp()
        tensor([0.5000, 0.0983])
    """

    def __init__(self, inner: Family, values: Sequence[float]) -> None:
        instance_of("inner", inner, Family)
        self.values = tuple(float(value) for value in values)
        if not self.values or len(set(self.values)) < len(self.values):
            raise ValueError(f"values: expected some, different from each other, got {self.values}")
        super().__init__(1 + len(self.values) + inner.parameters_of_one, 1 + len(self.values) + inner.inputs)
        self.inner = inner
        self.discrete = inner.discrete

    def log_prob(self, x: Tensor, theta: Tensor) -> Tensor:
        log_w, rest = self._read(theta)
        return atoms_log_prob(self._at(x), log_w, self.inner.log_prob(x, rest), self.inner.discrete)

    def contains(self, x: Tensor) -> Tensor:
        return self._at(x).any(dim=-1) | self.inner.contains(x)

    def nearest(self, x: Tensor) -> Tensor:
        values = self._tensor(x)
        atom = values[(x.unsqueeze(-1) - values).abs().argmin(dim=-1)]
        other = self.inner.nearest(x)
        return torch.where((other - x).abs() < (atom - x).abs(), other, atom)  # a NaN is no nearer

    def ends(self) -> tuple[float, float]:
        low, high = self.inner.ends()
        return min(low, *self.values), max(high, *self.values)

    def seen(self) -> tuple[float, float] | None:
        inner = self.inner.seen()
        return None if inner is None else (min(inner[0], *self.values), max(inner[1], *self.values))

    def point_masses(self, most: int, like: Tensor) -> PointMasses:
        return PointMasses(None if self.discrete else self._tensor(like), self.discrete)

    def sample(self, theta: Tensor) -> Tensor:
        log_w, rest = self._read(theta)
        chosen = draw_levels(log_w)
        drawn = self.inner.sample(rest)
        values = torch.cat([drawn.new_zeros(1), self._tensor(drawn)])
        return torch.where(chosen == 0, drawn, values[chosen])

    def below(self, x: Tensor, theta: Tensor) -> tuple[Tensor, Tensor]:
        log_w, rest = self._read(theta)
        w = log_w.exp()
        left, right = self.inner.below(x, rest)
        values = self._tensor(x)
        less = (w[..., 1:] * (values < x.unsqueeze(-1))).sum(dim=-1)
        here = (w[..., 1:] * (values == x.unsqueeze(-1))).sum(dim=-1)
        return w[..., 0] * left + less, w[..., 0] * right + less + here

    def quantile(self, u: Tensor, theta: Tensor) -> Tensor:
        log_w, rest = self._read(theta)
        w = log_w.exp()
        values, order = self._tensor(theta).sort()
        result = u.new_full(torch.broadcast_shapes(u.shape, theta.shape[:-1]), torch.nan)
        # walking up the atoms: what lies left of one, then its own (on a lattice with the inner family's share there)
        less = torch.zeros_like(result)
        open_ = torch.ones_like(result, dtype=torch.bool)
        for place, j in enumerate(order.tolist()):
            value = values[place].expand(result.shape)
            under, over = (w[..., 0] * p for p in self.inner.below(value, rest))
            before = open_ & (u <= under + less)
            result = torch.where(before, self._inner_quantile(u - less, w, rest), result)
            at = open_ & ~before & (u <= over + less + w[..., 1 + j])
            result = torch.where(at, value, result)
            open_ = open_ & ~before & ~at
            less = less + w[..., 1 + j]
        return torch.where(open_, self._inner_quantile(u - less, w, rest), result)

    def mean(self, theta: Tensor) -> Tensor:
        log_w, rest = self._read(theta)
        return log_w[..., 0].exp() * self.inner.mean(rest) + log_w[..., 1:].exp() @ self._tensor(theta)

    def features(self, x: Tensor) -> Tensor:
        at = self._at(x)
        off = ~at.any(dim=-1, keepdim=True)
        return torch.cat([off.to(x.dtype), at.to(x.dtype), self.inner.features(x)], dim=-1)

    def start(self, x: Tensor) -> Tensor:
        at = self._at(x)
        counts = torch.cat([(~at.any(dim=-1)).sum().unsqueeze(0), at.sum(dim=0)]).to(x)
        return torch.cat([((counts + 0.5) / (counts + 0.5).sum()).log(), self.inner.start(self._others(x))])

    def initialize(self, x: Tensor) -> None:
        # what a network reads of x shall tell atoms that lie near each other from those far apart
        self.inner.initialize(x)

    def _others(self, x: Tensor) -> Tensor:
        """The values that are no atoms; all, if there are hardly any."""
        others = x[~self._at(x).any(dim=-1)]
        return others if len(others) > 1 else x

    def _inner_quantile(self, mass: Tensor, w: Tensor, rest: Tensor) -> Tensor:
        eps = torch.finfo(mass.dtype).eps
        return self.inner.quantile((mass / w[..., 0].clamp(min=eps)).clamp(eps, 1 - eps), rest)

    def _read(self, theta: Tensor) -> tuple[Tensor, Tensor]:
        count = 1 + len(self.values)
        return theta[..., :count].log_softmax(dim=-1), theta[..., count:]

    def _at(self, x: Tensor) -> Tensor:
        return x.unsqueeze(-1) == self._tensor(x)

    def _tensor(self, like: Tensor) -> Tensor:
        return torch.tensor(self.values, dtype=like.dtype, device=like.device)


def atoms_log_prob(at: Tensor, log_w: Tensor, inner: Tensor, discrete: bool) -> Tensor:
    """log p, (*batch), from which atom x is at, (*batch, atoms), the log-weights (*batch, 1 + atoms) and log p_0(x)."""
    smooth = log_w[..., 0] + inner
    # where x is at no atom, a number that is not read, so that no infinity meets a gradient
    off = ~at.any(dim=-1)
    atom = torch.where(at | off.unsqueeze(-1), log_w[..., 1:], -torch.inf).amax(dim=-1)
    at_atom = torch.logaddexp(smooth, atom) if discrete else atom
    return torch.where(off, smooth, at_atom)
