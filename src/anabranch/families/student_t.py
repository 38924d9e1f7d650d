"""Student's t distributions."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.distributions import Gamma

from anabranch.families.family import Family, quantiles_of


class StudentT(Family):
    r"""Student's t with nu degrees of freedom: tails that fall like |x|^{-nu - 1}. theta holds mu, log sigma and log nu.

    .. math:: p(x) \propto \frac{1}{\sigma} \left(1 + \frac{(x - \mu)^2}{\nu \sigma^2}\right)^{-(\nu + 1) / 2}

    Its distribution function and quantiles are computed on the CPU in float64 (scipy), without gradients.

    Example:
        >>> import torch
        >>> from anabranch.families import StudentT
        >>> StudentT().below(torch.tensor(0.0), torch.tensor([0.0, 0.0, 1.0]))[0]
        tensor(0.5000)
    """

    reparameterized = True

    def __init__(self) -> None:
        super().__init__(parameters=3, inputs=1)

    def log_prob(self, x: Tensor, theta: Tensor) -> Tensor:
        # torch.distributions has the same numbers, but for a batch with a NaN, of which it takes no row
        loc, log_scale, log_df = theta.unbind(dim=-1)
        df, t = log_df.exp(), (x - loc) / log_scale.exp()
        log_z = log_scale + 0.5 * (log_df + math.log(math.pi)) + torch.lgamma(0.5 * df) - torch.lgamma(0.5 * (df + 1))
        return -0.5 * (df + 1) * torch.log1p(t.square() / df) - log_z

    def sample(self, theta: Tensor) -> Tensor:
        loc, log_scale, log_df = theta.unbind(dim=-1)
        df, normal = log_df.exp(), torch.randn_like(loc)
        chi_squared = Gamma(0.5 * df, torch.full_like(df, 0.5), validate_args=False).rsample()
        return loc + log_scale.exp() * normal * torch.rsqrt(chi_squared / df)

    def below(self, x: Tensor, theta: Tensor) -> tuple[Tensor, Tensor]:
        from scipy import stats  # noqa: PLC0415 (slow to import)

        df, loc, scale = _numbers(theta)
        p = torch.as_tensor(stats.t.cdf(x.detach().double().cpu().numpy(), df, loc, scale)).to(theta)
        return p, p

    def quantile(self, u: Tensor, theta: Tensor) -> Tensor:
        from scipy import stats  # noqa: PLC0415 (slow to import)

        df, loc, scale = _numbers(theta)
        return torch.as_tensor(stats.t.ppf(u.detach().double().cpu().numpy(), df, loc, scale)).to(theta)

    def mean(self, theta: Tensor) -> Tensor:
        return torch.where(theta[..., 2] > 0, theta[..., 0], torch.nan)

    def variance(self, theta: Tensor) -> Tensor:
        """Infinite for degrees of freedom from 1 to 2, NaN below."""
        df, scale = theta[..., 2].exp(), theta[..., 1].exp()
        finite = scale.square() * df / (df - 2).clamp(min=torch.finfo(df.dtype).tiny)
        return torch.where(df > 2, finite, torch.where(df > 1, torch.inf, torch.nan).to(finite))

    def features(self, x: Tensor) -> Tensor:
        return x.unsqueeze(-1)

    def start(self, x: Tensor) -> Tensor:
        low, middle, high = quantiles_of(x, torch.tensor([0.25, 0.5, 0.75], device=x.device))
        # the quartiles of a t with 4 degrees of freedom lie at +-0.741
        scale = ((high - low) / (2 * 0.741)).clamp(min=torch.finfo(x.dtype).eps * (1 + middle.abs()))
        return torch.stack([middle, scale.log(), x.new_tensor(4.0).log()])


def _numbers(theta: Tensor) -> tuple[object, object, object]:
    loc, log_scale, log_df = theta.detach().double().cpu().unbind(dim=-1)
    return log_df.exp().numpy(), loc.numpy(), log_scale.exp().numpy()
