"""Questions given ranges and sets of values to any density, answered by those of its draws that are in them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from anabranch.checks import positive_int
from anabranch.densities import Density
from anabranch.draws import drawing
from anabranch.queries.columns import others, read_observed
from anabranch.queries.conditional import conditional
from anabranch.queries.estimate import Estimate, ImpossibleError
from anabranch.queries.log_prob_at import log_prob_at
from anabranch.queries.marginal import marginal
from anabranch.queries.near import COMMON, ENOUGH, share_near, warn_of_few
from anabranch.queries.probability import probability
from anabranch.queries.provenance import Provenance, draws_of, provenance_of
from anabranch.queries.region import Interval, Values, inside
from anabranch.queries.sampling import Sampling, seed_of
from anabranch.queries.weighted_rows import WeightedRows

_ROWS_AT_A_TIME = 2**14
# draws for how many rows are near what is given
_NEAR_DRAWS = 4096


class DrawnInquiry:
    """Answers given sets of values: single values are conditioned on, and of draws given these count those within the sets.

    Args:
        density: any density over vectors, without a context.
        samples: draws to begin with: twice as many, and so on, where fewer than 200 are within the sets.
        seed: of the draws; None takes one from torch's global generator.
        tolerance: or until the standard error is at most this.
        most: but no more draws than this.
        sampling: `proposals`, `chains` and `moves` of `conditional`.

    Example:
        >>> import anabranch as ab
        >>> from anabranch.queries import Interval
        >>> from anabranch.queries.drawn_inquiry import DrawnInquiry
        >>> inquiry = DrawnInquiry(ab.densities.Normal.standard(2))
        >>> above = inquiry.mean(lambda x: x[:, 0], [0], {0: Interval(low=0.0)})
        >>> abs(float(above.value) - 0.798) < 4 * float(above.standard_error)
        True
    """

    def __init__(
        self,
        density: Density,
        samples: int = 10_000,
        seed: int | None = 0,
        tolerance: float | None = None,
        most: int = 1_000_000,
        sampling: Sampling | None = None,
    ) -> None:
        self.density, self.seed, self.tolerance = density, seed_of(seed), tolerance
        self.samples, self.most = positive_int("samples", samples, least=2), positive_int("most", most, least=2)
        self.sampling: Sampling = sampling or {}
        self._all: dict[tuple[tuple[int, float], ...], tuple[Tensor, Tensor | None]] = {}
        self._conditionals: dict[tuple[tuple[int, float], ...], Density] = {}

    def probability(self, region: Mapping[int, Values], given: Mapping[int, Values]) -> Estimate:
        """P(x in region | given)."""
        return self._of_rows(given, lambda rows: rows.share(inside(region, rows.x)))

    def mean(self, f: Callable[[Tensor], Tensor], columns: list[int], given: Mapping[int, Values]) -> Estimate:
        """E[f(x) | given] of a function of rows (n, D) -> (n, ...)."""
        return self._of_rows(given, lambda rows: rows.mean(f(rows.x), judged=True))

    def moment(self, column: int, squared: bool, given: Mapping[int, Values]) -> Estimate | None:
        """None: the mean of a column, or its variance, has no way of its own."""
        return None

    def seen(self, column: int) -> tuple[float, float] | None:
        """None: nothing is known of what a column was fitted to."""
        return None

    def quantile(self, column: int, levels: Tensor, given: Mapping[int, Values]) -> Estimate:
        """Quantiles of a column, for levels (k)."""
        return self._of_rows(given, lambda rows: rows.quantile(rows.x[:, column], levels))

    def log_density(self, at: Mapping[int, float], given: Mapping[int, Values]) -> Estimate:
        r"""log p(x_at | given), nats:

        .. math:: p(x \mid G) = p(x)\, P(G \mid x) / P(G).
        """
        points, events = _parted(given)
        for i, number in at.items():
            if i in events and not bool(events[i].contains(torch.tensor(number, dtype=torch.float64))):
                return Estimate.closed(torch.tensor(-torch.inf, dtype=torch.float64))
        remaining = conditional(self.density, points, seed=self.seed, **self.sampling)
        rest = others(points, self.density.event_shape[0])
        proposals = self.sampling.get("proposals", 1024)
        wanted = marginal(remaining, [rest.index(i) for i in at], proposals=proposals, seed=self.seed)
        value = read_observed(dict(enumerate(at.values())), wanted)[1]
        pieces = [(log_prob_at(wanted, value), 1.0), (self._log_share(points, events), -1.0)]
        free = {i: values for i, values in events.items() if i not in at}
        if free:
            pieces.append((self._log_share({**points, **at}, free), 1.0))
        total = sum((sign * one.value.detach().double() for one, sign in pieces), torch.zeros((), dtype=torch.float64))
        error = sum((one.standard_error.double().square() for one, _ in pieces), torch.zeros((), dtype=torch.float64))
        effective = torch.stack([one.effective_samples.double() for one, _ in pieces]).min()
        return Estimate(total, error.sqrt(), effective, exact=all(one.exact for one, _ in pieces))

    def near(self, given: Mapping[int, Values]) -> float:
        """The share of all rows that are near what is given."""
        with drawing(self.seed), torch.no_grad():
            x = self.density.sample((_NEAR_DRAWS,))
        rows = _rows(x)

        def common(column: int, value: float) -> bool:
            return float(rows.share(Interval(value, value).contains(x[:, column])).value) >= COMMON

        return share_near(rows, given, common)

    def _of_rows(self, given: Mapping[int, Values], ask: Callable[[WeightedRows], Estimate]) -> Estimate:
        points, events = _parted(given)
        count = self.samples
        while True:
            x, provenance = self._drawn(points, count)
            within = inside(events, x)
            kept = x[within]
            last = 2 * count > max(self.most, self.samples)
            if len(kept) >= min(ENOUGH, count) or last:
                of_kept = None if provenance is None else provenance.within(within)
                found = ask(_rows(kept, of_kept)) if len(kept) > 1 else None
                enough = self.tolerance is None or (
                    found is not None and bool((found.standard_error <= self.tolerance).all())
                )
                if found is not None and (enough or last):
                    break
            if last:
                raise ImpossibleError(
                    f"given: expected what some draws are in, got what {len(kept)} of {count:,} draws are in"
                )
            count *= 2
        warn_of_few(len(kept), count)
        return found

    def _log_share(self, points: Mapping[int, float], events: Mapping[int, Values]) -> Estimate:
        remaining = self._conditional(points)
        rest = others(points, self.density.event_shape[0])
        options = {"samples": self.samples, "seed": self.seed, "tolerance": None, "most": self.most}
        region = {rest.index(i): values for i, values in events.items()}
        found = probability(remaining, region, **options)  # type: ignore[arg-type]
        relative = found.standard_error / found.value
        return Estimate(found.value.log(), relative.nan_to_num(), found.effective_samples, found.exact)

    def _conditional(self, points: Mapping[int, float]) -> Density:
        key = tuple(sorted(points.items()))
        if key not in self._conditionals:
            self._conditionals[key] = conditional(self.density, dict(points), seed=self.seed, **self.sampling)
        return self._conditionals[key]

    def _drawn(self, points: Mapping[int, float], count: int) -> tuple[Tensor, Provenance | None]:
        """Whole rows (count, D) given points, those that there are already and more, and their provenance."""
        key = tuple(sorted(points.items()))
        features = self.density.event_shape[0]
        have = self._all.get(key)
        begin = 0 if have is None else len(have[0])
        remaining, rest = self._conditional(points), others(points, features)
        if begin < count:
            sizes = [min(_ROWS_AT_A_TIME, count - k) for k in range(begin, count, _ROWS_AT_A_TIME)]
            with drawing(self.seed + begin), torch.no_grad():
                drawn, origins = draws_of(remaining, sizes)
            x = drawn.new_empty(len(drawn), features)
            x[:, rest] = drawn
            for column, value in points.items():
                x[:, column] = value
            if have is not None:
                x = torch.cat([have[0], x])
                origins = None if origins is None or have[1] is None else torch.cat([have[1], origins])
            self._all[key] = x, origins
        rows, of_rows = self._all[key]
        origins = None if of_rows is None else of_rows[:count]
        return rows[:count], provenance_of(remaining, origins, count)


def _parted(given: Mapping[int, Values]) -> tuple[dict[int, float], dict[int, Values]]:
    """Single values, and all else, of what is given."""
    points = {i: values.point for i, values in given.items() if values.point is not None}
    return points, {i: values for i, values in given.items() if i not in points}


def _rows(x: Tensor, provenance: Provenance | None = None) -> WeightedRows:
    zeros = torch.zeros(len(x), device=x.device)
    return WeightedRows(x, zeros, zeros.long(), provenance=provenance)
