"""Chains that walk through what was not observed."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from anabranch.densities import Density
from anabranch.models.weighted_completions import resampled
from anabranch.queries.importance import Joint, mean_weight
from anabranch.queries.student_mixture import StudentMixture
from anabranch.transforms import Chain, Transform

_LEAPFROGS = 4
# moves from the stand-in in a sweep: they take a tenth of the time of the others
_PROPOSALS = 4
# of the draws from the stand-in as many are worth something: its proposals alone mix well
_GOOD_SHARE = 0.2


@dataclass
class Chains:
    """Where chains are: x_H (chains, n, H) at n rows, and log p(x_O, x_H) there (chains, n)."""

    x: Tensor
    log_p: Tensor


class Moves:
    r"""Metropolis moves that leave p(x_H | x_O = a) as it is, at n rows of observed values.

    One sweep is, one after the other,

    - four independence moves: x_H from the stand-in's q(x_H | a), whose draws also start the chains, by importance
      resampling;
    - in the noise space of a flow with a standard normal base, a step of the preconditioned Crank-Nicolson kind. The noise
      of a row needs all its columns, so the observed ones get a shadow y_O, drawn from q(y_O | x_H), and the state is
      z = f(y_O, x_H). With N(z) the base, p(a, x_H) q(y_O | x_H) |det dx/dz| / N(z) = p(a, x_H) q(y_O | x_H) / p(y_O, x_H),
      so z' = sqrt(1 - b^2) z + b noise is accepted with the ratio of that, and its shadow forgotten;
    - a Hamiltonian trajectory of x_H's continuous columns, four leapfrog steps, scaled by their covariance.

    Where a fifth of the stand-in's draws count, the first moves are enough, and the others are not made.
    Source: Cannella, Soltani and Tarokh, 2021, "Projected latent Markov chain Monte Carlo", arXiv:2007.06140 (shadows);
    Cotter et al., 2013, "MCMC methods for functions", arXiv:1202.0709 (Crank-Nicolson); Neal, 2011, arXiv:1206.1901.

    Args:
        joint: log p(x_O, x_H).
        mixture: the stand-in.
        values: a, (n, O).
    """

    def __init__(self, joint: Joint, mixture: StudentMixture, values: Tensor) -> None:
        self.joint = joint
        self.mixture = mixture
        self.values = values
        self.q = mixture.given(joint.observed, values)
        self.noise = noise_space(joint.density)
        self.log_step = math.log(0.6)
        self.log_angle = math.log(0.5)
        self.factor = torch.eye(len(self.q.smooth)).to(values)
        self.proposals_only = False
        self.accepted: dict[str, float] = {}

    def start(self, chains: int, samples: int) -> tuple[Chains, tuple[Tensor, Tensor, Tensor]]:
        """Chains by importance resampling, and log p(x_O) with its error and effective sample size, (n) each."""
        with torch.no_grad():
            x = self.q.draw(samples)
            log_p = self.joint.log_prob(self.values, x)
            log_w = log_p - self.q.log_prob(x)
            found = mean_weight(log_w)
            possible = found[2] > 0
            kept = resampled(torch.where(possible, log_w, 0.0), chains)
            self.proposals_only = bool((found[2][possible] > _GOOD_SHARE * samples).all()) or not self.q.smooth
            begun = Chains(x.gather(0, kept.unsqueeze(-1).expand(*kept.shape, x.shape[-1])), log_p.gather(0, kept))
        return begun, found

    def warm_up(self, chains: Chains, sweeps: int) -> Chains:
        """Sweeps after which the size of steps is found; from then on it stays."""
        for sweep in range(sweeps):
            # the covariance within rows; of all the chains of each
            if sweep in (0, sweeps // 2) and self.q.smooth and not self.proposals_only:
                self._precondition(chains.x[..., self.q.smooth])
            chains = self.sweep(chains)
            gain = 1.0 if sweep < sweeps // 2 else 0.3
            self.log_step += gain * (self.accepted.get("hamiltonian", 0.75) - 0.75)
            self.log_angle = min(0.0, self.log_angle + gain * (self.accepted.get("noise", 0.3) - 0.3))
        return chains

    def sweep(self, chains: Chains) -> Chains:
        """Some moves from the stand-in, and one of every other kind."""
        for _ in range(_PROPOSALS):
            chains = self._independent(chains)
        if self.proposals_only:
            return chains
        if self.noise is not None:
            chains = self._in_noise(chains, *self.noise)
        return self._hamiltonian(chains)

    def _independent(self, chains: Chains) -> Chains:
        with torch.no_grad():
            x = self.q.draw(len(chains.x))
            log_p = self.joint.log_prob(self.values, x)
            ratio = log_p - self.q.log_prob(x) - chains.log_p + self.q.log_prob(chains.x)
            return self._accept("independent", chains, x, log_p, ratio)

    def _in_noise(self, chains: Chains, transform: Transform, context: Tensor | None) -> Chains:
        with torch.no_grad():
            x = chains.x.reshape(-1, chains.x.shape[-1])
            shadow = self.mixture.given(self.joint.hidden, x)
            y = shadow.draw(1)[0]
            z, log_det = transform(self.joint.rows(y, x), context)
            weight = chains.log_p.flatten() + shadow.log_prob(y) - _standard(z) - log_det
            angle = math.exp(self.log_angle)
            moved = math.sqrt(1 - angle**2) * z + angle * torch.randn_like(z)
            full, log_det = transform.inverse(moved, context)
            new_y, new = full[:, self.joint.observed], full[:, self.joint.hidden]
            sound = full.isfinite().all(dim=-1, keepdim=True)
            new, new_y = torch.where(sound, new, x), torch.where(sound, new_y, y)
            log_p = self.joint.log_prob(self.values, new.reshape(chains.x.shape))
            of_shadow = self.mixture.given(self.joint.hidden, new).log_prob(new_y)
            ratio = log_p.flatten() + of_shadow - _standard(moved) + log_det - weight
            ratio = torch.where(sound.squeeze(-1), ratio, -torch.inf)
            return self._accept("noise", chains, new.reshape(chains.x.shape), log_p, ratio.reshape(log_p.shape))

    def _hamiltonian(self, chains: Chains) -> Chains:
        step = math.exp(self.log_step) * (0.8 + 0.4 * float(torch.rand(())))
        x, s = chains.x, self.q.smooth
        momentum = torch.randn_like(x[..., s])
        energy = 0.5 * momentum.square().sum(dim=-1)
        _, slope = self._slope(x)
        for _ in range(_LEAPFROGS):
            momentum = momentum + 0.5 * step * slope
            x = x.clone()
            x[..., s] = x[..., s] + step * momentum @ self.factor.mT
            log_p, slope = self._slope(x)
            momentum = momentum + 0.5 * step * slope
        ratio = log_p - chains.log_p + energy - 0.5 * momentum.square().sum(dim=-1)
        return self._accept("hamiltonian", chains, x, log_p, ratio)

    def _slope(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """log p and its gradient by the scaled continuous columns; none where it is not finite, outside the support."""
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            log_p = self.joint.log_prob(self.values, x)
            (gradient,) = torch.autograd.grad(log_p.sum(), x)
        slope = gradient[..., self.q.smooth] @ self.factor
        return log_p.detach(), torch.where(slope.isfinite().all(dim=-1, keepdim=True), slope, 0.0)

    def _accept(self, kind: str, chains: Chains, x: Tensor, log_p: Tensor, ratio: Tensor) -> Chains:
        # a NaN is never below anything: such a move is refused
        taken = torch.rand_like(ratio).log() < ratio
        self.accepted[kind] = float(taken.double().mean())
        return Chains(torch.where(taken.unsqueeze(-1), x, chains.x), torch.where(taken, log_p, chains.log_p))

    def _precondition(self, x: Tensor) -> None:
        """The mean over rows of the covariance between chains (chains, n, h)."""
        d = (x - x.mean(dim=0)).double()
        covariance = torch.einsum("cni,cnj->ij", d, d) / max(1, (len(x) - 1) * x.shape[1])
        diagonal = torch.diagonal(covariance)
        # few distinct chains say little of how columns go together, and nothing of those in which they agree
        least = torch.maximum(diagonal, 1e-6 * diagonal.max().clamp(min=1e-12))
        shrunk = 0.9 * covariance + torch.diag(0.1 * least + 1e-9 * least)
        self.factor = torch.linalg.cholesky(shrunk).to(x)


def noise_space(density: Density) -> tuple[Transform, Tensor | None] | None:
    """The transform (and its context) of a flow with a standard normal base that can be run both ways, or None."""
    found = density.noise_space(None)
    if found is None or not found[0]:
        return None
    transforms, context = found
    return (transforms[0] if len(transforms) == 1 else Chain(transforms)), context


def _standard(z: Tensor) -> Tensor:
    return -0.5 * z.square().sum(dim=-1) - 0.5 * z.shape[-1] * math.log(2 * math.pi)
