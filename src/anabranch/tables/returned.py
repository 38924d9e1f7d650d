"""A data frame with its gaps filled, in the library, index and types in which it came."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from anabranch.tables.types import flat, plain_type, type_of

# behind the word of pandas for a type that it keeps on Arrow
ARROW = "[pyarrow]"
# of a column: which of its cells are gaps, and the values that fill these, in order
Filling = tuple[NDArray[np.bool_], pa.Array]


def with_gaps_filled(frame: Any, fillings: Mapping[str, Filling]) -> Any:
    """A frame like another, with values in place of some gaps; what was observed is as it was.

    Args:
        frame: of pyarrow, pandas, polars or another library that `as_table` takes; or a NumPy array.
        fillings: for some columns, by name, which of their cells to fill, and the values.

    Returns:
        a frame of the same library, with its index, its other columns, their order and all types. A categorical column gets
        the categories that it lacks. A NumPy array is one again.

    Example:
        >>> import numpy, pandas, pyarrow
        >>> from anabranch.tables.returned import with_gaps_filled
        >>> frame = pandas.DataFrame({"rooms": pandas.array([3, None], "Int64")}, index=["a", "b"])
        >>> filled = with_gaps_filled(frame, {"rooms": (numpy.array([False, True]), pyarrow.array([4]))})
        >>> filled.loc["b", "rooms"], filled["rooms"].dtype
        (np.int64(4), Int64Dtype())
    """
    if isinstance(frame, pa.Table):
        return _arrow(frame, fillings)
    if isinstance(frame, pa.RecordBatch):
        return _arrow(pa.Table.from_batches([frame]), fillings).combine_chunks().to_batches()[0]
    if isinstance(frame, np.ndarray):
        return _numpy(frame, fillings)
    import narwhals  # noqa: PLC0415 (what is Arrow already does not need it)

    native = narwhals.from_native(frame, pass_through=True)
    if isinstance(native, narwhals.LazyFrame):
        eager = native.collect()
        filled = narwhals.from_native(with_gaps_filled(eager.to_native(), fillings))
        return filled.lazy().to_native() if eager.implementation == native.implementation else filled.to_native()
    if not isinstance(native, narwhals.DataFrame):
        return _arrow(pa.table(frame), fillings)
    if native.implementation.is_pandas():
        return _pandas(frame, fillings)
    if native.implementation.is_polars():
        return _polars(frame, fillings)
    return narwhals.from_arrow(_arrow(native.to_arrow(), fillings), backend=native.implementation).to_native()


def _arrow(table: pa.Table, fillings: Mapping[str, Filling]) -> pa.Table:
    for name, (gaps, values) in fillings.items():
        place = table.column_names.index(name)
        field = table.schema.field(place)
        filled = _column(table.column(place), gaps, values)
        table = table.set_column(place, field.with_type(filled.type), filled)
    return table


def _column(column: pa.ChunkedArray, gaps: NDArray[np.bool_], values: pa.Array) -> pa.Array:
    """A column of Arrow, filled, of its type."""
    old = flat(column)
    kind = values.type if pa.types.is_null(old.type) else old.type
    rows = np.arange(len(gaps))
    rows[gaps] = len(gaps) + np.arange(len(values))
    filled = pa.concat_arrays([old.cast(kind), values.cast(kind, safe=False)]).take(pa.array(rows))
    return filled if pa.types.is_null(old.type) else packed(filled, column.type, column)


def packed(values: pa.Array, kind: pa.DataType, like: pa.ChunkedArray) -> pa.Array:
    """Values spelled out (`types.flat`) in the type that they came in, the categories of a dictionary as `like` has them."""
    if values.type == kind:
        return values
    if pa.types.is_dictionary(kind):
        return _as_categories(values, like, kind)
    if pa.types.is_run_end_encoded(kind):
        inner = packed(values, kind.value_type, like)
        if inner.type == values.type:
            return pc.run_end_encode(inner, kind.run_end_type)
        ends = pa.array(np.arange(1, len(inner) + 1), kind.run_end_type)
        return pa.RunEndEncodedArray.from_arrays(ends, inner)
    if isinstance(kind, pa.BaseExtensionType):
        return pa.ExtensionArray.from_storage(kind, values.cast(kind.storage_type))
    return values.cast(kind)


def _as_categories(values: pa.Array, like: pa.ChunkedArray, kind: pa.DictionaryType) -> pa.Array:
    """Values with the categories of another column, in its order, and those behind that it lacks."""
    known = flat(_categories(like)).cast(values.type)
    distinct = values.unique().drop_null()
    new = pc.filter(distinct, pc.invert(pc.is_in(distinct, value_set=known)))
    levels = pa.concat_arrays([known, new])
    index = pc.index_in(values, value_set=levels).cast(kind.index_type)
    return pa.DictionaryArray.from_arrays(index, packed(levels, kind.value_type, like), ordered=kind.ordered)


def _categories(like: pa.ChunkedArray) -> pa.Array:
    """All categories that a column declares; one of runs of equal categories, those of its runs."""
    if pa.types.is_run_end_encoded(like.type):
        like = pa.chunked_array([chunk.values for chunk in like.chunks], like.type.value_type)
    try:
        whole = like.unify_dictionaries()
        return whole.chunk(0).dictionary if whole.num_chunks else pa.array([], like.type.value_type)
    except pa.ArrowException:  # of types that it cannot unify
        return flat(like).unique().drop_null()


def _pandas(frame: Any, fillings: Mapping[str, Filling]) -> Any:
    import pandas as pd  # type: ignore[import-untyped]  # noqa: PLC0415 (only where a frame came from it)

    names = [str(name) for name in frame.columns]
    result = frame.copy()
    for name, (gaps, values) in fillings.items():
        place = names.index(name)
        old = frame.iloc[:, place]
        kind = old.dtype
        if isinstance(kind, pd.ArrowDtype):
            own = pa.chunked_array(old.array.__arrow_array__())
            new = pd.arrays.ArrowExtensionArray(pa.chunked_array([_column(own, gaps, values)]))
            result.isetitem(place, pd.Series(new, index=frame.index, name=old.name))
            continue
        dense = old.sparse.to_dense() if isinstance(kind, pd.SparseDtype) else old
        if isinstance(kind, pd.CategoricalDtype):
            known = set(kind.categories)
            dense = dense.cat.add_categories([one for one in values.unique().to_pylist() if one not in known])
        array = dense.array.copy()
        array[np.flatnonzero(gaps)] = _of_pandas(values, dense.dtype)
        filled = pd.Series(array, index=frame.index, name=old.name, dtype=dense.dtype)
        if isinstance(kind, pd.SparseDtype):
            filled = filled.astype(kind)
        result.isetitem(place, filled)
    return result


def on_arrow(column: pa.ChunkedArray, word: str, categories: Mapping[str, Any] | None) -> Any:
    """Values as pandas keeps them on Arrow.

    Args:
        column: the values, as they are spelled out.
        word: for the type, as pandas writes it: "decimal128(10, 2)[pyarrow]".
        categories: of a dictionary, its "levels" and their "type".
    """
    import pandas as pd  # noqa: PLC0415

    kind = type_of(word.removesuffix(ARROW))
    values, like = flat(column), column
    if categories is not None:
        levels = pa.array(categories["levels"], categories["type"])
        like = pa.chunked_array([pa.DictionaryArray.from_arrays(pa.array([], pa.int32()), levels)])
    return pd.arrays.ArrowExtensionArray(pa.chunked_array([packed(values.cast(plain_type(kind)), kind, like)]))


def _of_pandas(values: pa.Array, kind: Any) -> Any:
    """Values as pandas holds them in a column of some type."""
    import pandas as pd  # noqa: PLC0415

    if kind == np.dtype(object):
        objects = np.empty(len(values), dtype=object)
        objects[:] = values.to_pylist()
        return objects
    if isinstance(kind, pd.CategoricalDtype):
        return pd.Categorical(values.to_pylist(), dtype=kind)
    return values.to_pandas().astype(kind).array


def _polars(frame: Any, fillings: Mapping[str, Filling]) -> Any:
    import polars as pl  # noqa: PLC0415 (only where a frame came from it)

    columns = []
    for name, (gaps, values) in fillings.items():
        old = frame.get_column(name)
        filled = flat(_column(pa.chunked_array([flat(old.to_arrow())]), gaps, values))
        new = pl.Series(name, pl.from_arrow(filled))
        columns.append(new if old.dtype == pl.Null else new.cast(old.dtype))
    return frame.with_columns(columns)


def _numpy(x: NDArray[Any], fillings: Mapping[str, Filling]) -> Any:
    result = x.copy()
    for name, (gaps, values) in fillings.items():
        new: Any = np.empty(len(values), dtype=object)
        new[:] = values.to_pylist()
        if x.dtype != object:
            new = values.to_numpy(zero_copy_only=False)
        if x.dtype.kind in "US":  # as wide as they need be
            result = result.astype(np.result_type(result.dtype, np.asarray(new, dtype=x.dtype.kind)))
        result[gaps, int(name.removeprefix("x"))] = new  # `as_table` named it
    return result
