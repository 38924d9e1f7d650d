"""Rows with importance weights, and what follows from them with its error."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from anabranch.densities.tails import judged_terms
from anabranch.queries.estimate import Estimate
from anabranch.queries.provenance import Provenance

# relative errors below this are the rounding of float32
_ROUNDING = 1e-6
# what fewer rows agree on is not certain
_LEAST_EFFECTIVE = 10.0


@dataclass(frozen=True)
class WeightedRows:
    r"""Draws of p(x | points) as weighted rows:

    .. math:: p(\text{points}) \approx \frac1n \sum_i w_i, \qquad
              E[f(x) \mid \text{points}] \approx \frac{\sum_i w_i f(x_i)}{\sum_i w_i}.

    Whatever is asked of the same rows is coherent to rounding: probabilities of disjoint events add up, and a joint
    probability is a conditional one times a marginal one.

    Attributes:
        x: (n, D), the points in their place.
        log_w: (n).
        stratum: (n), numbers from 0. Rows of a stratum are independent of each other; how many a stratum has was not drawn.
        leading: the columns that say which stratum a row is in; they are not left to chance.
        provenance: of the rows, where they were drawn from a density that is an estimate of another.
    """

    x: Tensor
    log_w: Tensor
    stratum: Tensor
    leading: frozenset[int] = frozenset()
    provenance: Provenance | None = None

    def log_mean_weight(self) -> Estimate:
        """log of the mean weight, with its error: log p(points)."""
        top = self.log_w.max().double()
        if not bool(top > -torch.inf):
            return Estimate.closed(top)
        w = self._relative
        total = w.sum()
        error = self._deviation(w) / total
        error = torch.where(error > _ROUNDING, error, 0.0)
        value = top + (total / len(w)).log()
        exact = not bool(error > 0)
        effective = torch.full_like(value, torch.inf) if exact else torch.full_like(value, self.effective)
        return Estimate(value, error, effective, exact)

    def within(self, inside: Tensor) -> WeightedRows:
        """The rows with weight 0 where `inside` (n) is False: draws given an event."""
        return replace(self, log_w=torch.where(inside, self.log_w, -torch.inf))

    def mean(self, values: Tensor, judged: bool = False) -> Estimate:
        """The weighted mean of values (n, ...), float64, with its standard error and effective sample size.

        `judged` looks at the tails of the values, for means that need not exist.
        """
        w = self._relative
        total = w.sum()
        values = values.double()
        columns = values.reshape(len(w), -1)
        # a value without weight may be anything, infinite too
        columns = torch.where((w > 0).unsqueeze(-1), columns, 0.0)
        value = torch.stack([(w * column).sum() for column in columns.T]) / total
        errors = [self._deviation(w * (column - mean)) for column, mean in zip(columns.T, value, strict=True)]
        error = torch.stack(errors) / total
        error = torch.where(error > _ROUNDING * value.abs(), error, 0.0)
        # a few rows that outweigh all others agree by chance
        exact = not bool((error > 0).any()) and self.effective >= min(_LEAST_EFFECTIVE, 0.5 * int((w > 0).sum()))
        effective = torch.full_like(value, math.inf if exact else self.effective)
        shape = values.shape[1:]
        k = None
        if judged and not exact:
            kept = w > 0
            terms = w[kept].unsqueeze(-1) * (columns[kept] - columns[kept].median(dim=0).values)
            k, effective = judged_terms(terms, effective)
            k = k.reshape(shape)
        return Estimate(value.reshape(shape), error.reshape(shape), effective.reshape(shape), exact=exact, pareto_k=k)

    def share(self, inside: Tensor, columns: Collection[int] | None = None) -> Estimate:
        """The probability of an event, given which rows (n) are inside, and the columns that it is about, None for any.

        The error of independent rows is that of (hits + 1) in (n + 2), so that no hit at all does not pass for certainty.
        """
        found = self.mean(inside)
        n = self.effective
        varies = columns is None or not self.leading.issuperset(columns)
        p = (float(found.value) * n + 1) / (n + 2)
        least = math.sqrt(p * (1 - p) / (n + 2)) if varies and float(found.standard_error) == 0 else 0.0
        error = found.standard_error.clamp(min=least)
        exact = not bool(error > 0)
        effective = torch.full_like(found.value, math.inf if exact else n)
        return Estimate(found.value, error, effective, exact=exact)

    def quantile(self, values: Tensor, levels: Tensor) -> Estimate:
        """The smallest value v with P(X <= v) >= level, for each of the levels (k), of values (n); float64.

        The standard error is half the distance between the quantiles at one standard error of P(X <= v) below and above.
        """
        w = self._relative
        ordered, place = values.double().sort()
        reached = w[place].cumsum(dim=0) / w.sum()
        kept = w[place] > 0
        ordered, reached = ordered[kept], reached[kept]

        def at(level: Tensor) -> Tensor:
            return ordered[torch.searchsorted(reached, level - 1e-12).clamp(max=len(ordered) - 1)]

        levels = levels.double()
        value = at(levels)
        share = self.mean(values.double().unsqueeze(-1) <= value)
        n = torch.full_like(value, self.effective)
        spread = torch.maximum(share.standard_error, (levels * (1 - levels) / n).sqrt())
        error = 0.5 * (at((levels + spread).clamp(max=1)) - at((levels - spread).clamp(min=0)))
        return Estimate(value, error, n, exact=False)

    @property
    def effective(self) -> float:
        """How many rows of equal weights these are worth."""
        w = self._relative
        found = float(w.sum().square() / w.square().sum())
        if self.provenance is not None and found > 0:
            found = 1 / (1 / found + 1 / self.provenance.worth_of(int((w > 0).sum())))
        return 0.0 if math.isnan(found) else found

    @property
    def _relative(self) -> Tensor:
        """The weights, (n), float64, the largest of them one; all 0 if no row has any."""
        log_w = self.log_w.double()
        top = log_w.max()
        return (log_w - top).exp() if bool(top > -torch.inf) else torch.zeros_like(log_w)

    def _deviation(self, terms: Tensor) -> Tensor:
        """The standard error of the sum of terms (n), independent within strata."""
        count = int(self.stratum.max()) + 1
        rows = torch.bincount(self.stratum, minlength=count).double()
        mean = torch.bincount(self.stratum, terms, minlength=count) / rows.clamp(min=1)
        about = torch.where(rows > 1, mean, 0.0)[self.stratum]
        squares = torch.bincount(self.stratum, (terms - about).square(), minlength=count)
        variance = (squares * rows / (rows - 1).clamp(min=1)).sum()
        return (variance if self.provenance is None else variance + self.provenance.variance_of_sum(terms)).sqrt()
