"""Classification of rows of which few have a label."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from anabranch.checks import positive_int
from anabranch.densities import Mixture
from anabranch.estimators.classes import labelled, of_one_type, read_classes
from anabranch.estimators.distinct import distinct_rows
from anabranch.estimators.estimator import Estimator
from anabranch.estimators.mixture_of_classes import estimate, mixture_of_classes, read_density, start
from anabranch.estimators.scaling import Scaling
from anabranch.estimators.shaped_mixture import log_posterior
from anabranch.estimators.spreading import spread_labels
from anabranch.estimators.stacking import log_prob
from anabranch.objectives import Consistency, Information, Objective, SemiSupervised
from anabranch.training import fit
from anabranch.training.pace import Pace

Float64 = NDArray[np.float64]

_PACE = Pace(steps=800)
# Of the likelihood, which has the components to itself: it reaches q through the bound, in tens of nats a row, and would
# have classes be what normals behind the flow find easy. With little of it, q is led by labels and neighbours.
_LIKELIHOOD = 0.01
_AGREEMENT = 3.0
# of hidden numbers, which may say nothing for ever without
_WARMUP = 0.5
_RATE, _RATE_OF_BOUNDS = 2e-3, 5e-3
# draws for each row, where log p is an estimate
_SAMPLES = 256


class SemiSupervisedClassifier(ClassifierMixin, Estimator):  # type: ignore[misc]
    r"""Classes that are the components of a mixture fitted to all rows, p(x) = sum_y p(y) p(x | y), with or without a label.

    By default normal components behind a flow that they share and a network q(y | x), as in `MixtureClusterer`. The labels
    are first spread over graphs of nearest neighbours (`spreading.spread_labels`), so that every row has one. In the fit q
    learns these, that neighbouring rows agree on their class, and that classes are told surely and all of them used, which
    mends labels that went astray; the components follow by likelihood (`objectives.SemiSupervised`, `Consistency`,
    `Information`). Several fits are averaged. Rows with a wild value (1e6 among ages) are set apart with a warning
    (`apart.Apart`): they are not fitted, and have the class of the row at the end of what is usual.

    The mixture is a part like any other: one with hidden numbers beside the class ("m2"), or an autoencoder whose prior is
    a mixture ("mixture prior"), goes the same way, and its log p(x) is estimated. With `neighbours=0` the mixture is alone:
    nothing is spread, and rows without a label lead q by the bound (`objectives.SemiSupervised`), as its paper has it.
    Source: Kingma et al., 2014, arXiv:1406.5298 (M2); Jiang et al., 2017, arXiv:1611.05148 (mixture priors).

    As in scikit-learn's own semi-supervised estimators -1 in y means that a row has no label; for classes that are words, y
    is an array of objects.

    Args:
        density: "flow", as described; "m2" (`vaes.m2`), for two classes or more; "mixture prior" (`models.LatentMixture`);
            or a `Mixture` of as many components as there are classes and as many numbers as there are columns that change,
            of which copies are fitted.
        members: how many fits are averaged.
        neighbours: of a row, in the graph and for agreement; 0 for neither.
        epochs: passes over the rows; by default so many that large and small tables take a like time.
        device: where to train; the CPU by default.
        random_state: None, a seed, or a `numpy.random.RandomState`.

    Attributes:
        classes_: in ascending order, without -1.
        transduction_: the class of each row of the fit; its own label, where it has one.
        label_distributions_: q(y | x) of each row of the fit (rows, classes).
        densities_: the fitted mixtures, of standardised columns.
        encoding_: how they are standardised, a `Scaling`.
        unit_: the unit of `score_samples` in words.
        n_features_in_, feature_names_in_: of X.

    Example:
        >>> import numpy as np
        >>> from anabranch.estimators import SemiSupervisedClassifier
        >>> x = np.random.default_rng(0).normal(size=(60, 2)) + np.repeat([[-4.0], [4.0]], 30, axis=0)
        >>> y = np.full(60, -1)
        >>> y[[0, 59]] = 0, 1
        >>> model = SemiSupervisedClassifier(members=1, epochs=5, random_state=0).fit(x, y)
        >>> model.predict([[-4.0, -4.0], [4.0, 4.0]])
        array([0, 1])
    """

    def __init__(
        self,
        density: str | Mixture = "flow",
        *,
        members: int = 3,
        neighbours: int = 10,
        epochs: int | None = None,
        device: str | None = None,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.density = density
        self.members = members
        self.neighbours = neighbours
        self.epochs = epochs
        self.device = device
        self.random_state = random_state

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:  # noqa: N803 (scikit-learn's names)
        """Fit to rows and labels.

        Args:
            X: (rows, columns), an array or a data frame of finite numbers. Columns that are none are to be encoded first,
                with scikit-learn's `OneHotEncoder` for one.
            y: (rows), classes: numbers, words or booleans; the number -1 for rows that have none.
            sample_weight: (rows), how much each counts, at least 0.

        Raises:
            ValueError: values that are not finite, y that are no classes, no label at all, the word '-1' for none (which
                NumPy makes of the number in a list of words), no column that changes, a density that does not fit.
        """
        if y is None:
            raise ValueError(f"This {type(self).__name__} requires y to be passed, but the target y is None")
        x, weights, _ = self._read_fit(X, sample_weight, frames=False)
        y = read_classes(y, len(x), remedy="-1 says that a sample has no label")
        density = read_density(self.density)
        members = positive_int("members", self.members)
        neighbours = positive_int("neighbours", self.neighbours, least=0)
        known = labelled(y)
        if not known.any():
            raise ValueError("y: expected a label for some samples, got -1 (none) for all")
        own = of_one_type(y[known])
        check_classification_targets(own)
        seen = known if weights is None else known & (weights > 0)
        if not seen.any():
            raise ValueError(
                "sample_weight: expected some weight above zero among samples of a class, got zero for all"
            )
        self.classes_ = np.unique(own[seen[known]])
        codes = np.full(len(y), -1)
        codes[seen] = np.searchsorted(self.classes_, own[seen[known]])
        every = distinct_rows(x, weights, codes)
        seed = self._draw_seed()
        apart = self._find_apart(every, None)
        labels = np.full(len(every), -1) if every.labels is None else every.labels
        # a class whose rows are all set apart has them still
        rows = apart.without(every, keep=(labels >= 0) & ~np.isin(labels, labels[apart.ordinary(every.x)]))
        ordinary = apart.without(every)
        self.encoding_ = Scaling.of(ordinary.x, ordinary.weights)
        labels = np.full(len(rows), -1) if rows.labels is None else rows.labels
        z = self.encoding_.encode(rows.x)
        if neighbours:
            labels = spread_labels(z, labels, len(self.classes_), neighbours, seed)
        self.densities_ = [
            self._fit_one(density, z, rows.weights, labels, seed + i, neighbours) for i in range(members)
        ]
        log_q = self._log_q(x)
        self.label_distributions_ = np.exp(log_q)
        self.transduction_ = self.classes_[np.where(seen, codes, log_q.argmax(axis=1))]
        return self

    def predict_log_proba(self, X: Any) -> Float64:  # noqa: N803
        """log q(y | x) of each row and class (rows, classes)."""
        check_is_fitted(self)
        return self._log_q(self._read_rows(X))

    def predict_proba(self, X: Any) -> Float64:  # noqa: N803
        """q(y | x) of each row and class (rows, classes)."""
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
        """log p(x) of each row (rows), nats, of the mean of the fits, in the columns' own units.

        Exact, or where hidden numbers leave it unknown ("m2", "mixture prior") the value of `estimate`.
        """
        return self.estimate(X)[0]

    def estimate(self, X: Any, samples: int = _SAMPLES) -> tuple[Float64, Float64]:  # noqa: N803
        """log p(x) of each row and its standard error (rows), nats, in the columns' own units; the error is 0 where exact.

        By weighted draws of the hidden numbers (`Density.estimate`), the same ones for every row and in every call.

        Args:
            X: as elsewhere.
            samples: draws for each row and fit, two at least.
        """
        check_is_fitted(self)
        samples = positive_int("samples", samples, least=2)
        x = self._read_rows(X)
        z = self.encoding_.encode(x)
        each = [
            (log_prob(density, z), np.zeros(len(z)))
            if density.likelihood == "exact"
            else estimate(density, z, samples, self.seed_)
            for density in self.densities_
        ]
        log_p, errors = np.stack([value for value, _ in each]), np.stack([error for _, error in each])
        total = np.logaddexp.reduce(log_p, axis=0)
        log_f = total - np.log(len(each))
        mixed = self.apart_.log_prob(log_f, z)
        # each error counts by the share of its density; where p is too small for a float, nothing has one
        share = np.exp(log_p - np.where(np.isneginf(total), 0.0, total))
        kept = np.exp(np.minimum(log_f - np.where(np.isneginf(mixed), 0.0, mixed), 0.0))
        error = kept * np.sqrt(np.square(share * errors).sum(axis=0))
        return self._in_own_units(mixed, x, z), error

    def _fit_one(
        self,
        density: str | Mixture,
        z: Float64,
        weights: Float64,
        labels: NDArray[np.int64],
        seed: int,
        neighbours: int,
    ) -> Mixture:
        x, own = torch.from_numpy(z.astype(np.float32)), torch.from_numpy(labels)
        most, batch_size = _PACE.epochs_and_batch(len(x))
        epochs = most if self.epochs is None else positive_int("epochs", self.epochs)
        mixture = mixture_of_classes(density, x.shape[1], len(self.classes_), seed)
        exact = mixture.likelihood == "exact"
        start(mixture, density, x, own, seed, min(3, epochs))
        fit(
            mixture,
            x,
            labels=own,
            weights=torch.from_numpy(weights.astype(np.float32)),
            objective=_objective(neighbours, 0.0 if exact else _WARMUP),
            validation=0,
            epochs=epochs,
            batch_size=batch_size,
            learning_rate=_RATE if exact else _RATE_OF_BOUNDS,
            clip=20.0,
            noise=0.05,
            seed=seed,
            device=self.device,
            progress=False,
        )
        return mixture.double()

    def _log_q(self, x: Float64) -> Float64:
        z: Tensor = torch.from_numpy(self.encoding_.encode(self.apart_.clipped(x)))
        each = np.stack([log_posterior(density, z) for density in self.densities_])
        return np.asarray(np.logaddexp.reduce(each, axis=0) - np.log(len(each)))


def _objective(neighbours: int, warmup: float) -> Objective:
    if not neighbours:
        return SemiSupervised(1.0, warmup)
    likelihood = _LIKELIHOOD * SemiSupervised(1 / _LIKELIHOOD, warmup)
    return likelihood + _AGREEMENT * Consistency("neighbours", neighbours=neighbours) + Information()
