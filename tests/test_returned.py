"""Every type of Arrow is modelled or refused by name, and imputed frames come back in their library, index and types."""

import datetime
import decimal
import warnings

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pytest
import torch

from anabranch.estimators import DensityImputer
from anabranch.models import AnyOrder
from anabranch.tables import Schema, TableError, TableModel, as_table, fit_table
from anabranch.tables.types import spelled_out, type_of

N = 60
RNG = np.random.default_rng(0)
WHOLE = RNG.integers(0, 50, N).tolist()
EXACT = [decimal.Decimal(int(i)) / 4 for i in RNG.integers(0, 200, N)]
WORDS = RNG.choice(["x", "y", "z"], N).tolist()
BYTES = [word.encode() for word in WORDS]
REAL = np.round(RNG.normal(size=N), 1)
DAYS = [datetime.date(2020, 1, 1) + datetime.timedelta(days=int(i)) for i in RNG.integers(0, 300, N)]
TIMES = [datetime.datetime(2020, 1, 1) + datetime.timedelta(seconds=int(i)) for i in RNG.integers(0, 10**6, N)]
HOURS = [datetime.time(i % 24) for i in WHOLE]
EVEN = [i % 2 for i in WHOLE]
GAPS = np.arange(N) % 7 == 3


def with_gaps(values, kind):
    return pa.array([None if gap else value for value, gap in zip(values, GAPS, strict=True)], kind)


def categories(values, kind, ordered=False):
    levels = pa.array(sorted(set(values)), kind)
    index = pc.index_in(with_gaps(values, kind), value_set=levels)
    return pa.DictionaryArray.from_arrays(index.cast(pa.int16()), levels, ordered=ordered)


def runs(values):
    return pa.RunEndEncodedArray.from_arrays(pa.array(range(1, N + 1), pa.int32()), values)


