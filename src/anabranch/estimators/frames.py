"""What is remembered of a data frame, so that others of its kind can be read and made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from anabranch.arrays import refuse_inexact
from anabranch.described import Described
from anabranch.tables import TableError, as_table
from anabranch.tables.types import flat

_LIBRARIES = ("pandas", "polars", "pyarrow")


class Frames(Described):
    """Data frames of one library, with the same names and types of columns.

    Args:
        library: "pandas", "polars" or "pyarrow".
        names: of the columns, words or (pandas) numbers.
        types: of the columns: of pandas the word for its dtype, of the others "" for what the values say.
        categories: of columns of categories (a pandas categorical, a polars enumeration, an Arrow dictionary), by name: the
            "levels", all that were declared, whether they are "ordered", and the type of their "index".

    Example:
        >>> import pandas
        >>> from anabranch.estimators.frames import Frames
        >>> frame = pandas.DataFrame({"cut": pandas.Categorical(["Fair"], ["Fair", "Ideal"]), "carat": [0.5]})
        >>> frames = Frames.of(frame)
        >>> table = frames.table(frame)
        >>> table.column_names, frames.levels("cut")
        (['cut', 'carat'], ['Fair', 'Ideal'])
        >>> frames.frame(table).equals(frame)
        True
    """

    def __init__(
        self,
        library: str,
        names: Sequence[Any],
        types: Sequence[str],
        categories: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None:
        super().__init__()
        self.library = library
        self.names = list(names)
        self.types = list(types)
        self.categories = {name: dict(found) for name, found in (categories or {}).items()}

    @classmethod
    def of(cls, frame: Any) -> Self:
        """The kind of a frame.

        Raises:
            TableError: two columns of one name, one whose values are of different types, or categories that are neither
                text, numbers nor truth values.
        """
        library, _ = _native(frame)
        if library is None:
            raise TableError(f"X: expected a data frame of {', '.join(_LIBRARIES)}, got {type(frame).__name__}")
        names = list(frame.column_names if library == "pyarrow" else frame.columns)
        table = _table(frame)
        types = [str(frame.iloc[:, i].dtype) if library == "pandas" else "" for i in range(len(names))]
        categories = {}
        for name in table.column_names:
            column = table.column(name)
            if not pa.types.is_dictionary(column.type):
                continue
            declared = column.unify_dictionaries().chunk(0).dictionary
            if library == "polars" and not column.type.ordered:  # a Categorical: what it declares is its process's
                declared = flat(column).unique().drop_null().sort()
            levels = declared.to_pylist()
            if not all(isinstance(level, (str, int, float)) for level in levels):
                raise TableError(
                    f"column {name!r} holds categories of type {declared.type}, where text, numbers or truth values are "
                    "expected; make text of them"
                )
            categories[name] = {
                "levels": levels,
                "ordered": bool(column.type.ordered),
                "index": str(column.type.index_type),
                "type": str(declared.type),
            }
        return cls(library, names, types, categories)

    @property
    def columns(self) -> list[str]:
        """The names as words."""
        return [str(name) for name in self.names]

    def levels(self, name: str) -> list[Any]:
        """The declared categories of a column, none for a column of other values."""
        return list(self.categories.get(name, {}).get("levels", []))

    def table(self, frame: Any) -> pa.Table:
        """A frame of this kind as an Arrow table; categories are their values."""
        table = _table(frame)
        return pa.table([flat(column) for column in table.columns], names=table.column_names)

    def frame(self, table: pa.Table, index: Any = None) -> Any:
        """The frame of a table of values.

        Args:
            table: its columns.
            index: of the rows, if the library is pandas.
        """
        if self.library == "pandas":
            return self._pandas(table, index)
        arrays = [self._encoded(name, flat(table.column(name))) for name in table.column_names]
        result = pa.table(arrays, names=table.column_names)
        if self.library == "pyarrow":
            return result
        return self._polars(result)

    def of_library(self, frame: Any, library: str) -> Any:
        """A frame of this kind as one of "pandas" or "polars"."""
        if library == self.library:
            return frame
        table = as_table(frame)
        if library == "pandas":
            return table.to_pandas()
        import polars as pl  # noqa: PLC0415 (only where it was asked for)

        return pl.from_arrow(table)

    def _pandas(self, table: pa.Table, index: Any) -> Any:
        import pandas as pd  # type: ignore[import-untyped]  # noqa: PLC0415 (only where a frame came from it)

        columns = []
        for name, word in zip(table.column_names, self.types, strict=True):
            values = table.column(name).to_pandas()
            found = self.categories.get(name)
            if found is not None:
                levels = pa.array(found["levels"], found["type"]).to_pandas()
                columns.append(values.astype(pd.CategoricalDtype(levels, found["ordered"])))
            else:
                columns.append(values.astype(pd.api.types.pandas_dtype(word)))
        frame = pd.concat(columns, axis=1)
        frame.columns = pd.Index(self.names)
        if index is not None:
            frame.index = index
        return frame

    def _polars(self, table: pa.Table) -> Any:
        import polars as pl  # noqa: PLC0415

        frame = pl.from_arrow(table)
        kinds = {
            name: pl.Enum(found["levels"]) if found["ordered"] else pl.Categorical()
            for name, found in self.categories.items()
        }
        return frame.cast(kinds) if kinds else frame  # type: ignore[arg-type]

    def _encoded(self, name: str, values: pa.Array) -> pa.Array:
        """Values as a dictionary array, where they were one."""
        found = self.categories.get(name)
        if found is None:
            return values
        levels = pa.array(found["levels"], values.type)
        numbers = pc.index_in(values, value_set=levels).cast(found["index"])
        return pa.DictionaryArray.from_arrays(numbers, levels, ordered=found["ordered"])


def is_frame(x: Any) -> bool:
    """Whether X is a data frame of a library that `Frames` knows."""
    return _native(x)[0] is not None


def first_other_than_numbers(x: Any, truth: bool = False) -> str | None:
    """The first column of X that is none of numbers, if X is a data frame of a library that `Frames` knows; else None.

    Args:
        x: X.
        truth: whether truth values are numbers, 0 and 1.
    """
    library, native = _native(x)
    if library is None:
        return None
    for name, kind in native.schema.items():
        if kind.is_integer() or kind.is_float() or str(kind) in (("Unknown", "Boolean") if truth else ("Unknown",)):
            continue  # the unknown ones are scikit-learn's to judge
        if str(kind) == "Object" and library == "pandas" and _holds_numbers(x, native.columns.index(name)):
            continue
        return str(name)
    return None


def refuse_inexact_rows(x: Any) -> None:
    """Raise ValueError for a whole number beyond 2^53 among rows of numbers, which float64 would round."""
    library, native = _native(x)
    if library is None:
        if isinstance(x, (np.ndarray, list, tuple)):
            refuse_inexact("X", x if isinstance(x, np.ndarray) else _objects(x))
        return
    for name, kind in native.schema.items():
        if kind.is_integer() or (library == "pandas" and str(kind) == "Object"):
            column = native.get_column(name)
            values = column.to_list() if kind.is_integer() and column.null_count() else column.to_numpy()
            refuse_inexact("X", np.asarray(values, dtype=object if isinstance(values, list) else None)[:, None], [name])


def _objects(rows: Sequence[Any]) -> NDArray[np.object_]:
    """The numbers in lists as they are, which an array of one type would not keep; nothing of what is no list of lists."""
    if not all(isinstance(row, (list, tuple)) for row in rows) or len({len(row) for row in rows}) != 1:
        return np.empty((0, 0), dtype=object)
    found = np.empty((len(rows), len(rows[0])), dtype=object)
    for i, row in enumerate(rows):
        for j, value in enumerate(row):
            found[i, j] = value
    return found


def _native(x: Any) -> tuple[str | None, Any]:
    """The library of a data frame, and it in narwhals' words; None for anything else."""
    if isinstance(x, np.ndarray):
        return None, None
    import narwhals  # noqa: PLC0415 (only where something may be a frame)

    try:
        native = narwhals.from_native(x, pass_through=True)
    except (narwhals.exceptions.NarwhalsError, ValueError) as error:  # a name that is there twice, for one
        as_table(x)  # says so in words of its own
        raise TableError(f"X: cannot be read ({' '.join(str(error).split())})") from error
    if isinstance(native, narwhals.LazyFrame):
        raise TableError(f"X: expected rows in memory, got a {type(x).__name__}, a query of them; give X.collect()")
    if not isinstance(native, narwhals.DataFrame):
        return None, None
    library = native.implementation.value
    return (library if library in _LIBRARIES else None), native


def _holds_numbers(frame: Any, column: int) -> bool:
    """Whether an object column of pandas holds numbers alone."""
    from pandas.api.types import infer_dtype  # type: ignore[import-untyped]  # noqa: PLC0415

    return infer_dtype(frame.iloc[:, column], skipna=True) in ("integer", "floating", "mixed-integer-float", "empty")


def _table(frame: Any) -> pa.Table:
    """A frame as an Arrow table whose columns have words for names."""
    if hasattr(frame, "set_axis"):
        frame = frame.set_axis([str(name) for name in frame.columns], axis=1)
    return as_table(frame)
