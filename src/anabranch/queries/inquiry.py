"""Questions to the one joint of a model of any order, all answered by the same weighted rows."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from anabranch.checks import positive, positive_int
from anabranch.densities import Density
from anabranch.families import Levels
from anabranch.models import AnyOrder
from anabranch.queries.any_order_rows import any_order_rows
from anabranch.queries.combined import exponential, logarithm, signed_sum, total, with_orders
from anabranch.queries.estimate import Estimate, ImpossibleError, QueryWarning
from anabranch.queries.near import COMMON, ENOUGH, share_near, warn_of_few
from anabranch.queries.other_orders import rows_of_other_orders
from anabranch.queries.possible import seen_ends, settled_by_family
from anabranch.queries.rare_values import rare_values_apart
from anabranch.queries.region import Interval, Values, inside
from anabranch.queries.sampling import seed_of
from anabranch.queries.weighted_rows import WeightedRows

# draws whose weights are worth fewer are a poor answer
_LEAST_WEIGHTS = 50.0
# where a range leaves fewer, so many times as many rows are drawn at most
_MORE = 16


class Inquiry:
    r"""Answers of p(x) = prod_t p(x_{sigma_t} | x_{sigma_<t}), the joint of a model of any order in its order sigma.

    Every answer is a quotient of two masses,

    .. math:: P(A \mid G) = \frac{M(A \cap G)}{M(G)}, \qquad M(R, E) = p(x_R)\, P(E \mid x_R),

    where R are values that are rare or have a density (a price of 3,000), and E all else (categories, values that are
    common, ranges). p(x_R) is the mean weight, and P(E | x_R) a weighted share, of rows drawn given R (`WeightedRows`).
    Which of the two a value belongs to depends on the model and the value alone, and rows given R are the same in every
    question. So a probability does not depend on the order of names, splits into a conditional one times a marginal one,
    and adds up over categories and ranges, to rounding. There are two exceptions, where answers agree within the stated
    error only:

    - what is given where it has fewer than 200 effective rows. Single values are then told before rows are drawn, and of
      ranges more rows are drawn, up to 16 times as many.
    - a range beside the single values in it. Of a lattice, the rare single values of a set are in R each, up to 64 of them
      in a column, and add up to that of the set; a range, or a larger set, is in E.

    `between_orders` of an answer is the standard deviation between this joint and those of other orders: what is given
    comes first there, and all else in random orders. It is estimated from a quarter of the rows for each of four, less
    the error of their draws.

    Args:
        density: an `AnyOrder`, or one at a context.
        samples: rows to draw given R.
        seed: of the draws; None takes one from torch's global generator.
        tolerance: twice as many rows are drawn, and so on, until the standard error is at most this.
        most: but no more rows than this.

    Example:
        >>> import anabranch as ab
        >>> from anabranch.families import Levels, Logistics
        >>> from anabranch.queries import Interval
        >>> from anabranch.queries.inquiry import Inquiry
        >>> inquiry = Inquiry(ab.models.AnyOrder([Levels(2), Logistics()], hidden=8), samples=1000)
        >>> one, two = (inquiry.probability({0: Interval(k, k), 1: Interval(low=0.0)}) for k in (0.0, 1.0))
        >>> abs(float(one.value + two.value - inquiry.probability({1: Interval(low=0.0)}).value)) < 1e-9
        True
    """

    def __init__(
        self,
        density: Density,
        samples: int = 10_000,
        seed: int | None = 0,
        tolerance: float | None = None,
        most: int = 1_000_000,
    ) -> None:
        found = density.any_order(None) if density.context_shape is None else None
        if found is None:
            raise ValueError(
                f"density: expected an AnyOrder, at a context if it takes one, got a {type(density).__name__}"
            )
        self.model: AnyOrder = found[0]
        self.context = found[1]
        self.samples = positive_int("samples", samples, least=2)
        self.seed = seed_of(seed)
        self.tolerance = None if tolerance is None else positive("tolerance", tolerance)
        self.most = positive_int("most", most, least=2)
        self._rows: dict[tuple[object, ...], WeightedRows] = {}

    @staticmethod
    def takes(density: Density) -> bool:
        """Whether a density is one that this answers for."""
        return density.context_shape is None and density.any_order(None) is not None

    def probability(self, region: Mapping[int, Values], given: Mapping[int, Values] | None = None) -> Estimate:
        """P(x in region | given).

        Exact, without draws, where a column can never be in its values, or always is (`possible`).
        """
        settled = {i: settled_by_family(self.model.family(i), values) for i, values in region.items()}
        if False in settled.values():
            return Estimate.closed(torch.zeros((), dtype=torch.float64))
        region = {i: values for i, values in region.items() if settled[i] is None}
        if not region:
            return Estimate.closed(torch.ones((), dtype=torch.float64))
        apart = rare_values_apart({i: values for i, values in region.items() if i not in (given or {})}, self._told)
        if apart is not None:
            column, rest, points, sign = apart
            pieces = [(self.probability({**region, column: rest}, given), 1.0)]
            pieces += [(self.probability({**region, column: Interval(v, v)}, given), sign) for v in points]
            return total(pieces)
        if not set(self._points(_merged(region, given or {}))) - set(given or {}):
            columns = list(region)
            return self._of_rows(columns, given or {}, lambda rows: _share(rows, region))
        return exponential(self._log_ratio(region, given or {}, densities=False))

    def log_density(self, at: Mapping[int, float], given: Mapping[int, Values] | None = None) -> Estimate:
        """log p(x_at | given), nats: of densities, and of probabilities where values have them."""
        told = given or {}
        outside = [
            i for i, v in at.items() if i in told and not bool(told[i].contains(torch.tensor(v, dtype=torch.float64)))
        ]
        if outside:
            return Estimate.closed(torch.tensor(-torch.inf, dtype=torch.float64))
        return self._log_ratio({i: Interval(v, v) for i, v in at.items()}, told, densities=True)

    def mean(
        self, f: Callable[[Tensor], Tensor], columns: list[int], given: Mapping[int, Values] | None = None
    ) -> Estimate:
        """E[f(x) | given] of a function of rows (n, D) -> (n, ...) that reads these columns."""
        return self._of_rows(columns, given or {}, lambda rows: rows.mean(f(rows.x), judged=True))

    def moment(self, column: int, squared: bool, given: Mapping[int, Values]) -> Estimate | None:
        """None: the mean of a column, or its variance, has no way of its own."""
        return None

    def seen(self, column: int) -> tuple[float, float] | None:
        """The ends of what a column was initialized with, if that is known."""
        return seen_ends(self.model, column)

    def quantile(self, column: int, levels: Tensor, given: Mapping[int, Values] | None = None) -> Estimate:
        """Quantiles of a column, for levels (k)."""
        return self._of_rows([column], given or {}, lambda rows: rows.quantile(rows.x[:, column], levels))

    def near(self, given: Mapping[int, Values]) -> float:
        """The share of all rows that are near what is given."""
        rows = self._drawn({}, self._mask(list(given)), self.samples)
        return share_near(rows, given, self._is_event)

    def _of_rows(
        self, columns: list[int], given: Mapping[int, Values], ask: Callable[[WeightedRows], Estimate]
    ) -> Estimate:
        count = self.samples
        while True:
            points, events, needed = self._parted(given, columns, count)
            rows = self._drawn(points, needed, count)
            rows = rows.within(inside(events, rows.x))
            if self._rare(rows, events, count):
                count *= 2
                continue
            self._check_possible(rows, given, count)
            found = ask(rows)
            if self._enough(found, count):
                break
            count *= 2
        _warn(rows, bool(events), count)
        others = [ask(other) for other, _ in self._other_orders(columns, given, {}, count)]
        return with_orders(found, others)

    def _log_ratio(self, region: Mapping[int, Values], given: Mapping[int, Values], densities: bool) -> Estimate:
        """log M(region and given) - log M(given)."""
        count = self.samples
        columns = list(region)
        both = _merged(region, given)
        while True:
            points, events, needed = self._parted(given, columns, count)
            told = self._drawn(points, needed, count)
            given_rows = told.within(inside(events, told.x))
            if self._rare(given_rows, events, count):
                count *= 2
                continue
            self._check_possible(given_rows, given, count)
            more = {i: v for i, v in self._points(both).items() if i not in points and i in region}
            asked = {i: interval for i, interval in both.items() if i not in points and i not in more}
            if not more:
                found = _share(given_rows, asked)
                found = logarithm(found)
            else:
                rows = self._drawn({**points, **more}, needed, count)
                numerator, denominator = rows.log_mean_weight(), told.log_mean_weight()
                pieces = [(numerator, 1.0), (denominator, -1.0)] if points else [(numerator, 1.0)]
                if asked:
                    pieces.append((logarithm(_share(rows, asked)), 1.0))
                if events:
                    pieces.append((logarithm(_share(told, events)), -1.0))
                found = signed_sum(pieces)
            if self._enough(found if densities else exponential(found), count):
                break
            count *= 2
        _warn(given_rows, bool(events), count)
        others = []
        for other, log_p in self._other_orders(columns, given, more, count):
            share = logarithm(_share(other, {i: asked[i] for i in asked if i in region}))
            others.append(signed_sum([(share, 1.0), (Estimate.closed(log_p), 1.0)]))
        return with_orders(found, others, of_logarithms=not densities)

    def _parted(
        self, given: Mapping[int, Values], columns: list[int], count: int
    ) -> tuple[dict[int, float], dict[int, Values], Tensor]:
        """The points among what is given, the events, and the columns to draw."""
        needed = self._mask([*columns, *given])
        points = self._points(given)
        events = {i: interval for i, interval in given.items() if i not in points}
        single = {i: interval.point for i, interval in events.items() if interval.point is not None}
        if single:
            rows = self._drawn(points, needed, count)
            if rows.within(inside(events, rows.x)).effective < ENOUGH:
                points |= {i: v for i, v in single.items() if v is not None}
                events = {i: interval for i, interval in events.items() if i not in points}
        return points, events, needed

    def _points(self, intervals: Mapping[int, Values]) -> dict[int, float]:
        """The single values that are told before rows are drawn."""
        found = {}
        for i, interval in intervals.items():
            if interval.point is not None and not self._is_event(i, interval.point):
                found[i] = interval.point
        return found

    def _is_event(self, column: int, value: float) -> bool:
        if isinstance(self.model.family(column), Levels):
            return True
        base = self._drawn({}, self._mask([column]), self.samples)
        return float(base.share(Interval(value, value).contains(base.x[:, column])).value) >= COMMON

    def _told(self, column: int, value: float) -> bool:
        """Whether a single value is possible, and told before rows are drawn."""
        only = Interval(value, value)
        return settled_by_family(self.model.family(column), only) is not False and not self._is_event(column, value)

    def _drawn(self, points: Mapping[int, float], needed: Tensor, count: int) -> WeightedRows:
        """Rows given points; of the same points always the same, whatever is needed."""
        key = tuple(sorted(points.items())), tuple(needed.tolist()), count
        if key not in self._rows:
            self._rows[key] = any_order_rows(self.model, points, needed, count, self.context, self.seed)
        return self._rows[key]

    def _mask(self, columns: list[int]) -> Tensor:
        mask = torch.zeros(self.model.columns, dtype=torch.bool)
        mask[columns] = True
        return mask

    def _enough(self, found: Estimate, count: int) -> bool:
        return self.tolerance is None or bool((found.standard_error <= self.tolerance).all()) or 2 * count > self.most

    def _rare(self, rows: WeightedRows, events: Mapping[int, Values], count: int) -> bool:
        """Whether what is given leaves too few of the rows, and more may be drawn."""
        if not events or rows.effective >= min(ENOUGH, count):
            return False
        never = any(settled_by_family(self.model.family(i), values) is False for i, values in events.items())
        return not never and 2 * count <= min(self.most, _MORE * self.samples)

    def _check_possible(self, rows: WeightedRows, given: Mapping[int, Values], count: int) -> None:
        if rows.effective == 0:
            if any(values.point is None for values in given.values()):
                raise ImpossibleError(f"given: expected what is possible, got what none of {count:,} draws are in")
            raise ImpossibleError(
                "given: expected what is possible, got what has no probability, or less than any float"
            )

    def _other_orders(
        self, columns: list[int], given: Mapping[int, Values], more: Mapping[int, float], count: int
    ) -> list[tuple[WeightedRows, Tensor]]:
        return rows_of_other_orders(self.model, columns, given, more, count, self.context, self.seed)


def _warn(rows: WeightedRows, ranges: bool, count: int) -> None:
    """Warn where what is given leaves few of the rows, or few of their weights count."""
    if ranges:
        warn_of_few(rows.effective, count)
    elif rows.effective < min(_LEAST_WEIGHTS, 0.2 * count):
        warnings.warn(
            f"given: {count:,} draws are worth {rows.effective:.0f}, since the model's orders disagree on what is given; "
            "the answer and its error rest on these; raise samples, or fit for longer",
            QueryWarning,
            stacklevel=4,
        )


def _share(rows: WeightedRows, events: Mapping[int, Values]) -> Estimate:
    """P(all events) among the rows."""
    return rows.share(inside(events, rows.x), list(events))


def _merged(one: Mapping[int, Values], other: Mapping[int, Values]) -> dict[int, Values]:
    merged = dict(other)
    for i, interval in one.items():
        merged[i] = interval.and_(merged[i]) if i in merged else interval
    return merged
