"""A first layer that takes tails of any weight, and gives them back."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from anabranch.checks import positive_int
from anabranch.transforms.pareto_tails import ParetoTails, raw_index
from anabranch.transforms.standardise import place_of
from anabranch.transforms.transform import Transform

# a side's tail is the largest m^(2/3) of its m values, but no more than a fifth of them, and no fewer than these
_POWER, _MOST_SHARE, _LEAST = 2 / 3, 0.2, 8
_LIGHTEST, _HEAVIEST = 0.05, 3.0
# -log erfc(1 / sqrt 2), of one deviation
_ONE = -math.log(math.erfc(math.sqrt(0.5)))
_SLOPE = math.sqrt(2 / math.pi)


class HeavyTails(Transform):
    r"""z_i = g(x_i; mu_i, a_i, lambda_i-, lambda_i+), `ParetoTails` of every feature: heavy tails of x are normal ones of z.

    It stands nearest to the data, `flows.nsf(features, tails="heavy")` puts it there: what follows is linear far out, which
    leaves normal tails normal, and what is drawn has tails whose indices are trained, on either side of each feature.

    `initialize` (`fit` calls it with the first batch) starts the parameters: mu at the median, the scale where half of the
    distance of the quantiles of a deviation from there makes z = 1, and the indices by the moment estimator of the largest
    k distances X_(1) >= ... >= X_(k) from mu on either side,

    .. math:: \hat\lambda = M_1 + 1 - \frac{1}{2 (1 - M_1^2 / M_2)}, \quad
              M_r = \frac1k \sum_{i \le k} (\log X_{(i)} - \log X_{(k+1)})^r,

    within [0.05, 3]. Hill's estimator is its first term alone, which calls a normal tail heavy. Until then it is
    `ParetoTails` with parameters 0.

    Source: Hickling and Prangle, 2024, arXiv:2406.16971; Dekkers, Einmahl and de Haan, 1989, Annals of Statistics 17 (the
    estimator).

    Args:
        features: number of features.

    Example:
        >>> import torch
        >>> from anabranch.transforms import HeavyTails
        >>> generator = torch.Generator().manual_seed(0)
        >>> x = (1 - torch.rand(20_000, 1, generator=generator)) ** -0.5  # Pareto, index 1/2
        >>> layer = HeavyTails(1)
        >>> layer.initialize(x)
        >>> 0.4 < float(layer.indices()[0, 1]) < 0.6
        True
    """

    def __init__(self, features: int) -> None:
        super().__init__((positive_int("features", features),))
        self.univariate = ParetoTails()
        self.theta = nn.Parameter(torch.zeros(features, 4))
        self.register_buffer("initialized", torch.tensor(False))

    def indices(self) -> Tensor:
        """The tail indices lambda, (features, 2): of the lower side and of the upper one."""
        return self.univariate.indices(self.theta.detach())

    def initialize(self, x: Tensor, context: Tensor | None = None) -> None:
        """Start at what all rows of x say; a second call changes nothing."""
        if bool(self.get_buffer("initialized")):
            return
        rows = x.detach().reshape(-1, x.shape[-1])
        loc, scale = place_of(rows)
        distances = rows - loc
        indices = torch.stack(
            [_index_of_tail(sign * distances[:, i]) for i in range(rows.shape[1]) for sign in (-1, 1)]
        ).reshape(-1, 2)
        mean = indices.mean(dim=-1)
        log_scale = (torch.expm1(mean * _ONE) / (mean * _SLOPE)).log() - scale.log()
        with torch.no_grad():
            raw = raw_index(indices)
            self.theta.copy_(torch.stack([loc, log_scale, raw[:, 0], raw[:, 1]], dim=-1))
            self.get_buffer("initialized").fill_(True)

    def on_columns(self, columns: list[int], context: Tensor | None) -> tuple[HeavyTails | None, list[int]]:
        """A copy for these features."""
        if not columns:
            return None, columns
        part = HeavyTails(len(columns)).to(self.theta)
        with torch.no_grad():
            part.theta.copy_(self.theta[columns])
            part.get_buffer("initialized").fill_(True)
        return part, columns

    def _forward(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        z, log_derivative = self.univariate(x, self.theta)
        return z, log_derivative.sum(dim=-1)

    def _inverse(self, z: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        x, log_derivative = self.univariate.inverse(z, self.theta)
        return x, log_derivative.sum(dim=-1)


def _index_of_tail(distances: Tensor) -> Tensor:
    """The moment estimator of the upper tail of distances (n), of those above 0; the lightest where they are too few."""
    ordered = distances[distances > 0].sort(descending=True).values
    k = int(min(len(ordered) ** _POWER, _MOST_SHARE * len(ordered)))
    if k < _LEAST:
        return distances.new_tensor(_LIGHTEST)
    logs = (ordered[:k] / ordered[k]).log()
    first, second = logs.mean(), logs.square().mean()
    index = first + 1 - 0.5 / (1 - first.square() / second)
    # equal values have no spread, and no estimate
    return torch.where(index.isfinite(), index, _LIGHTEST).clamp(_LIGHTEST, _HEAVIEST)