TAKEN = {
    **{str(kind): with_gaps(WHOLE, kind) for kind in (pa.int8(), pa.int16(), pa.int32(), pa.int64())},
    **{str(kind): with_gaps(WHOLE, kind) for kind in (pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64())},
    "half": with_gaps(REAL.astype(np.float16), pa.float16()),
    "float": with_gaps(REAL, pa.float32()),
    "double": with_gaps(REAL, pa.float64()),
    "bool": with_gaps([bool(i) for i in EVEN], pa.bool_()),
    "decimal32": with_gaps(EXACT, pa.decimal32(7, 2)),
    "decimal64": with_gaps(EXACT, pa.decimal64(12, 2)),
    "decimal128": with_gaps(EXACT, pa.decimal128(20, 2)),
    "decimal256": with_gaps(EXACT, pa.decimal256(50, 2)),
    "string": with_gaps(WORDS, pa.string()),
    "large string": with_gaps(WORDS, pa.large_string()),
    "string view": with_gaps(WORDS, pa.string_view()),
    "date32": with_gaps(DAYS, pa.date32()),
    "date64": with_gaps(DAYS, pa.date64()),
    "timestamp": with_gaps(TIMES, pa.timestamp("us")),
    "zone": with_gaps(TIMES, pa.timestamp("ms", "Europe/Berlin")),
    "time32": with_gaps(HOURS, pa.time32("s")),
    "time64": with_gaps(HOURS, pa.time64("us")),
    "duration": with_gaps([datetime.timedelta(seconds=i) for i in WHOLE], pa.duration("s")),
    "categories": categories(WORDS, pa.string()),
    "ordered categories": categories(WORDS, pa.string(), ordered=True),
    "large categories": categories(WORDS, pa.large_string()),
    "categories of whole numbers": categories(EVEN, pa.int64()),
    "categories of decimals": categories(EXACT, pa.decimal128(10, 2)),
    "categories of narrow decimals": pa.DictionaryArray.from_arrays(
        with_gaps(EVEN, pa.int8()), pa.array([decimal.Decimal("1.25"), decimal.Decimal("2.5")], pa.decimal32(5, 2))
    ),
    "categories of days": categories(DAYS, pa.date32()),
    "categories of truth": pa.DictionaryArray.from_arrays(with_gaps(EVEN, pa.int8()), pa.array([True, False])),
    "runs of text": runs(with_gaps(WORDS, pa.string())),
    "runs of numbers": runs(with_gaps(REAL, pa.float64())),
    "runs of narrow decimals": runs(with_gaps(EXACT, pa.decimal64(7, 2))),
    "runs of categories": runs(categories(WORDS, pa.string())),
    "bool8": pa.ExtensionArray.from_storage(pa.bool8(), with_gaps(EVEN, pa.int8())),
    "json": pa.ExtensionArray.from_storage(pa.json_(), with_gaps([f'{{"a":{i}}}' for i in EVEN], pa.string())),
}
REFUSED = {
    "null": pa.nulls(N),
    "binary": pa.array(BYTES),
    "large binary": pa.array(BYTES, pa.large_binary()),
    "binary view": pa.array(BYTES, pa.binary_view()),
    "fixed_size_binary": pa.array(BYTES, pa.binary(1)),
    "interval": pa.array([pa.MonthDayNano([1, 2, i]) for i in WHOLE]),
    "list": pa.array([[i] for i in WHOLE]),
    "large_list": pa.array([[i] for i in WHOLE], pa.large_list(pa.int64())),
    "fixed_size_list": pa.array([[i] for i in WHOLE], pa.list_(pa.int64(), 1)),
    "list_view": pa.array([[i] for i in WHOLE], pa.list_view(pa.int64())),
    "struct": pa.array([{"a": i} for i in WHOLE]),
    "map": pa.array([[("a", i)] for i in WHOLE], pa.map_(pa.string(), pa.int64())),
    "union": pa.UnionArray.from_sparse(pa.array([0, 1] * (N // 2), pa.int8()), [pa.array(WHOLE), pa.array(WORDS)]),
    "uuid": pa.array([bytes([i] * 16) for i in range(N)], pa.uuid()),
    "opaque": pa.ExtensionArray.from_storage(pa.opaque(pa.int64(), "t", "v"), pa.array(WHOLE)),
    "categories of bytes": pa.array(BYTES).dictionary_encode(),
    "runs of lists": runs(pa.array([[i] for i in WHOLE])),
}


def model_of(frame):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of ties: there are few values
        schema = Schema.infer(frame, ["v", "x"])
    torch.manual_seed(0)
    return TableModel(schema, AnyOrder(schema.families(), hidden=8, blocks=1))


def observed(values):
    return [value for value, gap in zip(values, GAPS, strict=True) if not gap]


@pytest.mark.parametrize("kind", TAKEN)
def test_every_type_that_is_taken_comes_back(kind):
    table = pa.table({"u": WORDS, "v": TAKEN[kind], "x": RNG.normal(size=N)})
    model = model_of(table)
    assert np.isfinite(model.log_prob(table)).all()
    for filled in (model.impute(table, seed=0), *model.impute(table, draws=2, seed=0), model.impute(table, best=True)):
        assert filled.schema.equals(table.schema)
        filled.validate(full=True)
        assert spelled_out(filled["v"]).null_count == 0
        assert observed(filled["v"].to_pylist()) == observed(table["v"].to_pylist())
        assert filled["u"].equals(table["u"])


@pytest.mark.parametrize("kind", TAKEN)
def test_pandas_on_arrow(kind):
    index = pd.MultiIndex.from_product([["a", "b"], range(N // 2)])
    values = pd.array(pd.arrays.ArrowExtensionArray(pa.chunked_array([TAKEN[kind]])))
    frame = pd.DataFrame({"x": RNG.normal(size=N), "u": WORDS}, index=index)
    frame.insert(1, "v", pd.Series(values, index=index))
    filled = model_of(frame).impute(frame, seed=0)
    assert list(filled.columns) == ["x", "v", "u"]
    assert filled.index.equals(index)
    same = filled["v"].dtype == frame["v"].dtype
    assert same or isinstance(frame["v"].dtype.pyarrow_dtype, pa.DictionaryType)
    assert pd.api.types.is_extension_array_dtype(filled["v"].dtype)
    before, after = (pa.chunked_array(one["v"].array.__arrow_array__()).to_pylist() for one in (frame, filled))
    assert observed(after) == observed(before)
    assert None not in after


@pytest.mark.parametrize("kind", TAKEN)
def test_names_of_types_are_read(kind):
    assert type_of(str(TAKEN[kind].type)) == TAKEN[kind].type


@pytest.mark.parametrize("kind", ["decimal128", "decimal32", "ordered categories", "runs of text", "bool8", "zone"])
def test_pandas_on_arrow_in_an_estimator(kind):
    values = pd.Series(pd.arrays.ArrowExtensionArray(pa.chunked_array([TAKEN[kind]])))
    frame = pd.DataFrame({"x": RNG.normal(size=N), "v": values})
    filled = DensityImputer(epochs=1, random_state=0).fit_transform(frame)
    assert (filled.dtypes == frame.dtypes).all()
    before, after = (pa.chunked_array(one["v"].array.__arrow_array__()).to_pylist() for one in (frame, filled))
    assert observed(after) == observed(before)
    assert None not in after


@pytest.mark.parametrize("kind", REFUSED)
def test_every_other_type_is_refused_by_name_before_a_fit(kind):
    table = pa.table({"v": REFUSED[kind], "x": RNG.normal(size=N)})
    with pytest.raises(TableError, match=r"column 'v' (holds|is empty)") as caught:
        fit_table(table, epochs=1)
    words = {"null": "gaps only", "categories of bytes": "binary", "runs of lists": "list", "union": "sparse_union"}
    assert words.get(kind, kind.replace(" ", "_")) in str(caught.value)
    other = pa.table({"v": REFUSED[kind], "x": RNG.normal(size=N)})
    kept, _ = fit_table(other, ["x"], epochs=1, blocks=1, hidden=(8,))
    assert kept.impute(other).equals(other)  # what is not modelled may be of any type


PANDAS = {
    "numbers": pd.Series(np.where(GAPS, np.nan, REAL)),
    "numbers of 32 bits": pd.Series(np.where(GAPS, np.nan, REAL)).astype("float32"),
    "nullable numbers": pd.Series(WHOLE, dtype="Int16").mask(GAPS),
    "nullable reals": pd.Series(REAL, dtype="Float64").mask(GAPS),
    "nullable truth": pd.Series([bool(i) for i in EVEN], dtype="boolean").mask(GAPS),
    "truth as objects": pd.Series([bool(i) for i in EVEN], dtype=object).mask(GAPS, None),
    "text": pd.Series(WORDS).mask(GAPS),
    "text as objects": pd.Series(WORDS, dtype=object).mask(GAPS, None),
    "string[python]": pd.Series(WORDS, dtype="string[python]").mask(GAPS),
    "categories": pd.Series(pd.Categorical(WORDS, ["z", "y", "x", "never"])).mask(GAPS),
    "ordered": pd.Series(pd.Categorical(WORDS, ["z", "y", "x", "never"], ordered=True)).mask(GAPS),
    "times": pd.Series(TIMES, dtype="datetime64[ns]").mask(GAPS),
    "times in a zone": pd.Series(TIMES, dtype="datetime64[us]").dt.tz_localize("Europe/Berlin").mask(GAPS),
    "days as objects": pd.Series(DAYS, dtype=object).mask(GAPS, None),
    "durations": pd.Series(pd.to_timedelta(WHOLE, unit="s")).mask(GAPS),
    "decimals as objects": pd.Series(EXACT, dtype=object).mask(GAPS, None),
    "sparse": pd.Series(np.where(GAPS, np.nan, REAL)).astype(pd.SparseDtype("float64")),
}


@pytest.mark.parametrize("kind", PANDAS)
def test_pandas(kind):
    frame = pd.DataFrame({"x": RNG.normal(size=N), "v": PANDAS[kind], 3: WORDS})
    frame.index = pd.date_range("2020-01-01", periods=N, name="when")
    frame.attrs["from"] = "a friend"
    before = frame.copy(deep=True)
    for filled in model_of(frame).impute(frame, draws=2, seed=0):
        assert list(filled.columns) == ["x", "v", 3]
        assert filled.index.equals(frame.index)
        assert filled.index.name == "when"
        assert filled.attrs == frame.attrs
        assert (filled.dtypes == frame.dtypes).all()
        assert filled["v"].notna().all()
        pd.testing.assert_frame_equal(filled[~GAPS], frame[~GAPS])
    pd.testing.assert_frame_equal(frame, before)


def test_polars():
    frame = pl.DataFrame(
        {
            "x": RNG.normal(size=N),
            "v": pl.Series(with_gaps(WORDS, pa.string())).cast(pl.Enum(["z", "y", "x", "never"])),
            "n": pl.Series(with_gaps(WHOLE, pa.int8())),
            "t": pl.Series(with_gaps(TIMES, pa.timestamp("us", "Europe/Berlin"))),
            "u": [[i] for i in WHOLE],
        }
    )
    schema = Schema.infer(frame, ["x", "v", "n", "t"])
    model = TableModel(schema, AnyOrder(schema.families(), hidden=8, blocks=1))
    for given in (frame, frame.lazy()):
        filled = model.impute(given, seed=0)
        assert type(filled) is type(given)
        filled = filled.lazy().collect()
        assert filled.schema == frame.schema
        assert sum(filled.null_count().row(0)) == 0
        assert filled.filter(pl.Series(~GAPS)).equals(frame.filter(pl.Series(~GAPS)))


def test_arrow_keeps_notes_and_an_index():
    frame = pd.DataFrame(
        {"v": np.where(GAPS, np.nan, REAL), "x": RNG.normal(size=N)}, index=pd.Index(WORDS, name="word")
    )
    table = pa.Table.from_pandas(frame)
    model = model_of(table)
    filled = model.impute(table, seed=0)
    assert filled.schema.equals(table.schema, check_metadata=True)
    assert filled.to_pandas().index.equals(frame.index)
    batch = table.to_batches()[0]
    assert isinstance(model.impute(batch, seed=0), pa.RecordBatch)
    assert model.impute(batch, seed=0).schema.equals(batch.schema)


@pytest.mark.parametrize("dtype", ["float32", "float64", ">f8", object])
def test_numpy(dtype):
    x = np.stack([np.where(GAPS, np.nan, REAL), RNG.normal(size=N)], axis=1).astype(dtype)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        schema = Schema.infer(x)
    model = TableModel(schema, AnyOrder(schema.families(), hidden=8, blocks=1))
    filled = model.impute(x, seed=0)
    assert type(filled) is np.ndarray
    assert filled.dtype == x.dtype
    assert np.isfinite(filled.astype(float)).all()
    np.testing.assert_array_equal(filled[~GAPS], x[~GAPS])


def test_masked_cells_of_numpy_are_gaps():
    x = np.ma.masked_array(np.stack([WHOLE, WHOLE[::-1]], axis=1), mask=np.stack([GAPS, ~GAPS & False], axis=1))
    assert as_table(x)["x0"].null_count == GAPS.sum()
    schema = Schema.infer(x)
    filled = TableModel(schema, AnyOrder(schema.families(), hidden=8, blocks=1)).impute(x, seed=0)
    assert isinstance(filled, np.ma.MaskedArray)
    assert not np.ma.getmaskarray(filled).any()
    assert filled.dtype == x.dtype
    np.testing.assert_array_equal(filled[~GAPS], x[~GAPS])


def test_a_number_beyond_the_categories_of_pandas_becomes_one():
    values = pd.Series(pd.Categorical(np.repeat([1, 5, 9, 30, 31, 32], 10).tolist())).mask(GAPS)
    frame = pd.DataFrame({"v": values, "x": RNG.normal(size=N)})
    filled = model_of(frame).impute(frame, seed=0)
    assert isinstance(filled["v"].dtype, pd.CategoricalDtype)
    assert list(filled["v"].cat.categories[:6]) == [1, 5, 9, 30, 31, 32]
    assert filled["v"].notna().all()
