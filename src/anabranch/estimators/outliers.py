"""Detecting rows that are unlike the others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import OutlierMixin
from sklearn.utils import Tags
from sklearn.utils.validation import check_is_fitted

from anabranch import flows
from anabranch.checks import is_number, positive_int
from anabranch.densities import Density
from anabranch.estimators.any_order import fit_any_order, log_terms
from anabranch.estimators.apart import broad
from anabranch.estimators.distinct import distinct_rows
from anabranch.estimators.estimator import Estimator
from anabranch.estimators.kernel_marginals import KernelMarginals
from anabranch.estimators.scaling import Scaling
from anabranch.estimators.stacking import fit_stack, log_prob
from anabranch.estimators.trimming import most_usual
from anabranch.models import AnyOrder, Flow
from anabranch.tables import Column
from anabranch.training.pace import Pace

Float64 = NDArray[np.float64]

_PACE = Pace(steps=280, batch=256, patience=5)
# metrics and thresholds take no infinity
_LEAST = -1e12
_OFF_CONSTANT = 1e6


class DensityOutlierDetector(OutlierMixin, Estimator):  # type: ignore[misc]
    r"""Outliers are rows where three densities are low on average, each of which sees what another misses:

    .. math:: s(x) = \tfrac13 \Big( \log p(z) + \log q(z) + \sum_j \log p_j(x_j) \Big), \quad \text{nats}.

    z are the columns from their medians, in units of their quartiles, each made about normal by a power transform no
    stronger than a logarithm (`power.Power`), so that neither units nor long tails make rows outlying. p is fitted to all
    rows: smooth flows, affine couplings, and a normal, mixed (`stacking.fit_stack`). q is the same fitted to the half
    that trimmed likelihood finds most usual (`trimming.most_usual`): a cluster of outliers, which p may learn, is not in
    it. p_j are broad kernel estimates of single columns, standardised (`kernel_marginals.KernelMarginals`): where columns
    are many, what is extreme in several at once is lost in the noise of p's and q's smallest directions.
    exp(s), a geometric mean of densities, is a density but for a constant.

    Rare rows in the midst of others, as a class of their own among many, look usual to all three: docs/estimators.md has
    tables where no detector finds them.

    Rows with a wild value (1e6 among ages) are set apart with a warning (`apart.Apart`): they are scored, but no density
    and no scale is fitted to them.

    With gaps (NaN) in the rows of the fit the score is log p of one `models.AnyOrder` alone, and a gap adds to the score of
    a row what its column adds on average.

    A data frame with columns that are no numbers (text, categories, truth values, dates) is read by a `tables.Schema`, which
    standardises or takes logarithms; the density is again a `models.AnyOrder`, and a category counts by its probability.

    Args:
        contamination: the share of the rows of the fit that `predict` calls outliers, in (0, 0.5]. It sets `offset_` and
            changes no score.
        members: how many folds and fits, of p and of q. A model of any order is one.
        epochs: passes over the rows, at most; by default so many that large and small tables take a like time.
        kinds: for some columns of a data frame, by name: the word for their kind, or a `tables.columns.Column`, in place of
            what its values say; a frame of numbers alone is then read by a schema, too.
        device: where to train; the CPU by default.
        random_state: None, a seed, or a `numpy.random.RandomState`.

    Attributes:
        offset_: the score below which a row is an outlier: decision_function is score_samples - offset_.
        density_: p, a `Density` of encoded rows.
        trimmed_density_, marginals_, standard_: q; p_j, and how columns are standardised for it; not with gaps.
        encoding_: how X becomes numbers: a `Scaling` with power transforms, or a `SchemaEncoding` of a data frame.
        n_features_in_, feature_names_in_: of X.

    Example:
        >>> import numpy as np
        >>> from anabranch.estimators import DensityOutlierDetector
        >>> x = np.random.default_rng(0).normal(size=(100, 2))
        >>> x[0] = 8.0
        >>> detector = DensityOutlierDetector(0.01, members=1, epochs=2, random_state=0).fit(x)
        >>> np.flatnonzero(detector.predict(x) == -1)
        array([0])
    """

    def __init__(
        self,
        contamination: float = 0.1,
        *,
        members: int = 3,
        epochs: int | None = None,
        kinds: Mapping[str, str | Column] | None = None,
        device: str | None = None,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.contamination = contamination
        self.members = members
        self.epochs = epochs
        self.kinds = kinds
        self.device = device
        self.random_state = random_state

    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> Self:  # noqa: N803 (scikit-learn's names)
        """Fit to rows, some of which may be outliers.

        Args:
            X: (rows, columns), an array or a data frame of numbers; NaN is a gap. Or a data frame of pandas, polars or
                pyarrow whose columns are of any kind, with gaps.
            y: ignored.
            sample_weight: (rows), how much each counts, at least 0.

        Raises:
            ValueError: fewer than two rows, infinite values, no column that changes, a contamination out of range.
        """
        del y
        if not is_number(self.contamination) or not 0 < float(self.contamination) <= 0.5:
            raise ValueError(f"contamination: expected a number in (0, 0.5], got {self.contamination!r}")
        x, weights, framed = self._read_fit(X, sample_weight, gaps=True, kinds=self.kinds)
        members = positive_int("members", self.members)
        epochs = None if self.epochs is None else positive_int("epochs", self.epochs)
        every = distinct_rows(x, weights)
        apart = self._find_apart(every, framed)
        rows = apart.with_gaps(every) if np.isnan(x).any() else apart.without(every)
        self.encoding_ = framed or Scaling.of(rows.x, rows.weights, power=True)
        z = self.encoding_.encode(rows.x)
        seed = self._draw_seed()
        self.density_: Density
        self.gaps_ = framed is not None or bool(np.isnan(z).any())
        if self.gaps_:
            model = fit_any_order(
                self.encoding_.tensor(z),
                rows.weights,
                seed,
                families=self.encoding_.families(),
                epochs=epochs,
                device=self.device,
            )
            self.density_ = model
            self.usual_ = _usual(log_terms(model, z), rows.weights)
        else:
            usual = most_usual(z, rows.weights)
            self.density_, self.trimmed_density_ = (
                fit_stack(
                    z[some],
                    rows.weights[some],
                    seed,
                    build=lambda: smooth_flow(z.shape[1]),
                    members=members,
                    sizes=(1,),
                    pace=_PACE,
                    epochs=epochs,
                    device=self.device,
                )
                for some in (np.ones(len(z), dtype=bool), usual)
            )
            self.standard_ = Scaling.of(rows.x, rows.weights)
            self.marginals_ = KernelMarginals.of(self.standard_.encode(rows.x), rows.weights)
        self.offset_ = _threshold(self._scores(every.x), every.weights, float(self.contamination))
        return self

    def score_samples(self, X: Any) -> Float64:  # noqa: N803
        """The mean of three log-densities of each row (rows), nats: the lower, the more outlying.

        Raises:
            ValueError: X does not fit, or has gaps where the fit had none.
        """
        check_is_fitted(self)
        return self._scores(self._read_rows(X, gaps=self.gaps_))

    def decision_function(self, X: Any) -> Float64:  # noqa: N803
        """score_samples - offset_ (rows): below 0 for outliers."""
        return self.score_samples(X) - self.offset_

    def predict(self, X: Any) -> NDArray[np.int64]:  # noqa: N803
        """-1 for outliers and 1 for others (rows)."""
        return np.where(self.decision_function(X) < 0, -1, 1)

    def _scores(self, x: Float64) -> Float64:
        z = self.encoding_.encode(x)
        if isinstance(self.density_, AnyOrder):
            # given a wild value the others have no density that is of use, and it has a broad one
            wild = np.isnan(self.encoding_.encode(self.apart_.as_gaps(x))) & ~np.isnan(z)
            terms = log_terms(self.density_, np.where(wild, np.nan, z))
            terms = np.where(wild, broad(z) + np.log(max(self.apart_.share, 1e-300)), terms)
            scores = np.where(np.isnan(terms), self.usual_, terms).sum(axis=1)
        else:
            columns = self.marginals_.log_prob(self.standard_.encode(x))
            scores = (log_prob(self.density_, z) + log_prob(self.trimmed_density_, z) + columns) / 3
        # another value than the only one there was is more outlying than anything else
        return np.maximum(scores, _LEAST) - _OFF_CONSTANT * self.encoding_.off_constant(x)

    def _gap_remedy(self) -> str:
        return f"fit to rows of which some have gaps, or {super()._gap_remedy()}"

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags


def smooth_flow(columns: int) -> Density:
    """Four narrow affine coupling layers: they bend a normal, and are slow to give a small cluster a peak of its own."""
    if columns == 1:
        return Flow(flows.nsf(1, blocks=1, hidden=(16,), bins=4))
    return Flow(flows.realnvp(columns, blocks=4, hidden=(16,), max_scale=10.0))


def _usual(terms: Float64, weights: Float64) -> Float64:
    """The mean of each column's terms (rows, columns; NaN for gaps) over the rows that have it."""
    seen = np.isfinite(terms)
    return np.asarray(weights @ np.where(seen, terms, 0.0) / np.maximum(weights @ seen, 1e-300))


def _threshold(scores: Float64, weights: Float64, share: float) -> float:
    """Below it is as much of the weight as there can be, but no more than this share: midway between two scores, which
    roundings, other ones for other rows beside a row, do not reach.
    """
    order = np.argsort(scores)
    ordered = scores[order]
    total = np.cumsum(weights[order])
    place = np.searchsorted(total, share * total[-1] * (1 + 1e-12), side="right")
    first = ordered[min(place, len(order) - 1)]
    below = ordered[ordered < first]
    return float(first - 1e-9 * max(1.0, abs(first)) if len(below) == 0 else (below[-1] + first) / 2)
