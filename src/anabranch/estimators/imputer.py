"""Filling gaps by what the rest of a row says of them."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import OneToOneFeatureMixin, TransformerMixin
from sklearn.utils import Tags, check_random_state
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from anabranch.checks import one_of, positive_int
from anabranch.estimators.distinct import distinct_rows
from anabranch.estimators.estimator import Estimator
from anabranch.estimators.gaps import fit_any_order
from anabranch.estimators.scaling import Scaling
from anabranch.models import AnyOrder
from anabranch.models.any_order import Walk

Float64 = NDArray[np.float64]

_FILLED_AT_ONCE = 4096


class DensityImputer(OneToOneFeatureMixin, TransformerMixin, Estimator):  # type: ignore[misc]
    r"""Fills gaps (NaN) from the conditional density of what is missing given what was observed in the row.

    A `models.AnyOrder` is fitted to rows with their gaps, by the likelihood of what was observed. `transform` gives each gap
    one value of p(x_i | x_observed), which is exact in the model; `impute` draws all gaps of a row jointly, many times over,
    for whoever wants to carry the uncertainty on (multiple imputation).

    A column that never changes is filled with its value.

    Args:
        strategy: what `transform` fills in: "mean", least in squared error; "median", in absolute error; "draw", one joint
            draw, which keeps spread and correlations.
        epochs: passes over the rows, at most; by default so many that large and small tables take a like time.
        device: where to train; the CPU by default.
        random_state: None, a seed, or a `numpy.random.RandomState`; of the fit, and of the draws of `transform`.

    Attributes:
        density_: the fitted `AnyOrder`, of standardised columns.
        scaling_: how they are standardised.
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
        device: str | None = None,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.strategy = strategy
        self.epochs = epochs
        self.device = device
        self.random_state = random_state

    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> Self:  # noqa: N803 (scikit-learn's names)
        """Fit to rows with gaps.

        Args:
            X: (rows, columns), an array or a data frame of numbers; NaN is a gap.
            y: ignored.
            sample_weight: (rows), how much each counts, at least 0.

        Raises:
            ValueError: infinite values, a column of gaps alone, no column that changes.
        """
        del y
        one_of("strategy", self.strategy, ("mean", "median", "draw"))
        x = self._read_rows(X, fitting=True, gaps=True, least=2)
        rows = distinct_rows(x, self._read_weights(sample_weight, x))
        epochs = None if self.epochs is None else positive_int("epochs", self.epochs)
        self.scaling_ = Scaling.of(rows.x, rows.weights)
        seed = self._draw_seed()
        self.density_ = fit_any_order(
            self.scaling_.encode(rows.x), rows.weights, seed, epochs=epochs, device=self.device
        )
        return self

    def transform(self, X: Any) -> Float64:  # noqa: N803
        """X (rows, columns) with its gaps filled by `strategy`; what was observed stays as it is."""
        check_is_fitted(self)
        if one_of("strategy", self.strategy, ("mean", "median", "draw")) == "draw":
            seed = self.random_state if isinstance(self.random_state, np.random.RandomState) else self.seed_
            return self.impute(X, draws=1, random_state=seed)[0]
        x = self._read_rows(X, gaps=True)
        filled = self._constants(x)
        gaps = np.isnan(filled)
        some = np.flatnonzero(gaps.any(axis=1))
        for part in np.array_split(some, -(-len(some) // _FILLED_AT_ONCE) or 1):
            z = torch.from_numpy(self.scaling_.encode(x[part]))
            with torch.no_grad():
                found = self._centres(z).numpy()
            filled[part] = np.where(gaps[part], self.scaling_.decode(found), filled[part])
        return filled

    def impute(
        self,
        X: Any,  # noqa: N803
        draws: int = 5,
        random_state: int | np.random.RandomState | None = None,
    ) -> Float64:
        """X with the gaps of each row drawn jointly given what was observed in it: (draws, rows, columns).

        Args:
            X: (rows, columns).
            draws: how many.
            random_state: None, a seed, or a `numpy.random.RandomState`.
        """
        check_is_fitted(self)
        x = self._read_rows(X, gaps=True)
        filled = np.repeat(self._constants(x)[None], positive_int("draws", draws), axis=0)
        gaps = np.isnan(filled)
        if not gaps.any():
            return filled
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            torch.manual_seed(int(check_random_state(random_state).randint(2**31 - 1)))
            for draw in filled:
                missing = np.isnan(draw)
                some = np.flatnonzero(missing.any(axis=1))
                for part in np.array_split(some, -(-len(some) // _FILLED_AT_ONCE)):
                    z = torch.from_numpy(self.scaling_.encode(x[part]))
                    found = self.scaling_.decode(_drawn(self.density_, z).numpy())
                    draw[part] = np.where(missing[part], found, draw[part])
        return filled

    def _constants(self, x: Float64) -> Float64:
        """A copy of x with the gaps of columns that never change filled."""
        left_out = (self.scaling_.scale == 0) & np.isnan(x)
        return np.where(left_out, self.scaling_.loc, x)

    def _centres(self, z: Tensor) -> Tensor:
        """z (rows, columns) with the mean or median of each gap given what the row has."""
        model = self.density_
        walk = Walk(model, z.shape[:-1], None, like=z)
        columns = list(z.unbind(dim=-1))
        for i, column in enumerate(columns):
            walk.reveal(i, column)
        half = torch.full(z.shape[:1], 0.5, dtype=z.dtype)
        for i, column in enumerate(columns):
            if bool(column.isnan().any()):
                family, theta = model.family(i), walk.theta(i)
                centre = family.mean(theta) if self.strategy == "mean" else family.quantile(half, theta)
                columns[i] = torch.where(column.isnan(), centre, column)
        return torch.stack(columns, dim=-1)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.non_deterministic = self.strategy == "draw"
        return tags


def _drawn(model: AnyOrder, z: Tensor) -> Tensor:
    """z (rows, columns) with its gaps drawn, one after the other, given what the row has and what was drawn before."""
    walk = Walk(model, z.shape[:-1], None, like=z)
    columns = list(z.unbind(dim=-1))
    for i, column in enumerate(columns):
        walk.reveal(i, column)
    for i, column in enumerate(columns):
        missing = column.isnan()
        if bool(missing.any()):
            found = model.family(i).sample(walk.theta(i))
            columns[i] = torch.where(missing, found, column)
            walk.reveal(i, torch.where(missing, found, torch.nan))
    return torch.stack(columns, dim=-1)
