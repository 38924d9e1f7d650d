"""An affine map for each component of a mixture."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from anabranch.densities.gaussian import lower_factor, pack_factor
from anabranch.transforms.standardise import off_standard, place_of


class Heads(nn.Module):
    r"""u_k = L_k^{-1} (x - m_k) for each of K components, with L_k lower triangular: the place, size and tilt of each.

    Args:
        components: K.
        features: of x.
        full: whether L_k has entries below its diagonal.
    """

    def __init__(self, components: int, features: int, full: bool) -> None:
        super().__init__()
        self.loc = nn.Parameter(torch.zeros(components, features))
        self.log_scale = nn.Parameter(torch.zeros(components, features))
        below = features * (features - 1) // 2
        self.packed = nn.Parameter(torch.zeros(components, below)) if full else None

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """u (K, *batch, features), and log |det du_k/dx| (K)."""
        single = (1,) * (x.dim() - 1)
        loc = self.loc.reshape(len(self.loc), *single, -1)
        log_det = -self.log_scale.sum(dim=-1)
        if self.packed is None:
            return (x - loc) * (-self.log_scale).exp().reshape(loc.shape), log_det
        lower = lower_factor(self.log_scale, self.packed)
        identity = torch.eye(x.shape[-1], dtype=x.dtype, device=x.device)
        whiten = torch.linalg.solve_triangular(lower, identity, upper=False)
        return torch.einsum("kij,k...j->k...i", whiten, x - loc), log_det

    def inverse(self, u: Tensor, component: Tensor) -> Tensor:
        """x (n, features) for u (n, features) of the components numbered (n)."""
        if self.packed is None:
            return self.loc[component] + u * self.log_scale[component].exp()
        lower = lower_factor(self.log_scale, self.packed)[component]
        return self.loc[component] + torch.einsum("nij,nj->ni", lower, u)

    def own_parameters(self) -> int:
        """How many trained numbers each component has here."""
        return sum(p[0].numel() for p in self.parameters() if p.requires_grad)

    def standardise(self, x: Tensor, responsibilities: Tensor, shrink: float = 0.1) -> None:
        """Set the heads so that each one's rows have mean 0 and covariance 1.

        Args:
            x: (rows, features).
            responsibilities: (rows, K), the share of each component in each row.
            shrink: how much of the diagonal of the covariance of all rows goes into each component's: one with hardly more
                rows than features has none of its own.
        """
        with torch.no_grad():
            total = responsibilities.sum(dim=0).clamp(min=1e-6)
            loc = (responsibilities.mT @ x) / total.unsqueeze(-1)
            # a column that never changes is given a width, or no gradient through its scale is finite
            least = (1e-3 * x.mean(dim=0).abs().clamp(min=1)).square()
            spread = torch.maximum(x.var(dim=0, correction=0), least)
            self.loc.copy_(loc)
            for k in range(len(loc)):
                d = x - loc[k]
                covariance = (d * responsibilities[:, k : k + 1]).mT @ d / total[k]
                # few rows say little of a covariance: the more features, the more it is drawn to that of all rows
                weight = shrink + (1 - shrink) * x.shape[1] / (x.shape[1] + float(total[k]))
                covariance = (1 - weight) * covariance + weight * torch.diag(0.3 * spread) + 1e-6 * torch.diag(spread)
                if self.packed is None:
                    self.log_scale[k] = 0.5 * torch.diagonal(covariance).log()
                    continue
                self.log_scale[k], self.packed[k] = pack_factor(torch.linalg.cholesky(covariance))

    def start(self, x: Tensor) -> None:
        """Put heads that are where they were made at the place of rows (rows, features) far from mean 0 and deviation 1."""
        if bool(self.loc.any()) or bool(self.log_scale.any()):
            return
        loc, scale = place_of(x)
        far = off_standard(loc, scale)
        with torch.no_grad():
            self.loc.copy_(torch.where(far, loc, 0.0).expand_as(self.loc))
            self.log_scale.copy_(torch.where(far, scale, 1.0).log().expand_as(self.log_scale))

    def follow(self, x: Tensor, before: Tensor, after: Tensor) -> None:
        r"""Move each component from the rows it had to those it has now, by the affine map that takes their mean and
        covariance to the new ones: whatever shape a component has behind its head is carried along.

        For a normal density behind an affine head, at its own fixed point, this is the M step of
        expectation-maximisation. A component with hardly a row stays where it is; heads of which a part is frozen all stay.

        Args:
            x: (rows, features).
            before, after: (rows, K), the share of each component in each row.
        """
        if not all(p.requires_grad for p in self.parameters()):
            return
        full = self.packed is not None
        with torch.no_grad():
            lower = self._lower().double()
            least = 1e-4 * x.double().var(dim=0, correction=0).clamp(min=1e-12)
            for k in range(len(self.loc)):
                if float(torch.minimum(before[:, k].sum(), after[:, k].sum())) <= x.shape[1]:
                    continue
                old, old_factor = _moments(x.double(), before[:, k], least, full)
                new, new_factor = _moments(x.double(), after[:, k], least, full)
                # new_factor old_factor^-1, of triangular factors, is triangular with a positive diagonal
                move = torch.linalg.solve_triangular(old_factor, new_factor, upper=False, left=False)
                self.loc[k] = new + move @ (self.loc[k].double() - old)
                log_scale, packed = pack_factor(move @ lower[k])
                self.log_scale[k] = log_scale
                if self.packed is not None:
                    self.packed[k] = packed

    def _lower(self) -> Tensor:
        if self.packed is None:
            return torch.diag_embed(self.log_scale.exp())
        return lower_factor(self.log_scale, self.packed)


def _moments(x: Tensor, share: Tensor, least: Tensor, full: bool) -> tuple[Tensor, Tensor]:
    """Mean (features) and lower factor of the covariance (features, features) of rows of which one has a share."""
    share = share.double().unsqueeze(-1) / share.double().sum()
    mean = (share * x).sum(dim=0)
    d = x - mean
    if not full:
        return mean, torch.diag_embed(((share * d.square()).sum(dim=0) + least).sqrt())
    return mean, torch.linalg.cholesky((share * d).mT @ d + torch.diag(least))
