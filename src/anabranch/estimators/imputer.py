"""Filling gaps by what the rest of a row says of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import OneToOneFeatureMixin, TransformerMixin
from sklearn.utils import Tags, check_random_state
from sklearn.utils._set_output import _get_output_config
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from anabranch.checks import one_of, positive_int
from anabranch.draws import drawing
from anabranch.estimators.any_order import fit_any_order
from anabranch.estimators.distinct import distinct_rows
from anabranch.estimators.estimator import Estimator
from anabranch.estimators.scaling import Scaling
from anabranch.estimators.schema_encoding import SchemaEncoding
from anabranch.queries.impute_any_order import best_guess, fill
from anabranch.tables import Column

Float64 = NDArray[np.float64]

_FILLED_AT_ONCE = 4096


class DensityImputer(OneToOneFeatureMixin, TransformerMixin, Estimator):  # type: ignore[misc]
    r"""Fills gaps from the conditional density of what is missing given what was observed in the row.

    A `models.AnyOrder` is fitted to rows with their gaps, by the likelihood of what was observed. `transform` gives each gap
    one value of p(x_i | x_observed), which is exact in the model; `impute` draws all gaps of a row jointly, many times over,
    for whoever wants to carry the uncertainty on (multiple imputation).

    A column that never changes is filled with its value. A wild value (1e6 among ages) stays as it is, with a warning of
    the fit, and is taken for a gap where others are filled given it (`apart.Apart`).

    A data frame with columns that are no numbers (text, categories, truth values, dates) is read by a `tables.Schema`, and
    comes back as a frame of the same library and types.

    Args:
        strategy: what `transform` fills in: "mean", least in squared error; "median", in absolute error; "draw", one joint
            draw, which keeps spread and correlations. With the first two categories and truth values get the most probable
            one, and whole or ordinal numbers of a schema one of their values: the one next to the mean, or the median.
        epochs: passes over the rows, at most; by default so many that large and small tables take a like time.
        kinds: for some columns of a data frame, by name: the word for their kind, or a `tables.columns.Column`, in place of
            what its values say; a frame of numbers alone is then read by a schema, too.
        device: where to train; the CPU by default.
        random_state: None, a seed, or a `numpy.random.RandomState`; of the fit, and of the draws of `transform`, which
            are the same at every call, unless it is a `RandomState`.

    Attributes:
        density_: the fitted `AnyOrder`, of encoded rows.
        encoding_: how X becomes numbers: a `Scaling` that standardises, or a `SchemaEncoding` of a data frame.
        n_features_in_, feature_names_in_: of X.

    Example:
        >>> import numpy as np
        >>> from anabranch.estimators import DensityImputer
        >>> x = np.random.default_rng(0).normal(size=(100, 2))
        >>> x[:20, 0] = np.nan
        >>> imputer = DensityImputer(epochs=2, random_state=0).fit(x)
        >>> bool(np.isnan(imputer.transform(x)).any()), imputer.impute(x, draws=5, random_state=0).shape
        (False, (5, 100, 2))
    """

    def __init__(
        self,
        strategy: str = "mean",
        *,
        epochs: int | None = None,
        kinds: Mapping[str, str | Column] | None = None,
        device: str | None = None,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.strategy = strategy
        self.epochs = epochs
        self.kinds = kinds
        self.device = device
        self.random_state = random_state

    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> Self:  # noqa: N803 (scikit-learn's names)
        """Fit to rows with gaps.

        Args:
            X: (rows, columns), an array or a data frame of numbers; NaN is a gap. Or a data frame of pandas, polars or
                pyarrow whose columns are of any kind, with gaps.
            y: ignored.
            sample_weight: (rows), how much each counts, at least 0.

        Raises:
            ValueError: infinite values, a column of gaps alone, no column that changes; a column of a data frame that is of
                no kind, which is named.
        """
        del y
        one_of("strategy", self.strategy, ("mean", "median", "draw"))
        x, weights, framed = self._read_fit(X, sample_weight, gaps=True, kinds=self.kinds)
        epochs = None if self.epochs is None else positive_int("epochs", self.epochs)
        every = distinct_rows(x, weights)
        apart = self._find_apart(every, framed)
        rows = apart.with_gaps(every)
        self.encoding_ = framed or Scaling.of(rows.x, rows.weights)
        self.density_ = fit_any_order(
            self.encoding_.tensor(self.encoding_.encode(rows.x)),
            rows.weights,
            self._draw_seed(),
            families=self.encoding_.families(),
            epochs=epochs,
            device=self.device,
        )
        return self

    def transform(self, X: Any) -> Any:  # noqa: N803
        """X (rows, columns) with its gaps filled by `strategy`; what was observed stays as it is.

        Raises:
            ValueError: X does not fit, or holds a category that the fit had not.
        """
        check_is_fitted(self)
        if one_of("strategy", self.strategy, ("mean", "median", "draw")) == "draw":
            seed = self.random_state if isinstance(self.random_state, np.random.RandomState) else self.seed_
            return self._written(self.impute(X, draws=1, random_state=seed)[0], X)
        x = self._read_rows(X, gaps=True)
        with torch.no_grad():
            filled = self._filled(x, self._centres)
        return self._written(self.encoding_.write(filled, X, np.isnan(x)), X)

    def impute(
        self,
        X: Any,  # noqa: N803
        draws: int = 5,
        random_state: int | np.random.RandomState | None = None,
    ) -> Any:
        """X with the gaps of each row drawn jointly given what was observed in it.

        Args:
            X: (rows, columns).
            draws: how many.
            random_state: None, a seed, or a `numpy.random.RandomState`.

        Returns:
            (draws, rows, columns); of a data frame with columns that are no numbers a list of such frames.
        """
        check_is_fitted(self)
        x = self._read_rows(X, gaps=True)
        count = positive_int("draws", draws)
        with drawing(int(check_random_state(random_state).randint(2**31 - 1))), torch.no_grad():
            drawn = [self._filled(x, lambda z: fill(self.density_, z)) for _ in range(count)]
        found = [self.encoding_.write(draw, X, np.isnan(x)) for draw in drawn]
        return found if isinstance(self.encoding_, SchemaEncoding) else np.stack(found)

    def _filled(self, x: Float64, of_gaps: Callable[[Tensor], Tensor]) -> Float64:
        """x (rows, columns) with its gaps filled, a part of the rows at a time."""
        filled, gaps = x.copy(), np.isnan(x)
        some = np.flatnonzero(gaps.any(axis=1))
        for part in np.array_split(some, -(-len(some) // _FILLED_AT_ONCE) or 1):
            # a wild value stays, and says nothing of the gaps beside it
            known = self.encoding_.encode(self.apart_.as_gaps(x[part]))
            found = of_gaps(torch.from_numpy(known)).numpy()
            filled[part] = np.where(gaps[part], self.encoding_.decode(found), filled[part])
        return filled

    def _written(self, filled: Any, x: Any) -> Any:
        """What `set_output` will take: it makes frames of arrays, but knows no way from one library's frame to another's."""
        wanted = _get_output_config("transform", self)["dense"]
        if not isinstance(self.encoding_, SchemaEncoding) or wanted == "default":
            return filled
        return self.encoding_.frames.of_library(filled, wanted)

    def _centres(self, z: Tensor) -> Tensor:
        """z (rows, columns) with the mean or median of each gap given what the row has."""
        return best_guess(self.density_, z, self.strategy, middles=self.encoding_.middles(self.strategy))

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.non_deterministic = self.strategy == "draw"
        return tags
