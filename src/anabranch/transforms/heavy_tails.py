"""A first layer that turns heavy tails of data into normal tails of noise."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from anabranch.checks import finite_rows, positive_int
from anabranch.transforms.pareto_tails import ParetoTails, raw_index, raw_ratio, raw_scale
from anabranch.transforms.standardise import place_of
from anabranch.transforms.transform import Transform

# a side's tail is the largest m^(2/3) of its m values, but no more than a fifth of them, and no fewer than these
_POWER, _MOST_SHARE, _LEAST = 2 / 3, 0.2, 8
_LIGHTEST, _HEAVIEST = 0.05, 3.0
# -log erfc(z / sqrt 2) of one and of two deviations, and the share of a side that lies further out than two
_ONE, _TWO = (-math.log(math.erfc(z * math.sqrt(0.5))) for z in (1, 2))
_SHARE_OF_TWO = math.erfc(math.sqrt(2))
_SLOPE = math.sqrt(2 / math.pi)
# rho starts within these, and at 1 where the second quantile lies below this, in units of t
_RATIOS, _NEAREST = (0.2, 5.0), 0.1


class HeavyTails(Transform):
    r"""z_i = g(x_i; theta_i), where g is `ParetoTails`: heavy tails of x become normal tails of z.

    The layer belongs next to the data, where `flows.nsf(features, tails="heavy")` puts it. Later layers that are linear far
    out keep normal tails normal. Draws then have heavy tails, with a trained index for each side of each feature.

    `initialize` sets the parameters from rows. `fit` calls it with the first batch; call it with all rows before a fit for a
    better start. It sets mu to the median, and the scales so that the quantiles of one and of two deviations come to z = 1
    and 2. It sets the index of each side to the moment estimator of the k largest distances X_(1) >= ... >= X_(k) from mu,

    .. math:: \hat\lambda = M_1 + 1 - \frac{1}{2 (1 - M_1^2 / M_2)}, \quad
              M_r = \frac1k \sum_{i \le k} (\log X_{(i)} - \log X_{(k+1)})^r,

    within [0.05, 3]. (Hill's estimator is the first term alone; it calls a normal tail heavy.) Before `initialize`, all
    parameters are 0.

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

    _apart = True

    def __init__(self, features: int) -> None:
        super().__init__((positive_int("features", features),))
        self.univariate = ParetoTails()
        self.theta = nn.Parameter(torch.zeros(features, self.univariate.size))
        self.register_buffer("initialized", torch.tensor(False))

    def indices(self) -> Tensor:
        """The tail indices lambda, (features, 2): of the lower side and of the upper one."""
        return self.univariate.indices(self.theta.detach())

    def initialize(self, x: Tensor, context: Tensor | None = None) -> None:
        """Set the parameters from rows x; a second call changes nothing.

        Raises:
            ValueError: no row, or a number that is not finite, which the tails would be estimated from.
        """
        if bool(self.get_buffer("initialized")):
            return
        rows = x.detach().reshape(-1, x.shape[-1])
        finite_rows("x", rows)
        loc, scale = place_of(rows)
        both = [_side(sign * (rows - loc)) for sign in (-1, 1)]
        # v of one and of two deviations, in units of x
        near = torch.stack([torch.expm1(index * _ONE) / (index * _SLOPE) for index, _ in both]).mean(dim=0) / scale
        raw = [loc, raw_scale(near.log())]
        for index, further in both:
            wanted, t = torch.expm1(index * _TWO) / (index * _SLOPE), further * near
            ratio = 1 + (wanted - t) / (torch.hypot(t, torch.ones_like(t)) - 1)
            raw.append(raw_ratio(torch.where(t > _NEAREST, ratio, 1.0).clamp(*_RATIOS)))
        raw += [raw_index(index) for index, _ in both]
        with torch.no_grad():
            self.theta.copy_(torch.stack(raw, dim=-1))
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


def _side(distances: Tensor) -> tuple[Tensor, Tensor]:
    """Two numbers for each feature, (features) each, by the distances (n, features) above 0.

    The first is the tail index. The second is the distance beyond which the share 0.0455 of them lies, as beyond two
    deviations of a normal.
    """
    found = [_index_of_tail(column[column > 0].sort(descending=True).values) for column in distances.unbind(-1)]
    index, further = zip(*found, strict=True)
    return torch.stack(index), torch.stack(further)


def _index_of_tail(ordered: Tensor) -> tuple[Tensor, Tensor]:
    """The moment estimator of the tail of values (m), largest first, and the value beyond which the share 0.0455 lies.

    Where the values are too few, the index is the lightest one, and the value is 0.
    """
    lightest = ordered.new_tensor(_LIGHTEST)
    k = int(min(len(ordered) ** _POWER, _MOST_SHARE * len(ordered)))
    if k < _LEAST:
        return lightest, ordered.new_zeros(())
    logs = (ordered[:k] / ordered[k]).log()
    first, second = logs.mean(), logs.square().mean()
    index = first + 1 - 0.5 / (1 - first.square() / second)
    # equal values have no spread, and no estimate
    index = torch.where(index.isfinite(), index, lightest).clamp(_LIGHTEST, _HEAVIEST)
    return index, ordered[round(_SHARE_OF_TWO * len(ordered))]
