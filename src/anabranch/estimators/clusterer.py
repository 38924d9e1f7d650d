"""Clustering by a mixture whose components are shaped by a flow."""

from __future__ import annotations

import warnings
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import ClusterMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.validation import check_is_fitted

from anabranch.checks import is_number, positive_int
from anabranch.estimators.distinct import distinct_rows
from anabranch.estimators.estimator import Estimator
from anabranch.estimators.islands import islands
from anabranch.estimators.scaling import Scaling
from anabranch.estimators.schwarz import enough
from anabranch.estimators.shaped_mixture import log_posterior, shaped_mixture
from anabranch.estimators.stacking import log_prob
from anabranch.objectives import Consistency, Information, Likelihood, Objective
from anabranch.training import fit, fit_best_of, start_from
from anabranch.training.pace import Pace

Float64 = NDArray[np.float64]

_PACE = Pace(steps=800)
_SCREENING = 3


class MixtureClusterer(ClusterMixin, Estimator):  # type: ignore[misc]
    r"""Clusters that are the components of a mixture, p(x) = sum_k w_k p_k(x), in the columns' own units.

    Normal components behind a flow that they share, so that clusters need not be ellipses, and a network q(k | x) that tells
    them. The fit starts from k-means, several times, of which the start of lowest loss is fitted on; it maximises the
    likelihood, and that neighbouring rows agree on their cluster, and that clusters are told surely and all used
    (`objectives.Likelihood`, `Consistency`, `Information`). Columns are standardised; a column that never changes is
    left out, and a row with another value in it has log p = -inf.

    Where the rows lie on as many islands as there are clusters, with nothing between them (`islands.islands`), these are the
    clusters, whatever their sizes and shapes, and `balance` is not used: clusters of 880, 15 and 5 rows.

    Rows with a wild value (1e6 among ages) are set apart with a warning (`apart.Apart`). They are a cluster, the last one,
    if the other rows are described as well by one cluster fewer than `n_clusters` (`schwarz.enough`); or else they have the
    cluster of the row at the end of what is usual.

    Args:
        n_clusters: how many. Clusters that in the end have no row are left out, so there may be fewer.
        starts: how many starts are tried.
        balance: weight of using all clusters and telling them surely, in nats per column; lower for clusters of very
            different size.
        epochs: passes over the rows; by default so many that large and small tables take a like time.
        device: where to train; the CPU by default.
        random_state: None, a seed, or a `numpy.random.RandomState`.

    Attributes:
        labels_: the cluster of each row, from 0.
        wild_cluster_: whether the last cluster is that of the rows that were set apart.
        density_: the fitted `FlowMixture`, of standardised columns.
        encoding_: how they are standardised, a `Scaling`.
        unit_: the unit of `score_samples` in words.
        n_features_in_, feature_names_in_: of X.

    Example:
        >>> import numpy as np
        >>> from anabranch.estimators import MixtureClusterer
        >>> x = np.random.default_rng(0).normal(size=(60, 2)) + np.repeat([[-4.0], [4.0]], 30, axis=0)
        >>> labels = MixtureClusterer(2, starts=1, epochs=2, random_state=0).fit_predict(x)
        >>> len(set(labels[:30])), len(set(labels))
        (1, 2)
    """

    def __init__(
        self,
        n_clusters: int = 8,
        *,
        starts: int = 4,
        balance: float = 1.0,
        epochs: int | None = None,
        device: str | None = None,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.n_clusters = n_clusters
        self.starts = starts
        self.balance = balance
        self.epochs = epochs
        self.device = device
        self.random_state = random_state

    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> Self:  # noqa: N803 (scikit-learn's names)
        """Fit to rows.

        Args:
            X: (rows, columns), an array or a data frame of finite numbers. Columns that are none are to be encoded first,
                with scikit-learn's `OneHotEncoder` for one.
            y: ignored.
            sample_weight: (rows), how much each counts, at least 0.

        Raises:
            ValueError: fewer rows than clusters, values that are not finite, no column that changes.
        """
        del y
        x, weights, _ = self._read_fit(X, sample_weight, frames=False)
        count = positive_int("n_clusters", self.n_clusters)
        starts = positive_int("starts", self.starts)
        if not is_number(self.balance) or not 0 <= float(self.balance) < np.inf:
            raise ValueError(f"balance: expected a number of at least 0, got {self.balance!r}")
        if len(x) < max(2, count):
            raise ValueError(f"n_samples={len(x)} should be >= n_clusters={count}, and at least 2")
        rows = distinct_rows(x, weights)
        if len(rows) < count:
            warnings.warn(
                f"n_clusters={count}, but only {len(rows)} rows are different: as many clusters are fitted",
                ConvergenceWarning,
                stacklevel=2,
            )
            count = len(rows)
        seed = self._draw_seed()
        rows = self._find_apart(rows, None).without(rows)
        self.encoding_ = Scaling.of(rows.x, rows.weights)
        numbers = self.encoding_.encode(rows.x)
        self.wild_cluster_ = self.apart_.share > 0 and count > 1 and enough(numbers, rows.weights, count - 1)
        count = min(count - self.wild_cluster_, len(rows))
        z = torch.from_numpy(numbers.astype(np.float32))
        most, batch_size = _PACE.epochs_and_batch(len(z))
        epochs = most if self.epochs is None else positive_int("epochs", self.epochs)
        alone = islands(numbers, rows.weights, count, seed)
        known = None if alone is None else torch.from_numpy(alone)

        def build(number: int) -> Any:
            mixture = shaped_mixture(z.shape[1], count, number)
            with warnings.catch_warnings():
                # rows that differ by less than a rounding: fewer clusters, which are left out in the end
                warnings.simplefilter("ignore")
                start_from(mixture, z, "k-means" if known is None else known, seed=number, epochs=min(2, epochs))
            return mixture

        options: dict[str, Any] = {
            "epochs": epochs,
            "weights": torch.from_numpy(rows.weights.astype(np.float32)),
            "labels": known,
            "objective": self._objective(z, balance=known is None),
            "validation": 0,
            "batch_size": batch_size,
            "learning_rate": 2e-3,
            "clip": 20.0,
            "noise": 0.05,
            "device": self.device,
            "progress": False,
        }
        first = seed % 2**30  # and the next ones
        if starts == 1 or known is not None:
            mixture = build(first)
            fit(mixture, z, seed=first, **options)
        else:
            mixture, _ = fit_best_of(build, z, starts=starts, screening=min(_SCREENING, epochs), seed=first, **options)
        found = log_posterior(mixture, z.double()).argmax(axis=1)
        used = np.unique(found)
        if len(used) < count:
            mixture.annihilate([k for k in range(count) if k not in used])
            mixture = mixture.prune(0.0)
        self.density_ = mixture.double()
        self.labels_ = self._labels(x)
        return self

    def predict(self, X: Any) -> NDArray[np.int64]:  # noqa: N803
        """The cluster of each row (rows), from 0."""
        check_is_fitted(self)
        return self._labels(self._read_rows(X))

    def predict_proba(self, X: Any) -> Float64:  # noqa: N803
        """q(k | x) of each row and cluster (rows, clusters)."""
        check_is_fitted(self)
        return self._shares(self._read_rows(X))

    @property
    def unit_(self) -> str:
        """The unit of `score_samples` in words, by the names of the columns."""
        return self._unit()

    def score_samples(self, X: Any) -> Float64:  # noqa: N803
        """log p(x) of each row (rows), nats, exact, in the columns' own units."""
        check_is_fitted(self)
        x = self._read_rows(X)
        z = self.encoding_.encode(x)
        return self._in_own_units(self.apart_.log_prob(log_prob(self.density_, z), z), x, z)

    def score(self, X: Any, y: Any = None) -> float:  # noqa: N803
        """The mean log p(x) of the rows, nats."""
        del y
        return float(np.mean(self.score_samples(X)))

    def _labels(self, x: Float64) -> NDArray[np.int64]:
        return np.asarray(self._shares(x).argmax(axis=1))

    def _shares(self, x: Float64) -> Float64:
        """q(k | x) (rows, clusters), the last that of the rows that were set apart, if they are one."""
        z = torch.from_numpy(self.encoding_.encode(self.apart_.clipped(x)))
        shares = np.asarray(np.exp(log_posterior(self.density_, z)))
        if not self.wild_cluster_:
            return shares
        wild = ~self.apart_.ordinary(x)[:, None]
        return np.column_stack([np.where(wild, 0.0, shares), wild])

    def _objective(self, z: torch.Tensor, balance: bool) -> Objective:
        columns = z.shape[1]
        objective: Objective = Likelihood() + float(columns) * Consistency("neighbours")
        if self.balance and balance:
            objective = objective + float(columns * self.balance) * Information()
        return objective
