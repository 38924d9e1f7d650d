"""A mixture with heavy tails that stands in for a density: from it come the proposals of importance sampling."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from anabranch.densities import Density
from anabranch.densities.gaussian import lower_factor
from anabranch.draws import drawing
from anabranch.queries.columns import others
from anabranch.torch_internals import standard_gamma
from anabranch.training.baseline import choose_gaussian_mixture

_DRAWS = 4096
_SIZES = (1, 4, 16)
# of the components, and of the one that covers all draws in case the others do not
_DF = 6.0
_COVER = 0.05
_UNSEEN = 1e-6


@dataclass
class StudentMixture:
    r"""q(x) = sum_k w_k t_nu(x_C; mu_k, S_k) prod_j q_kj(x_j), of continuous columns C and discrete ones j.

    The conditionals of a multivariate Student t are Student t again, with heavier scales the farther out the observed
    values lie (Ding, 2016, "On the conditional distribution of the multivariate t distribution", arXiv:1604.00561):

    .. math:: x_H \mid x_O \sim t_{\nu + |O|}\Big(\mu_H + S_{HO} S_{OO}^{-1} (x_O - \mu_O),\;
              \tfrac{\nu + m}{\nu + |O|} (S_{HH} - S_{HO} S_{OO}^{-1} S_{OH})\Big),
              \quad m = (x_O - \mu_O)^T S_{OO}^{-1} (x_O - \mu_O).

    Attributes:
        features: how many columns there are.
        continuous: which are continuous.
        log_w: (K).
        loc, scale: mu (K, C) and S (K, C, C).
        levels: of each discrete column the values it can take (n).
        log_p: of each discrete column the logarithms of q_kj, (K, n).
    """

    features: int
    continuous: list[int]
    log_w: Tensor
    loc: Tensor
    scale: Tensor
    levels: dict[int, Tensor]
    log_p: dict[int, Tensor]

    @classmethod
    def of(cls, density: Density, seed: int) -> StudentMixture:
        """The one that fits draws from a density without a context: a Gaussian mixture by EM, with heavier tails."""
        with drawing(seed), torch.no_grad():
            x = density.sample((_DRAWS,)).detach()
        x = x[x.isfinite().all(dim=-1)].double().cpu()
        if len(x) < _DRAWS // 2:
            raise ValueError("density: expected finite samples, got NaN or infinity in most of them")
        discrete = discrete_columns(density, x)
        continuous = others(discrete, x.shape[1])
        # quartiles, for heavy tails; what lies too far out for them is for the component that covers all
        low, middle, high = x.quantile(torch.tensor([0.25, 0.5, 0.75], dtype=x.dtype), dim=0)
        spread = torch.where(high > low, (high - low) / 1.35, x.std(dim=0))
        spread = torch.where(spread > 0, spread, 1e-6 * (1 + middle.abs()))
        z = ((x - middle) / spread).clamp(-8, 8)
        jitter = torch.randn(z.shape, dtype=z.dtype, generator=torch.Generator().manual_seed(seed))
        z[:, discrete] += 0.1 * jitter[:, discrete]
        cut = 3 * len(z) // 4
        mixture = choose_gaussian_mixture(z[:cut].numpy(), z[cut:].numpy(), sizes=_SIZES, seed=seed)
        theta = mixture.theta(None)
        lower = lower_factor(theta["log_scale"], theta["packed"])
        covariance = (lower @ lower.mT)[:, continuous][:, :, continuous]
        d = spread[continuous]
        loc = middle[continuous] + d * theta["loc"][:, continuous]
        covariance = covariance * d.unsqueeze(-1) * d
        everything = torch.cov(z[:, continuous].mT).reshape(len(d), len(d)) * d.unsqueeze(-1) * d
        everything = everything + 1e-6 * torch.diag(d.square())
        share = mixture.responsibilities(z)
        share = torch.cat([share, torch.ones_like(share[:, :1])], dim=-1)
        levels, log_p = {}, {}
        for i in discrete:
            levels[i], which = x[:, i].unique(return_inverse=True)
            seen = torch.nn.functional.one_hot(which, len(levels[i])).double()
            overall = (seen.sum(dim=0) + 0.5) / (len(seen) + 0.5 * len(levels[i]))
            counts = share.mT @ seen
            smooth = (counts + 5 * overall) / (counts.sum(dim=-1, keepdim=True) + 5)
            log_p[i] = smooth.log()
        weights = torch.cat([theta["logits"].softmax(-1) * (1 - _COVER), theta["logits"].new_tensor([_COVER])])
        loc = torch.cat([loc, middle[continuous].unsqueeze(0)])
        scale = torch.cat([covariance, everything.unsqueeze(0)])
        return cls(x.shape[1], continuous, weights.log(), loc, scale, levels, log_p)

    def given(self, observed: Sequence[int], values: Tensor) -> StudentConditional:
        """q(x_rest | x_observed) at n rows of values (n, observed)."""
        return StudentConditional(self, list(observed), values)


class StudentConditional:
    """q(x_H | x_O) of a `StudentMixture` at n rows of observed values, H being all other columns in their order.

    Args:
        mixture: in float64.
        observed: O.
        values: (n, O), of the dtype and on the device that draws are to have.
    """

    def __init__(self, mixture: StudentMixture, observed: list[int], values: Tensor) -> None:
        self.hidden = others(observed, mixture.features)
        seen = [observed.index(i) for i in mixture.continuous if i in observed]
        o = [place for place, i in enumerate(mixture.continuous) if i in observed]
        h = [place for place, i in enumerate(mixture.continuous) if i not in observed]
        # where the continuous and the discrete ones are among the hidden columns
        self.smooth = [self.hidden.index(mixture.continuous[place]) for place in h]
        x = values.detach().double().cpu()
        s = mixture.scale
        joint = mixture.log_w.expand(len(x), -1)
        loc = mixture.loc[:, h].expand(len(x), *mixture.loc[:, h].shape)
        inner = s[:, h][:, :, h]
        heavier = torch.ones_like(joint)
        self.df = _DF + len(o)
        if o:
            a = torch.linalg.cholesky(s[:, o][:, :, o])
            # one small inverse for each component, not one solve for each row
            whiten = torch.linalg.solve_triangular(a, torch.eye(len(o), dtype=a.dtype), upper=False)
            y = torch.einsum("kij,nkj->nki", whiten, x[:, seen].unsqueeze(1) - mixture.loc[:, o])
            b = torch.linalg.solve_triangular(a, s[:, o][:, :, h], upper=False)
            m = y.square().sum(dim=-1)
            joint = joint + _log_student(m, a, _DF)
            loc = loc + torch.einsum("koh,nko->nkh", b, y)
            inner = inner - b.mT @ b
            heavier = ((_DF + m) / self.df).sqrt()
        for i in set(mixture.levels) & set(observed):
            column = x[:, observed.index(i)]
            same = column.unsqueeze(-1) == mixture.levels[i]
            log_p = mixture.log_p[i][:, same.long().argmax(dim=-1)].mT
            joint = joint + torch.where(same.any(dim=-1, keepdim=True), log_p, math.log(_UNSEEN))
        like = values.detach()
        diagonal = torch.diag_embed(torch.diagonal(inner, dim1=-2, dim2=-1))
        factor = torch.linalg.cholesky(inner + 1e-8 * diagonal) if h else inner
        self.log_w = joint.log_softmax(dim=-1).to(like)
        self.loc, self.heavier, self.factor = loc.to(like), heavier.to(like), factor.to(like)
        self.levels = {self.hidden.index(i): v.to(like) for i, v in mixture.levels.items() if i not in observed}
        self.log_p = {self.hidden.index(i): v.to(like) for i, v in mixture.log_p.items() if i not in observed}

    def draw(self, count: int, shared: bool = False) -> Tensor:
        """Draws (count, n, H); the random numbers behind them the same for all rows, if shared."""
        n, k = self.log_w.shape
        rows = 1 if shared else n
        like = self.log_w
        u = torch.rand(count, rows, 1, dtype=like.dtype, device=like.device)
        noise = torch.randn(count, rows, len(self.smooth), dtype=like.dtype, device=like.device)
        half = like.new_tensor(self.df / 2)
        chi = 2 * standard_gamma(half.expand(count, rows, 1))
        chosen = (self.log_w.exp().cumsum(dim=-1) < u).sum(dim=-1).clamp(max=k - 1)
        row = torch.arange(n, device=like.device).expand(count, n)
        x = like.new_zeros(count, n, len(self.hidden))
        if self.smooth:
            moved = torch.einsum("snij,snj->sni", self.factor[chosen], noise.expand(count, n, -1))
            tail = (self.df / chi).sqrt() * self.heavier[row, chosen].unsqueeze(-1)
            x[..., self.smooth] = self.loc[row, chosen] + tail * moved
        for i, values in self.levels.items():
            v = torch.rand(count, rows, 1, dtype=like.dtype, device=like.device)
            reached = self.log_p[i].exp().cumsum(dim=-1)[chosen] < v
            x[..., i] = values[reached.sum(dim=-1).clamp(max=len(values) - 1)]
        return x

    def log_prob(self, x: Tensor) -> Tensor:
        """log q of (count, n, H) or (n, H): one number for each row."""
        joint = self.log_w
        if self.smooth:
            d = x[..., self.smooth].unsqueeze(-2) - self.loc
            whiten = torch.linalg.solve_triangular(
                self.factor, torch.eye(len(self.smooth)).to(self.factor), upper=False
            )
            y = torch.einsum("kij,...kj->...ki", whiten, d) / self.heavier.unsqueeze(-1)
            each = _log_student(y.square().sum(dim=-1), self.factor, self.df)
            joint = joint + each - len(self.smooth) * self.heavier.log()
        for i, values in self.levels.items():
            same = x[..., i].unsqueeze(-1) == values
            log_p = self.log_p[i].mT[same.long().argmax(dim=-1)]
            joint = joint + torch.where(same.any(dim=-1, keepdim=True), log_p, -torch.inf)
        return torch.logsumexp(joint, dim=-1)


State = tuple[tuple[int, int, torch.dtype], ...]
_KNOWN: WeakKeyDictionary[Density, tuple[State, int, StudentMixture]] = WeakKeyDictionary()


def stand_in(density: Density, seed: int) -> StudentMixture:
    """The mixture that stands in for a density as it is now: kept as long as the density is, and stays what it is."""
    state = state_of(density)
    known = _KNOWN.get(density)
    if known is None or known[:2] != (state, seed):
        known = state, seed, StudentMixture.of(density, seed)
        _KNOWN[density] = known
    return known[2]


def state_of(density: Density) -> State:
    """What changes when a density's parameters or buffers do."""
    return tuple((t.data_ptr(), t._version, t.dtype) for t in (*density.parameters(), *density.buffers()))


def discrete_columns(density: Density, x: Tensor) -> list[int]:
    """The columns all of whose values repeat among draws (n, D) of a density that says it has some such."""
    if not density.support.is_discrete:
        return []
    return [i for i, column in enumerate(x.unbind(dim=-1)) if len(column.unique()) <= len(column) // 4]


def _log_student(m: Tensor, factor: Tensor, df: float) -> Tensor:
    """log t_df at squared distances m (..., K), for lower factors (K, d, d) of the scales."""
    d = factor.shape[-1]
    log_det = torch.diagonal(factor, dim1=-2, dim2=-1).log().sum(dim=-1)
    constant = math.lgamma((df + d) / 2) - math.lgamma(df / 2) - 0.5 * d * math.log(df * math.pi)
    return constant - log_det - 0.5 * (df + d) * torch.log1p(m / df)
