"""Distribution functions of one number, and their inverses."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from anabranch.families.inversion import least_at
from anabranch.normal_cdf import normal_cdf

# relative to a value: what an inverse by iteration may be off
_OFF = 1e-6


@dataclass(frozen=True)
class DistributionFunction:
    """The distribution of one number, by functions of float64 on the CPU.

    Attributes:
        below: gives P(X < x) and P(X <= x) for x (n).
        quantile: gives, for u (n) within (0, 1), the smallest x with P(X <= x) >= u.
        nearest: gives the value nearest to x (n) that has a probability of its own; NaN where there is none.
    """

    below: Callable[[Tensor], tuple[Tensor, Tensor]]
    quantile: Callable[[Tensor], Tensor]
    nearest: Callable[[Tensor], Tensor] = lambda x: torch.full_like(x, torch.nan)

    @classmethod
    def continuous(cls, cdf: Callable[[Tensor], Tensor], quantile: Callable[[Tensor], Tensor]) -> DistributionFunction:
        """That of a density: no value has a probability of its own, so P(X < x) = P(X <= x)."""

        def below(x: Tensor) -> tuple[Tensor, Tensor]:
            p = cdf(x)
            return p, p

        return cls(below, quantile)

    @classmethod
    def of_sum(cls, log_weights: Tensor, parts: Sequence[DistributionFunction]) -> DistributionFunction:
        """That of a mixture, for log-weights (K): its quantiles lie between those of the components."""
        w = log_weights.detach().double().cpu().exp()

        def below(x: Tensor) -> tuple[Tensor, Tensor]:
            pairs = [part.below(x) for part in parts]
            return torch.stack([p for p, _ in pairs], -1) @ w, torch.stack([p for _, p in pairs], -1) @ w

        def quantile(u: Tensor) -> Tensor:
            each = torch.stack([part.quantile(u) for part in parts], dim=-1)
            found = least_at(lambda x, _: below(x)[1], u, each.amin(dim=-1), each.amax(dim=-1))
            for part in parts:
                point = part.nearest(found)
                near = (point - found).abs() <= _OFF * (1 + found.abs())
                found = torch.where(near & (below(point.nan_to_num())[1] >= u), point, found)
            return found

        def nearest(x: Tensor) -> Tensor:
            points = torch.stack([part.nearest(x) for part in parts])
            closest = (points - x).abs().nan_to_num(nan=torch.inf).argmin(dim=0, keepdim=True)
            return points.gather(0, closest).squeeze(0)

        return cls(below, quantile, nearest)

    @classmethod
    def of_gaussians(cls, logits: Tensor, loc: Tensor, log_scale: Tensor) -> DistributionFunction:
        """That of a mixture of normal distributions with weights softmax(logits), all (K)."""
        logits, loc, log_scale = (one.detach().double().cpu() for one in (logits, loc, log_scale))
        w, scale = logits.softmax(dim=-1), log_scale.exp()

        def cdf(x: Tensor) -> Tensor:
            return normal_cdf((x.unsqueeze(-1) - loc) / scale) @ w

        def quantile(u: Tensor) -> Tensor:
            each = loc + scale * torch.special.ndtri(u).unsqueeze(-1)
            return least_at(lambda x, _: cdf(x), u, each.amin(dim=-1), each.amax(dim=-1))

        return cls.continuous(cdf, quantile)
