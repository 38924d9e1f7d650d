"""Density estimation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import DensityMixin
from sklearn.utils import Tags, check_random_state
from sklearn.utils.validation import check_is_fitted

from anabranch.checks import positive_int
from anabranch.densities import Density
from anabranch.estimators.any_order import fit_any_order
from anabranch.estimators.distinct import distinct_rows
from anabranch.estimators.estimator import Estimator, copied, refuse_real_density
from anabranch.estimators.scaling import Scaling
from anabranch.estimators.stacking import fit_stack, log_prob
from anabranch.tables import Column

Float64 = NDArray[np.float64]


class DensityEstimator(DensityMixin, Estimator):  # type: ignore[misc]
    r"""The density p(x) of the rows of a table, log p in nats per row, in the columns' own units.

    Columns are standardised. By default flows and Gaussian mixtures are fitted to different folds of the rows and mixed,
    with weights that rows they have not seen decide (`stacking.fit_stack`): few rows get about a Gaussian mixture, many the
    flows. If X has gaps (NaN), a `models.AnyOrder` is fitted to what was observed; log p of a row is that of what it has.

    A column that never changes has no density and is left out: samples have its value, and a row with another one has
    log p = -inf. Equal rows are one row with a weight (`distinct.Distinct`). Rows with a wild value (1e6 among ages) are
    set apart with a warning: they are not fitted, and have a low log p of a broad density (`apart.Apart`); samples are of
    the others.

    A data frame with columns that are no numbers (text, categories, truth values, dates) is read by a `tables.Schema`, and a
    `models.AnyOrder` fitted to it: log p is then of densities and of probabilities, as `unit_` says.

    Args:
        density: "auto", as described; "flow", for complete rows alone; "any order", for rows with gaps, whether or not
            those of the fit have any; or a `Density` of as many numbers as there are columns that change, of which copies
            are fitted in place of the flows. Fewer than 10 different rows get a normal either way.
        members: how many folds and fits; by default 5 up to 2,000 rows, 3 up to 10,000, else 1. A model of any order is one.
        epochs: passes over the rows, at most; by default so many that large and small tables take a like time.
        kinds: for some columns of a data frame, by name: the word for their kind, or a `tables.columns.Column`, in place of
            what its values say; a frame of numbers alone is then read by a schema, too.
        device: where to train; the CPU by default.
        random_state: None, a seed, or a `numpy.random.RandomState`.

    Attributes:
        density_: the fitted `Density`, of encoded rows.
        apart_: which rows are set apart, and what density they have, an `Apart`.
        encoding_: how X becomes numbers: a `Scaling` that standardises, or a `SchemaEncoding` of a data frame.
        unit_: the unit of log p in words.
        n_features_in_, feature_names_in_: of X.

    Example:
        >>> import numpy as np
        >>> from anabranch.estimators import DensityEstimator
        >>> x = np.random.default_rng(0).normal(size=(100, 2))
        >>> model = DensityEstimator(members=1, epochs=2, random_state=0).fit(x)
        >>> model.score_samples(x).shape, model.sample(3, random_state=0).shape
        ((100,), (3, 2))
    """

    def __init__(
        self,
        density: str | Density = "auto",
        *,
        members: int | None = None,
        epochs: int | None = None,
        kinds: Mapping[str, str | Column] | None = None,
        device: str | None = None,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.density = density
        self.members = members
        self.epochs = epochs
        self.kinds = kinds
        self.device = device
        self.random_state = random_state

    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> Self:  # noqa: N803 (scikit-learn's names)
        """Fit to rows.

        Args:
            X: (rows, columns), an array or a data frame of numbers; NaN is a gap. Or a data frame of pandas, polars or
                pyarrow whose columns are of any kind, with gaps.
            y: ignored.
            sample_weight: (rows), how much each counts, at least 0.

        Raises:
            ValueError: fewer than two rows, infinite values, gaps where the density takes none, no column that changes; a
                column of a data frame that is of no kind, which is named.
        """
        del y
        x, weights, framed = self._read_fit(X, sample_weight, gaps=self._takes_gaps(), kinds=self.kinds)
        members = None if self.members is None else positive_int("members", self.members)
        epochs = None if self.epochs is None else positive_int("epochs", self.epochs)
        seed = self._draw_seed()
        own = self.density
        every = distinct_rows(x, weights)
        apart = self._find_apart(every, framed)
        gaps = own == "any order" or (own == "auto" and bool(np.isnan(x).any()))
        rows = apart.with_gaps(every) if gaps else apart.without(every)
        if framed is not None:
            refuse_real_density(own, "'auto' or 'any order'")
        self.encoding_ = framed or Scaling.of(rows.x, rows.weights)
        z = self.encoding_.encode(rows.x)
        self.gaps_ = framed is not None or own == "any order" or (own == "auto" and bool(np.isnan(z).any()))
        if self.gaps_:
            self.density_: Density = fit_any_order(
                self.encoding_.tensor(z),
                rows.weights,
                seed,
                families=self.encoding_.families(),
                epochs=epochs,
                device=self.device,
            )
            return self
        build = None if isinstance(own, str) else (lambda: copied(own, z.shape[1]))
        if build is not None:
            build()  # complains before anything is fitted
        self.density_ = fit_stack(
            z, rows.weights, seed, build=build, members=members, epochs=epochs, device=self.device
        )
        return self

    @property
    def unit_(self) -> str:
        """The unit of `score_samples` in words, by the names of the columns."""
        return self._unit()

    def score_samples(self, X: Any) -> Float64:  # noqa: N803
        """log p of each row (rows), nats, of a density in the columns' own units; of what was observed, if there are gaps.

        Raises:
            ValueError: X does not fit, has gaps where the density takes none, or a category that the fit had not.
        """
        check_is_fitted(self)
        x = self._read_rows(X, gaps=self.gaps_)
        z = self.encoding_.encode(x)
        return self._in_own_units(self.apart_.log_prob(log_prob(self.density_, z), z), x, z)

    def score(self, X: Any, y: Any = None) -> float:  # noqa: N803
        """The mean log p of the rows, nats: higher is better, so that searches over settings maximise it."""
        del y
        return float(np.mean(self.score_samples(X)))

    def sample(self, n_samples: int = 1, random_state: int | np.random.RandomState | None = None) -> Any:
        """New rows (n_samples, columns), in the columns' own units: an array, or a data frame as X was, if that had columns
        that are no numbers.

        Args:
            n_samples: how many.
            random_state: None, a seed, or a `numpy.random.RandomState`.
        """
        check_is_fitted(self)
        count = positive_int("n_samples", n_samples)
        seed = int(check_random_state(random_state).randint(2**31 - 1))
        z = self.density_.sample((count,), generator=seed).numpy().astype(np.float64)
        return self.encoding_.write(self.encoding_.decode(z))

    def _takes_gaps(self) -> bool:
        named = isinstance(self.density, str) and self.density in ("auto", "flow", "any order")
        if not named and not isinstance(self.density, Density):
            raise ValueError(f"density: expected 'auto', 'flow', 'any order' or a Density, got {self.density!r}")
        return isinstance(self.density, str) and self.density != "flow"

    def _gap_remedy(self) -> str:
        return f"fit with density='any order', which takes gaps, or {super()._gap_remedy()}"

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = isinstance(self.density, str) and self.density != "flow"
        return tags
