"""What all estimators have in common: how they read rows, and how they are saved."""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.utils import Tags, _safe_indexing, check_random_state
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from anabranch import storage
from anabranch.arrays import unmasked
from anabranch.densities import Density
from anabranch.estimators.apart import Apart
from anabranch.estimators.distinct import Distinct
from anabranch.estimators.encoding import Encoding
from anabranch.estimators.finite import refuse_columns_of_gaps, refuse_other_than_finite
from anabranch.estimators.frames import first_other_than_numbers, is_frame, refuse_inexact_rows
from anabranch.estimators.schema_encoding import SchemaEncoding
from anabranch.estimators.stored import Stored, packed, unpacked
from anabranch.tables import Column

Float64 = NDArray[np.float64]

# of a fit
_LEAST_ROWS = 2
# where scikit-learn keeps what set_output was told, which a clone has too
_OUTPUT = "_sklearn_output_config"


class Estimator(BaseEstimator):  # type: ignore[misc]
    """A scikit-learn estimator that stands on densities.

    Pickles and copies like any other; `save` and `load` write and read one safetensors file, and nothing is unpickled.

    Attributes:
        encoding_: how X becomes numbers, an `Encoding`.
        apart_: which rows are set apart, and what density they have, an `Apart`.
    """

    encoding_: Encoding
    apart_: Apart

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the fitted estimator to one safetensors file: settings, densities, and whatever `fit` has found.

        A `random_state` that is a generator is written as the seed that it gave to the fit. What `set_output` has set is
        written, too; what `set_fit_request` has is not.

        Raises:
            NotFittedError: it is not fitted.
            TypeError: a setting or a result of a kind that cannot be described in a file.
        """
        check_is_fitted(self)
        settings = self.get_params(deep=False)
        if isinstance(settings["random_state"], np.random.RandomState):
            settings["random_state"] = self.seed_
        found = {name: value for name, value in vars(self).items() if name.endswith("_") and not name.startswith("_")}
        if hasattr(self, _OUTPUT):
            found[_OUTPUT] = getattr(self, _OUTPUT)
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
            reader = f"{name}.load" if isinstance(stored, Stored) else "anabranch.load"
            raise ValueError(f"{path}: expected a {cls.__name__}, got a {name}; read it with {reader}")
        estimator = cls(**unpacked(stored.settings))
        for name, value in unpacked(stored.found).items():
            setattr(estimator, name, value)
        return estimator

    def _unit(self) -> str:
        """The unit of log p in words: which columns have a density, and which a probability."""
        return self.encoding_.unit(self._names())

    def _in_own_units(self, log_p: Float64, x: Float64, z: Float64) -> Float64:
        """log p (rows) of x in the columns' own units, by that of its encoding z; -inf where a column has another value than
        the only one of the fit.
        """
        scores = np.asarray(log_p + self.encoding_.log_det(z))
        scores[self.encoding_.off_constant(x)] = -np.inf
        return scores

    def _find_apart(self, rows: Distinct, framed: SchemaEncoding | None) -> Apart:
        """What is wild among the rows of a fit; nothing in columns read by a schema, which has ways of its own."""
        self.apart_ = Apart.of(rows, self._names()) if framed is None else Apart.none(rows.x.shape[1])
        return self.apart_

    def _names(self) -> list[str]:
        """The names of the columns, x0, x1, ... without any."""
        names = getattr(self, "feature_names_in_", None)
        return [f"x{i}" for i in range(self.n_features_in_)] if names is None else [str(name) for name in names]

    def _draw_seed(self) -> int:
        """The seed of this fit, by `random_state`."""
        self.seed_ = int(check_random_state(self.random_state).randint(2**31 - 1))
        return self.seed_

    def _read_fit(
        self,
        x: Any,
        sample_weight: Any,
        *,
        gaps: bool = False,
        frames: bool = True,
        kinds: Mapping[str, str | Column] | None = None,
    ) -> tuple[Float64, Float64 | None, SchemaEncoding | None]:
        """X of a fit, as float64 (rows, columns), and the weights of its rows.

        Args:
            x: X.
            sample_weight: as `fit` takes it.
            gaps: whether numbers may be NaN.
            frames: whether a data frame may have columns that are no numbers.
            kinds: those that are declared of columns of a data frame.

        Returns:
            x, NaN for gaps; the weights; and the encoding, if X is a data frame with columns that are no numbers, or of
            declared kinds.

        Raises:
            ValueError: X is not as scikit-learn has it, or holds what it may not.
        """
        if kinds is not None and not isinstance(kinds, Mapping):
            raise ValueError(f"kinds: expected a mapping, the kind of each column that is named, got {kinds!r}")
        other = first_other_than_numbers(x, truth=not frames)
        if other is None and not kinds:
            numbers = self._read_numbers(x, fitting=True, gaps=gaps)
            weights = self._read_weights(sample_weight, numbers)
            refuse_columns_of_gaps(
                numbers if weights is None else numbers[weights > 0], getattr(self, "feature_names_in_", None)
            )
            return numbers, weights, None
        if kinds and not is_frame(x):
            raise ValueError(f"kinds: expected None, or X to be a data frame, got {type(x).__name__}")
        if not frames:
            raise ValueError(
                f"X: could not convert column {other!r} to numbers, which {type(self).__name__} needs in all columns; "
                "encode it first, with sklearn.preprocessing.OneHotEncoder for one"
            )
        validate_data(self, x, reset=True, skip_check_array=True)
        if len(x) < _LEAST_ROWS:
            raise ValueError(f"Found array with {len(x)} sample(s) while a minimum of {_LEAST_ROWS} is required.")
        weights = self._read_weights(sample_weight, np.empty(len(x)))
        counted = np.ones(len(x), dtype=bool) if weights is None else weights > 0
        encoding = SchemaEncoding.of(x, counted, kinds)
        values = np.full((len(x), len(encoding.schema.columns)), np.nan)
        values[counted] = encoding.read(_taken(x, np.flatnonzero(counted)))
        return values, weights, encoding

    def _read_rows(self, x: Any, *, gaps: bool = False) -> Float64:
        """X as float64 (rows, columns), of a fitted estimator; columns that are no numbers by its encoding."""
        if not isinstance(self.encoding_, SchemaEncoding):
            return self.encoding_.read(self._read_numbers(x, gaps=gaps))
        validate_data(self, x, reset=False, skip_check_array=True)
        if not hasattr(x, "columns"):
            names = ", ".join(map(repr, self.encoding_.frames.columns))
            raise ValueError(f"X: expected a data frame with the columns {names}, got {type(x).__name__}")
        return self.encoding_.read(x)

    def _read_numbers(self, x: Any, *, fitting: bool = False, gaps: bool = False) -> Float64:
        """Numbers as float64 (rows, columns), checked as scikit-learn does; masked cells are gaps.

        Raises:
            ValueError: infinities, gaps where none are taken, whole numbers beyond 2^53.
        """
        x = unmasked(x, "X")
        refuse_inexact_rows(x)
        x = validate_data(
            self,
            x,
            reset=fitting,
            dtype=np.float64,
            ensure_all_finite=False,
            ensure_min_samples=_LEAST_ROWS if fitting else 1,
        )
        numbers = np.asarray(x, dtype=np.float64) + 0.0  # no -0
        refuse_other_than_finite(numbers, getattr(self, "feature_names_in_", None), gaps, self._gap_remedy())
        return numbers

    def _gap_remedy(self) -> str:
        """What to do about gaps where none are taken."""
        return "fill them first, with anabranch.estimators.DensityImputer for one, or remove such rows"

    def _read_weights(self, sample_weight: Any, x: Float64) -> Float64 | None:
        """The weights of rows, at least 0, not all 0, and of mean one at least; None for None.

        A weight of 2 is the same as the row twice; weights that are shares, of mean below one, are not taken for fewer rows.

        Raises:
            ValueError: others.
        """
        if sample_weight is None:
            return None
        given = unmasked(sample_weight, "sample_weight")
        weights = _check_sample_weight(given, x, dtype=np.float64, ensure_non_negative=True)
        if not weights.any():
            raise ValueError("sample_weight: expected some weight above zero, got zero for all samples")
        weights = weights / max(1.0, weights.max() / 1e100)  # whose sum might overflow
        return np.asarray(weights / min(1.0, weights[weights > 0].mean()))

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = False
        return tags


def _taken(frame: Any, rows: NDArray[np.int64]) -> Any:
    return _safe_indexing(frame, rows) if len(rows) < len(frame) else frame


def refuse_real_density(density: str | Density, expected: str) -> None:
    """Raise ValueError for a density of real numbers, where there are columns of other kinds and others are expected."""
    if not isinstance(density, str) or density == "flow":
        raise ValueError(
            f"density: expected {expected} for a data frame with columns that are no numbers (or with kinds), got "
            f"{density if isinstance(density, str) else type(density).__name__!r}, which takes numbers alone"
        )


def copied(density: Density, columns: int) -> Density:
    """A copy of a density to fit, which is a density of rows of so many columns.

    Raises:
        ValueError: it is one of other rows, or has a context.
    """
    if tuple(density.event_shape) != (columns,) or density.context_shape is not None:
        raise ValueError(
            f"density: expected one of rows of {columns} numbers (columns that never change are left out) and without a "
            f"context, got event shape {tuple(density.event_shape)} and context shape {density.context_shape}"
        )
    return copy.deepcopy(density).float()
