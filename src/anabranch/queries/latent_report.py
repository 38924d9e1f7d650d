"""What a fitted model makes of its hidden variable: what it costs, what it tells, and how far the prior is off."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from anabranch.checks import instance_of, positive_int
from anabranch.densities.aggregated import information_of, shares_between
from anabranch.draws import drawing
from anabranch.models import LatentVariable
from anabranch.models.latent_variable import ACTIVE
from anabranch.queries.estimate import Estimate

# rows that are scored at a time
_ROWS = 1000


@dataclass(frozen=True)
class LatentReport:
    r"""Numbers of a latent-variable model at N rows, nats; each with its standard error over rows and draws.

    Attributes:
        rate: E[KL(q(z | x) || p(z))], what z costs. It is `information` plus `gap`.
        distortion: -E[log p(x | z)], what is left to tell of x when z is known. The negative sum of both is the lower bound.
        information: the mutual information of z and the row, at most log N. Where it is near log N, rows are told apart, and
            no more is known.
        gap: KL(q(z) || p(z)) of the aggregated posterior q(z) = 1/N \sum_n q(z | x_n) from the prior: where it is large the
            prior has mass where no row is (holes, from which samples look like no data), or rows are where it has none.
        shares: (numbers of z), the share of each one's variance that x explains.
        active: how many of these are above 0.01. A model of which none is has collapsed.

    The estimators: z_n is one draw of q(z | x_n) for each of the N rows, and information and gap are the means of
    log q(z_n | x_n) - log q(z_n) and log q(z_n) - log p(z_n), with q(z) summed over all N rows, exactly. That is unbiased
    for the aggregated posterior of these rows, not of all that could come. Where of the prior only a bound is known, the gap
    is at most this, in the mean.
    Source: Hoffman and Johnson, 2016, "ELBO surgery"; Alemi et al., 2018, arXiv:1711.00464 (rate and distortion); Burda et
    al., 2016, arXiv:1509.00519 (active units).
    """

    rate: Estimate
    distortion: Estimate
    information: Estimate
    gap: Estimate
    shares: Tensor

    @property
    def active(self) -> int:
        """How many numbers of z are in use."""
        return int((self.shares > ACTIVE).sum())

    @property
    def lower_bound(self) -> float:
        """-(rate + distortion)."""
        return -float(self.rate.value + self.distortion.value)

    def __str__(self) -> str:
        lines = [f"active   {self.active} of {len(self.shares)} latent numbers"]
        for name in ("rate", "distortion", "information", "gap"):
            estimate: Estimate = getattr(self, name)
            lines.append(f"{name:<12} {float(estimate.value):.3f} ± {float(estimate.standard_error):.3f} nats")
        return "\n".join(lines)


def latent_report(
    model: LatentVariable,
    x: Tensor | ArrayLike,
    context: Tensor | ArrayLike | None = None,
    *,
    rows: int = 1000,
    samples: int = 32,
    seed: int | None = None,
) -> LatentReport:
    """What a model makes of its hidden variable at rows x, so that collapse and holes are seen.

    Args:
        model: with any posterior. Where that scores z in many steps (inverse autoregressive flows), fewer rows save time:
            rows are taken in pairs.
        x: (rows, *event).
        context: (rows, *context), or None.
        rows: N, the first so many of x.
        samples: draws of each row, for the shares.
        seed: of the draws; by default torch's global generator goes on.

    Raises:
        ValueError: a model that is no `LatentVariable`; fewer than two rows; a NaN where that is no gap.

    Example:
        >>> import torch
        >>> from anabranch.queries import latent_report
        >>> from anabranch.testing import linear_gaussian
        >>> model = linear_gaussian()
        >>> report = latent_report(model, model.sample((500,), generator=0))
        >>> report.active, bool(abs(report.rate.value - report.information.value - report.gap.value) < 0.2)
        (1, True)
    """
    instance_of("model", model, LatentVariable)
    n, count = positive_int("rows", rows, least=2), positive_int("samples", samples, least=2)
    with torch.no_grad(), drawing(seed):
        x, context = model._checked(x, context)
        x, context = x[:n], None if context is None else context[:n]
        if len(x) < 2:
            raise ValueError(f"x: expected at least 2 rows, got {len(x)}")
        broken = x.flatten(1).isnan().any(dim=1).nonzero().flatten().tolist()
        if broken and not model.gaps:
            raise ValueError(f"x: expected no NaN, since the model takes none for a gap, got some in row {broken[0]}")
        pieces = [
            model._terms(some, None if context is None else context[i * _ROWS : (i + 1) * _ROWS])
            for i, some in enumerate(x.split(_ROWS))
        ]
        log_likelihood = torch.cat([piece[0] for piece in pieces])
        divergence = torch.cat([piece[1].sum(dim=-1) for piece in pieces])
        encoded = model.posterior_context(x, context)
        shares = shares_between(model.posterior, encoded, count)
        z, log_q, log_aggregated = information_of(model.posterior, encoded)
        of_prior = None if model.prior.context_shape is None else context
        log_prior = model.prior.lower_bound(z, of_prior)
    return LatentReport(
        _mean(divergence),
        _mean(-log_likelihood),
        _mean(log_q - log_aggregated),
        _mean(log_aggregated - log_prior),
        shares,
    )


def _mean(values: Tensor) -> Estimate:
    count = values.new_tensor(len(values))
    return Estimate(values.mean(), values.std() / count.sqrt(), count, exact=False)
