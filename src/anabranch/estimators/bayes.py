"""Classification by a density for each class."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted

from anabranch.checks import positive_int
from anabranch.densities import Density
from anabranch.estimators.any_order import fit_any_order
from anabranch.estimators.classes import of_one_type, read_classes
from anabranch.estimators.distinct import distinct_rows
from anabranch.estimators.estimator import Estimator, copied, refuse_real_density
from anabranch.estimators.scaling import Scaling
from anabranch.estimators.stacking import fit_stack, log_prob
from anabranch.queries import AtContext
from anabranch.tables import Column

Float64 = NDArray[np.float64]


class BayesClassifier(ClassifierMixin, Estimator):  # type: ignore[misc]
    r"""Bayes' rule with a density for each class, p(y | x) proportional to p(y) p(x | y).

    Each density is that of a `DensityEstimator`: flows and Gaussian mixtures, weighed by rows that they have not seen. So a
    class of few rows has about a normal, and one of a single row a normal of all rows' widths around it. `score_samples`
    gives log p(x), by which rows can be told that belong to no class. Rows with a wild value (1e6 among ages) are set
    apart with a warning (`apart.Apart`): they count in the priors, and have one broad density whatever their class.

    For a data frame with columns that are no numbers the densities are those of one `models.AnyOrder` with the class as its
    context: what rows of one class say of how columns go together serves classes of few rows. Such a frame may have gaps.

    Args:
        priors: p(y), in the order of `classes_`, at least 0 and of sum 1; None for the shares of the rows.
        density: None for the default, or a `Density` of as many numbers as there are columns that change, of which each
            class gets copies in place of the flows. A class of fewer than 10 different rows has a normal either way.
        members: folds and fits of each class; by default 3 up to 2,000 rows of a class, else 1. A model of any order is one.
        epochs: passes over the rows of a class, at most; by default so many that large and small tables take a like time.
        kinds: for some columns of a data frame, by name: the word for their kind, or a `tables.columns.Column`, in place of
            what its values say; a frame of numbers alone is then read by a schema, too.
        device: where to train; the CPU by default.
        random_state: None, a seed, or a `numpy.random.RandomState`.

    Attributes:
        classes_: in ascending order.
        densities_: the fitted `Density` of each class, of encoded rows.
        class_prior_: p(y), (classes).
        encoding_: how X becomes numbers: a `Scaling` that standardises, or a `SchemaEncoding` of a data frame.
        unit_: the unit of `score_samples` in words.
        n_features_in_, feature_names_in_: of X.

    Example:
        >>> import numpy as np
        >>> from anabranch.estimators import BayesClassifier
        >>> x = np.random.default_rng(0).normal(size=(60, 2)) + np.repeat([[-2.0], [2.0]], 30, axis=0)
        >>> model = BayesClassifier(members=1, epochs=2, random_state=0).fit(x, ["left"] * 30 + ["right"] * 30)
        >>> model.predict([[-2.0, -2.0], [2.0, 2.0]]).tolist()
        ['left', 'right']
    """

    def __init__(
        self,
        priors: ArrayLike | None = None,
        *,
        density: Density | None = None,
        members: int | None = None,
        epochs: int | None = None,
        kinds: Mapping[str, str | Column] | None = None,
        device: str | None = None,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.priors = priors
        self.density = density
        self.members = members
        self.epochs = epochs
        self.kinds = kinds
        self.device = device
        self.random_state = random_state

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:  # noqa: N803 (scikit-learn's names)
        """Fit to rows and their classes.

        Args:
            X: (rows, columns), an array or a data frame of finite numbers. Or a data frame of pandas, polars or pyarrow
                whose columns are of any kind, with gaps.
            y: (rows), classes: numbers, words or booleans.
            sample_weight: (rows), how much each counts, at least 0; in the priors too, if these are None.

        Raises:
            ValueError: values that are not finite, y that are no classes, no column that changes, priors that are none.
        """
        if y is None:
            raise ValueError(f"This {type(self).__name__} requires y to be passed, but the target y is None")
        if self.density is not None and not isinstance(self.density, Density):
            raise ValueError(f"density: expected None or a Density, got {self.density!r}")
        x, weights, framed = self._read_fit(X, sample_weight, kinds=self.kinds)
        y = of_one_type(read_classes(y, len(x)))
        check_classification_targets(y)
        members = None if self.members is None else positive_int("members", self.members)
        epochs = None if self.epochs is None else positive_int("epochs", self.epochs)
        present = y if weights is None else y[weights > 0]
        self.classes_ = np.unique(present)
        # a class whose rows all have weight 0 is none
        codes = np.searchsorted(self.classes_, y).clip(max=len(self.classes_) - 1)
        every = distinct_rows(x, weights, codes)
        codes = np.zeros(0, dtype=np.int64) if every.labels is None else every.labels
        seed = self._draw_seed()
        self.class_prior_ = self._read_priors(np.bincount(codes, weights=every.weights).astype(np.float64))
        apart = self._find_apart(every, framed)
        # a class whose rows are all set apart has them still
        some = np.isin(codes, codes[apart.ordinary(every.x)], invert=True)
        rows = apart.without(every, keep=some)
        codes = codes if rows.labels is None else rows.labels
        if framed is not None and self.density is not None:
            refuse_real_density(self.density, "None")
        ordinary = apart.without(every)
        self.encoding_ = framed or Scaling.of(ordinary.x, ordinary.weights)
        z = self.encoding_.encode(rows.x)
        if framed is not None:
            self.densities_ = self._fit_by_class(z, rows.weights, codes, seed, epochs)
            return self
        own = self.density
        if own is not None:
            copied(own, z.shape[1])  # complains before anything is fitted
        self.densities_ = []
        for k in range(len(self.classes_)):
            mine = np.flatnonzero(codes == k)
            density = fit_stack(
                z[mine],
                rows.weights[mine],
                seed + k,
                build=None if own is None else (lambda: copied(own, z.shape[1])),
                members=(3 if len(mine) <= 2_000 else 1) if members is None else members,
                epochs=epochs,
                device=self.device,
            )
            self.densities_.append(density)
        return self

    def predict_joint_log_proba(self, X: Any) -> Float64:  # noqa: N803
        """log p(x, y) of each row and class (rows, classes), nats, of a density in the columns' own units."""
        check_is_fitted(self)
        x = self._read_rows(X)
        z = self.encoding_.encode(x)
        return np.column_stack([self._in_own_units(joint, x, z) for joint in self._log_joint(z).T])

    def predict_log_proba(self, X: Any) -> Float64:  # noqa: N803
        """log p(y | x) of each row and class (rows, classes)."""
        check_is_fitted(self)
        # a value that no class has, in a column that never changed, tells none from the others
        joint = self._log_joint(self.encoding_.encode(self._read_rows(X)))
        best = joint.max(axis=1, keepdims=True)
        with np.errstate(divide="ignore", invalid="ignore"):
            # the largest is taken off first: beside 1e24 nats the logarithm of a sum is lost
            less = joint - best
            # too far from all classes for a float: what is left to know is how frequent they are
            log_q = less - np.logaddexp.reduce(less, axis=1, keepdims=True)
            return np.where(np.isfinite(best), log_q, np.log(self.class_prior_))

    def predict_proba(self, X: Any) -> Float64:  # noqa: N803
        """p(y | x) of each row and class (rows, classes)."""
        return np.asarray(np.exp(self.predict_log_proba(X)))

    def predict(self, X: Any) -> NDArray[Any]:  # noqa: N803
        """The most probable class of each row (rows)."""
        check_is_fitted(self)
        return np.asarray(self.classes_[self.predict_log_proba(X).argmax(axis=1)])

    @property
    def unit_(self) -> str:
        """The unit of `score_samples` in words, by the names of the columns."""
        return self._unit()

    def score_samples(self, X: Any) -> Float64:  # noqa: N803
        """log p(x) of each row (rows), nats, in the columns' own units: low for a row that belongs to no class."""
        return np.asarray(np.logaddexp.reduce(self.predict_joint_log_proba(X), axis=1))

    def _log_joint(self, z: Float64) -> Float64:
        """log p(z, y) of encoded rows and classes (rows, classes)."""
        with np.errstate(divide="ignore"):
            each = [self.apart_.log_prob(log_prob(density, z), z) for density in self.densities_]
            return np.column_stack(each) + np.log(self.class_prior_)

    def _fit_by_class(
        self, z: Float64, weights: Float64, codes: NDArray[np.int64], seed: int, epochs: int | None
    ) -> list[Density]:
        """p(x | y) of columns of any kind: one model of any order with the class as its context, so that what rows of one
        class say of how columns go together serves classes of few rows.
        """
        each = np.eye(len(self.classes_))
        model = fit_any_order(
            self.encoding_.tensor(z),
            weights,
            seed,
            families=self.encoding_.families(),
            context=each[codes],
            epochs=epochs,
            device=self.device,
        )
        return [AtContext(model, context) for context in each]

    def _read_priors(self, counts: Float64) -> Float64:
        if self.priors is None:
            return np.asarray(counts / counts.sum())
        try:
            priors = np.asarray(self.priors, dtype=np.float64)
        except (TypeError, ValueError):
            priors = np.empty(0)
        if priors.shape != counts.shape or not (priors >= 0).all() or not np.isclose(priors.sum(), 1.0):
            raise ValueError(
                f"priors: expected {len(counts)} numbers of at least 0 and of sum 1, one for each class, got {self.priors!r}"
            )
        return np.asarray(priors / priors.sum())
