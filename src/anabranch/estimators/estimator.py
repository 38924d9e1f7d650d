"""What all estimators have in common: how they read rows, and how they are saved."""

from __future__ import annotations

import copy
import os
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.utils import Tags, check_random_state
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from anabranch import storage
from anabranch.densities import Density
from anabranch.estimators.stored import Stored, packed, unpacked

Float64 = NDArray[np.float64]


class Estimator(BaseEstimator):  # type: ignore[misc]
    """A scikit-learn estimator that stands on densities.

    Pickles and copies like any other; `save` and `load` write and read one safetensors file, and nothing is unpickled.
    """

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the fitted estimator to one safetensors file: settings, densities, and whatever `fit` has found.

        A `random_state` that is a generator is written as the seed that it gave to the fit.

        Raises:
            NotFittedError: it is not fitted.
            TypeError: a setting or a result of a kind that cannot be described in a file.
        """
        check_is_fitted(self)
        settings = self.get_params(deep=False)
        if not isinstance(settings["random_state"], (int, np.integer)):
            settings["random_state"] = self.seed_
        found = {name: value for name, value in vars(self).items() if name.endswith("_") and not name.startswith("_")}
        storage.save(Stored(type(self).__name__, packed(settings), packed(found)), path)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read a file that `save` wrote.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: it is damaged, or of another estimator.
        """
        stored = storage.load(path)
        name = stored.estimator if isinstance(stored, Stored) else type(stored).__name__
        if name != cls.__name__:
            raise ValueError(f"{path}: expected a {cls.__name__}, got a {name}; read it with that class's load")
        estimator = cls(**unpacked(stored.settings))
        for name, value in unpacked(stored.found).items():
            setattr(estimator, name, value)
        return estimator

    def _draw_seed(self) -> int:
        """The seed of this fit, by `random_state`."""
        self.seed_ = int(check_random_state(self.random_state).randint(2**31 - 1))
        return self.seed_

    def _read_rows(self, x: Any, *, fitting: bool = False, gaps: bool = False, least: int = 1) -> Float64:
        """X as float64 (rows, columns), checked as scikit-learn does."""
        x = validate_data(
            self,
            x,
            reset=fitting,
            dtype=np.float64,
            ensure_all_finite="allow-nan" if gaps else True,
            ensure_min_samples=least,
        )
        return np.asarray(x, dtype=np.float64) + 0.0  # no -0

    def _read_weights(self, sample_weight: Any, x: Float64) -> Float64 | None:
        """The weights of rows, at least 0, not all 0, and of mean one at least; None for None.

        A weight of 2 is the same as the row twice; weights that are shares, of mean below one, are not taken for fewer rows.

        Raises:
            ValueError: others.
        """
        if sample_weight is None:
            return None
        weights = _check_sample_weight(sample_weight, x, dtype=np.float64, ensure_non_negative=True)
        if not weights.any():
            raise ValueError("sample_weight: expected some weight above zero, got zero for all samples")
        weights = weights / max(1.0, weights.max() / 1e100)  # whose sum might overflow
        return np.asarray(weights / min(1.0, weights[weights > 0].mean()))

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = False
        return tags


def copied(density: Any, columns: int) -> Density:
    """A copy of a density to fit, which is a density of rows of so many columns.

    Raises:
        ValueError: it is none, or has a context.
    """
    if not isinstance(density, Density):
        raise ValueError(f"density: expected the name of one or a Density, got {density!r}")
    if tuple(density.event_shape) != (columns,) or density.context_shape is not None:
        raise ValueError(
            f"density: expected one of rows of {columns} numbers (columns that never change are left out) and without a "
            f"context, got event shape {tuple(density.event_shape)} and context shape {density.context_shape}"
        )
    return copy.deepcopy(density).float()
