"""Distribution functions of one column, where they have a closed form."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from anabranch.densities import Bernoulli, Categorical, Density, GaussianMixture, Normal, StudentT, Uniform
from anabranch.draws import drawing
from anabranch.families import Family, Levels
from anabranch.families.inversion import least_at
from anabranch.models import AnyOrder, Flow, Subset
from anabranch.queries.at_context import AtContext, gaussian_mixture
from anabranch.queries.parts import parts_of
from anabranch.transforms import Permutation


@dataclass(frozen=True)
class Univariate:
    """The distribution of one number, in float64.

    Attributes:
        below: gives P(X < x) and P(X <= x) for x (n).
        quantile: gives, for u (n) within (0, 1), the smallest x with P(X <= x) >= u.
        nearest: gives the value nearest to x (n) that has a probability of its own; NaN where there is none.
    """

    below: Callable[[Tensor], tuple[Tensor, Tensor]]
    quantile: Callable[[Tensor], Tensor]
    nearest: Callable[[Tensor], Tensor] = lambda x: torch.full_like(x, torch.nan)


def univariate(density: Density) -> Univariate | None:
    """The distribution function of a density over one column, without a context; None where it has no closed form."""
    if density.event_shape != (1,):
        return None
    if isinstance(density, (Normal, GaussianMixture)):
        return _of_gaussians(gaussian_mixture(density).double())
    if isinstance(density, StudentT):
        return _of_student(density)
    if isinstance(density, Uniform):
        low, high = (density.get_buffer(name).double().cpu() for name in ("low", "high"))
        return Univariate(lambda x: _twice(((x - low) / (high - low)).clamp(0, 1)), lambda u: low + u * (high - low))
    if isinstance(density, (Bernoulli, Categorical)):
        logits = density.theta(None)["logits"].detach().double().cpu()
        if isinstance(density, Bernoulli):
            logits = torch.stack([torch.zeros_like(logits), logits], dim=-1)
        with drawing(0):  # what levels may draw for a network is not used
            family = Levels(logits.shape[-1])
        return _of_family(family, logits[0])
    if isinstance(density, Flow) and isinstance(density.transform, Permutation):
        return univariate(density.base)
    one = density.density if isinstance(density, AtContext) else density
    if isinstance(one, AnyOrder) or (isinstance(one, Subset) and one.closed):
        return _of_family(*family_of(density))
    if isinstance(one, Subset):
        return None
    apart = parts_of(density)
    if apart is None:
        return None
    parts, log_weights = apart
    found = [univariate(part) for part in parts]
    known = [part for part in found if part is not None]
    return _of_mixture(known, log_weights.exp().double().cpu()) if len(known) == len(parts) else None


def family_of(density: Density) -> tuple[Family, Tensor]:
    """The family of the only column of (a subset of) an `AnyOrder` model, and its parameters given what was observed."""
    context = density.context if isinstance(density, AtContext) else None
    one = density.density if isinstance(density, AtContext) else density
    with torch.no_grad():
        if isinstance(one, AnyOrder):
            x = one.network.heads.weight.new_full((1,), torch.nan)
            return one.family(0), one.parameters_given(x, 0, context)
        if not isinstance(one, Subset):
            raise ValueError(f"density: expected an AnyOrder or a Subset, got {type(one).__name__}")
        filled, own = one._filled(torch.Size(), context, one.model.network.heads.weight)
        return one.model.family(one.wanted[0]), one.model.parameters_given(filled, one.wanted[0], own)


def _of_gaussians(mixture: GaussianMixture) -> Univariate:
    theta = mixture.cpu().theta(None)
    w = torch.softmax(theta["logits"], dim=-1)
    loc, scale = theta["loc"][:, 0], theta["log_scale"][:, 0].exp()

    def below(x: Tensor) -> tuple[Tensor, Tensor]:
        return _twice(torch.special.ndtr((x.unsqueeze(-1) - loc) / scale) @ w)

    def ends(u: Tensor) -> tuple[Tensor, Tensor]:
        each = loc + scale * torch.special.ndtri(u).unsqueeze(-1)
        return each.amin(dim=-1), each.amax(dim=-1)

    return Univariate(below, lambda u: _between(below, u, *ends(u)))


def _of_student(density: StudentT) -> Univariate:
    from scipy import stats  # noqa: PLC0415 (slow to import)

    theta = {name: value.detach().double().cpu() for name, value in density.theta(None).items()}
    t = stats.t(theta["log_df"].exp().numpy(), theta["loc"].numpy(), theta["log_scale"].exp().numpy())
    return Univariate(lambda x: _twice(torch.as_tensor(t.cdf(x.numpy()))), lambda u: torch.as_tensor(t.ppf(u.numpy())))


def _of_family(family: Family, theta: Tensor) -> Univariate:
    theta = theta.detach()
    like = theta

    def read(x: Tensor) -> Tensor:
        return x.to(like)

    def below(x: Tensor) -> tuple[Tensor, Tensor]:
        with torch.no_grad():
            left, right = family.below(read(x), theta.expand(*x.shape, -1))
        ends = (x > 0).double()
        left, right = (torch.where(x.isinf(), ends, p.double().cpu()) for p in (left, right))
        return left, right

    def quantile(u: Tensor) -> Tensor:
        with torch.no_grad():
            return family.quantile(read(u), theta.expand(*u.shape, -1)).double().cpu()

    return Univariate(below, quantile, family.nearest)


def _of_mixture(parts: Sequence[Univariate], w: Tensor) -> Univariate:
    def below(x: Tensor) -> tuple[Tensor, Tensor]:
        pairs = [part.below(x) for part in parts]
        return torch.stack([p for p, _ in pairs], -1) @ w, torch.stack([p for _, p in pairs], -1) @ w

    def quantile(u: Tensor) -> Tensor:
        each = torch.stack([part.quantile(u) for part in parts], dim=-1)
        found = _between(below, u, each.amin(dim=-1), each.amax(dim=-1))
        for part in parts:
            point = part.nearest(found)
            near = (point - found).abs() <= 1e-6 * (1 + found.abs())
            found = torch.where(near & (below(point.nan_to_num())[1] >= u), point, found)
        return found

    def nearest(x: Tensor) -> Tensor:
        points = torch.stack([part.nearest(x) for part in parts])
        closest = (points - x).abs().nan_to_num(nan=torch.inf).argmin(dim=0, keepdim=True)
        return points.gather(0, closest).squeeze(0)

    return Univariate(below, quantile, nearest)


def _twice(p: Tensor) -> tuple[Tensor, Tensor]:
    """P(X < x) and P(X <= x) where no value has a probability of its own."""
    return p, p


def _between(below: Callable[[Tensor], tuple[Tensor, Tensor]], u: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """The quantile of a mixture, which lies between those of its components."""
    return least_at(lambda x, _: below(x)[1], u, low, high)
