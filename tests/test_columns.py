"""Columns of all kinds: there and back, densities in their own units, what is inferred, and what is refused."""

import datetime
import math
from decimal import Decimal

import numpy as np
import pandas
import polars
import pyarrow as pa
import pytest
import torch

import anabranch as ab
from anabranch.models import Marginals
from anabranch.tables import (
    Schema,
    TableError,
    TableModel,
    TableStream,
    TableWarning,
    as_table,
    read_table,
    write_table,
)
from anabranch.tables.best import middle_of
from anabranch.tables.columns import (
    Angle,
    Boolean,
    Bounded,
    Categorical,
    Continuous,
    Integer,
    Ordinal,
    Positive,
    Rounded,
    Time,
)
from anabranch.tables.columns.apart import apart
from anabranch.tables.columns.tails import begins, pareto
from anabranch.tables.inference import infer_column

RNG = np.random.default_rng(0)
UTC = datetime.UTC


def stamps(unit, zone=None, n=40):
    base = {"s": 1_700_000_000, "ms": 1_700_000_000_123, "us": 1_700_000_000_123_456, "ns": 1_700_000_000_123_456_789}
    ticks = base[unit] + RNG.integers(0, 10**6, n)
    return pa.array(ticks).cast(pa.timestamp(unit, zone))


def with_gaps(array):
    """Every fifth value a gap."""
    return pa.array([None if i % 5 == 2 else value for i, value in enumerate(array)], array.type)


EXACT = {
    "bool": pa.array([True, False] * 20),
    "text": pa.array(["", "a", "ß, 漢字", "line\nbreak", " a", "A"] * 7),
    "large text": pa.array(["x", "y"] * 20, pa.large_string()),
    "categories": pa.array(["b", "a"] * 20).dictionary_encode(),
    "grades": pa.array([1, 2, 5] * 20, pa.int8()),
    "float levels": pa.array([0.5, 1.25, -3.0] * 20),
    "float32 levels": pa.array(np.float32([0.1, 0.7, -3.0] * 20)),
    "int8": pa.array(RNG.integers(-128, 128, 200), pa.int8()),
    "uint8": pa.array(RNG.integers(0, 256, 300), pa.uint8()),
    "int16": pa.array(RNG.integers(-(2**15), 2**15, 40), pa.int16()),
    "uint32": pa.array(RNG.integers(0, 2**32, 40), pa.uint32()),
    "int64 beyond 2^53": pa.array(2**62 + RNG.integers(0, 10**6, 40)),
    "int64 of 2^49": pa.array(RNG.integers(-(2**48), 2**48, 40)),
    "uint64 beyond 2^63": pa.array(np.uint64(2**64 - 1) - RNG.integers(0, 1000, 40).astype(np.uint64)),
    "whole floats": pa.array(np.round(1e6 * RNG.normal(size=60))),
    "heavy counts": pa.array(np.round(np.exp(6 + 3 * RNG.normal(size=400))).astype(np.int64)),
    "tenths": pa.array(np.round(RNG.normal(size=400), 1)),
    "float32 hundredths": pa.array(np.round(RNG.normal(size=4000), 2).astype(np.float32)),
    "millionths from 0": pa.array(np.round(np.r_[0.0, 0.0, 300 + 100 * RNG.normal(size=300)], 6).repeat(2)),
    "millionths about 1e5": pa.array(np.round(1e5 + RNG.normal(size=300), 6).repeat(2)),
    "decimals": pa.array([Decimal(int(n)).scaleb(-3) for n in RNG.integers(-5000, 5000, 40)], pa.decimal128(9, 3)),
    "dates": pa.array([datetime.date(1, 1, 1), datetime.date(9999, 12, 31), datetime.date(2024, 2, 29)] * 4),
    "seconds": stamps("s"),
    "milliseconds": stamps("ms"),
    "microseconds of Berlin": stamps("us", "Europe/Berlin"),
    "nanoseconds of UTC": stamps("ns", "UTC"),
    "midnights": pa.array(RNG.integers(0, 20_000, 40) * 86_400 * 10**9).cast(pa.timestamp("ns")),
    "times of day": pa.array(RNG.integers(0, 86_400, 40), pa.int32()).cast(pa.time32("s")),
    "durations": pa.array(RNG.integers(-(10**9), 10**9, 40)).cast(pa.duration("us")),
}

SMOOTH = {
    "normal": RNG.normal(size=200),
    "float32": RNG.normal(size=200).astype(np.float32),
    "1.7e9": 1.7e9 + RNG.normal(size=200),
    "tiny": 1e-300 * RNG.normal(size=200),
    "huge": 1e300 * RNG.normal(size=200),
    "cauchy": RNG.standard_cauchy(size=500),
    "log-normal": np.exp(3 * RNG.normal(size=500)),
    "log-normal with zeros": np.where(RNG.random(500) < 0.3, 0.0, np.exp(RNG.normal(size=500))),
    "shares": 1 / (1 + np.exp(-3 * RNG.normal(size=500))),
    "capped": np.minimum(RNG.normal(size=500), 0.7),
    "capped heavy": np.minimum(RNG.standard_cauchy(size=500), 5.000001),
}


class TestThereAndBack:
    @pytest.mark.parametrize("name", EXACT)
    def test_what_is_discrete_comes_back_bit_for_bit(self, name):
        values = EXACT[name]
        plain = values.dictionary_decode() if pa.types.is_dictionary(values.type) else values
        for array in (values, with_gaps(plain)):
            column = infer_column("c", array)
            z = column.encode(array.dictionary_decode() if pa.types.is_dictionary(array.type) else array)
            again = column.decode(z)
            assert column.discrete
            assert z.dtype == np.float64
            assert again.type == plain.type
            assert again.to_pylist() == array.to_pylist()
            assert np.array_equal(np.isnan(z), [value is None for value in array.to_pylist()])
            family = column.family().double()
            inside = family.contains(torch.from_numpy(z[~np.isnan(z)]))
            assert bool(inside.all())
            assert (column.log_det(z) == 0).all()
            assert repr(column)

    @pytest.mark.parametrize("name", EXACT)
    def test_in_float32_the_family_has_the_values_too(self, name):
        values = EXACT[name]
        column = infer_column("c", values)
        plain = values.dictionary_decode() if pa.types.is_dictionary(values.type) else values
        family = column.family()
        x = torch.from_numpy(column.encode(plain)).float()
        theta = torch.zeros(family.parameters_of_one) if column.kind in ("categorical", "ordinal") else family.start(x)
        log_p = family.log_prob(x, theta.expand(len(x), -1))
        assert bool(log_p.isfinite().all())
        assert bool((log_p <= 1e-5).all())  # a probability

    @pytest.mark.parametrize("name", SMOOTH)
    def test_what_is_continuous_comes_back_to_the_rounding_of_its_size(self, name):
        values = pa.array(SMOOTH[name])
        column = infer_column("c", with_gaps(values))
        again = column.decode(column.encode(with_gaps(values)))
        assert again.type == values.type
        want, got = (np.array(a.to_pylist(), dtype=float) for a in (with_gaps(values), again))
        size = np.abs(getattr(column, "loc", 0.0)) if column.kind == "continuous" else 0.0
        rounding = 1e-7 if values.type == pa.float32() else 1e-13
        np.testing.assert_allclose(got, want, rtol=rounding, atol=1e-15 * (size + getattr(column, "scale", 1.0)))
        atoms = np.isin(want, getattr(column, "atoms", ()))
        assert np.array_equal(got[atoms], want[atoms])

    @pytest.mark.parametrize("name", SMOOTH)
    def test_log_det_is_the_slope(self, name):
        x = SMOOTH[name].astype(float)
        column = infer_column("c", pa.array(x))
        z = column.encode(pa.array(x))
        smooth = ~np.isin(z, column.atoms_encoded)
        step = 1e-5 * np.abs(x) + 1e-7 * column.scale
        if column.kind == "continuous":
            step = 1e-5 * np.abs(x - column.loc) + 1e-4 * column.scale
        inside = x[smooth]
        with np.errstate(all="ignore"):
            up, down = (column._line(inside + way * step[smooth]) for way in (1, -1))
        slope = np.log((up - down) / (2 * step[smooth]))
        good = np.isfinite(slope)
        assert good.mean() > 0.9
        # next to a bound a finite difference is no slope
        assert (np.abs(column.log_det(z)[smooth][good] - slope[good]) < 2e-3).mean() > 0.98
        assert (column.log_det(z)[~smooth] == 0).all()

    def test_atoms_keep_apart_from_their_neighbours_in_float32(self):
        x = np.r_[RNG.normal(size=100), np.full(50, 0.3), np.nextafter(0.3, 1), np.nextafter(0.3, 0), 0.3 + 1e-9]
        table = pa.table({"x": x})
        schema = Schema.infer(table)
        assert schema.column("x").atoms == (0.3,)
        z, _ = schema.encode(table)
        (code,) = schema.column("x").atoms_encoded
        for dtype in (torch.float32, torch.float64):
            at = schema.tensor(z, dtype)[:, 0] == torch.tensor(code, dtype=dtype)
            assert at.tolist() == (x == 0.3).tolist()
        np.testing.assert_allclose(schema.decode(z)["x"].to_numpy(), x, rtol=1e-12)


class TestInference:
    @pytest.mark.parametrize(
        ("name", "kind"),
        [
            ("bool", Boolean),
            ("text", Categorical),
            ("categories", Categorical),
            ("grades", Ordinal),
            ("float levels", Ordinal),
            ("uint8", Integer),
            ("whole floats", Integer),
            ("tenths", Rounded),
            ("float32 hundredths", Rounded),
            ("decimals", Rounded),
            ("dates", Time),
            ("durations", Time),
        ],
    )
    def test_discrete_kinds(self, name, kind):
        assert type(infer_column("c", EXACT[name])) is kind

    @pytest.mark.parametrize(
        ("name", "kind"),
        [
            ("normal", Continuous),
            ("log-normal", Positive),
            ("log-normal with zeros", Positive),
            ("shares", Bounded),
            ("capped", Continuous),
            ("cauchy", Continuous),
        ],
    )
    def test_continuous_kinds(self, name, kind):
        assert type(infer_column("c", pa.array(SMOOTH[name]))) is kind

    @pytest.mark.parametrize("bound", [0.0, 1.0])
    def test_an_atom_at_a_bound_says_that_there_is_one(self, bound):
        shares = np.random.default_rng(0).beta(3, 3, 2000)  # which a logit makes more normal, but not by much
        assert type(infer_column("c", pa.array(shares))) is Continuous
        shares[::10] = bound
        assert type(infer_column("c", pa.array(shares))) is Bounded
        assert type(infer_column("c", pa.array(shares + 1))) is Continuous

    def test_heavy_tails_are_bent_and_others_not(self):
        heavy = infer_column("c", pa.array(SMOOTH["cauchy"]))
        assert heavy.bend > 0
        assert np.abs(heavy.encode(pa.array(SMOOTH["cauchy"]))).max() < 15
        assert infer_column("c", pa.array(SMOOTH["normal"])).bend == 0
        counts = infer_column("c", EXACT["heavy counts"])
        assert counts.bend > 0
        assert counts.low == 0

    def test_atoms_are_found(self):
        assert infer_column("c", pa.array(SMOOTH["capped"])).atoms == (0.7,)
        assert infer_column("c", pa.array(SMOOTH["log-normal with zeros"])).atoms == (0.0,)
        hours = np.r_[RNG.integers(20, 60, 1000), np.full(1000, 40)]
        assert infer_column("c", pa.array(hours)).atoms == (40,)

    def test_a_zero_lies_below_all_positive_numbers(self):
        column = infer_column("c", pa.array(SMOOTH["log-normal with zeros"]))
        z = column.encode(pa.array([0.0, 5e-324, 1e-300, 1.0]))
        assert (np.diff(z) > 0).all()

    def test_gaps_between_grades_are_levels_too(self):
        column = infer_column("c", pa.array([1, 2, 5] * 20))
        assert column.levels == [1, 2, 3, 4, 5]

    def test_counts_with_a_tail_are_no_levels(self):
        counts = np.random.default_rng(0).poisson(2.0, 2000)
        column = infer_column("c", pa.array(counts))
        assert column.kind == "integer"
        assert 2 in column.atoms
        assert column.encode(pa.array([40]))[0] > 5  # never seen, and no error

    def test_midnights_have_steps_of_a_day(self):
        column = infer_column("c", EXACT["midnights"])
        assert column.step == 86_400 * 10**9
        assert "every day" in column.description
        noon = pa.array([43_200 * 10**9]).cast(pa.timestamp("ns"))
        with pytest.raises(ValueError, match="column 'c': expected every day, got 1970-01-01 12:00:00; round it"):
            column.encode(noon)

    def test_kinds_can_be_told(self):
        table = pa.table({"a": [1, 2, 3, 4] * 20, "b": RNG.random(80)})
        schema = Schema.infer(table, kinds={"a": "categorical", "b": Bounded("b", 0.0, 1.0)})
        assert [part.kind for part in schema.parts] == ["categorical", "bounded"]
        assert schema.decode(schema.encode(table)[0])["a"].to_pylist() == table["a"].to_pylist()
        with pytest.raises(ValueError, match=r"expected one of 'continuous'.* got 'colour'"):
            Schema.infer(table, kinds={"a": "colour"})
        with pytest.raises(ValueError, match=r"kinds: expected columns of the schema.* got 'z'"):
            Schema.infer(table, kinds={"z": "integer"})

    def test_what_can_be_comes_from_all_rows_and_statistics_from_some(self):
        table = pa.table({"t": ["a", "b", "c"] * 20, "n": [*range(59), 1000], "f": [*RNG.normal(size=59), 1e2]})
        schema = Schema.infer(table, rows=np.arange(59))
        assert schema.column("t").levels == ["a", "b", "c"]
        assert schema.column("f").scale < 2
        schema.encode(table)

    def test_ties_that_nothing_explains_are_warned_of(self):
        values = RNG.normal(size=900).repeat(3)
        with pytest.warns(TableWarning, match="column 'x': 67% of its values repeat others"):
            Schema.infer(pa.table({"x": values}))

    def test_units_are_stated(self):
        table = pa.table({"m": SMOOTH["capped"], "n": RNG.integers(0, 1000, 500), "c": ["a", "b"] * 250})
        schema = Schema.infer(table)
        assert schema.unit == "nats per row; density in m (at 0.7 a probability); probability of n, c"
        for word in ("column", "modelled", "integer", "categorical", "'a', 'b'", "atoms at 0.7"):
            assert word in repr(schema)


class TestFrames:
    def frame(self):
        return {
            "n": [1, None, 3],
            "t": ["x", None, ""],
            "d": [datetime.datetime(2020, 1, 1, tzinfo=UTC), None, datetime.datetime(2021, 1, 1, 0, 0, 1, tzinfo=UTC)],
        }

    def test_libraries_agree(self):
        want = pa.table(self.frame())
        for frame in (polars.DataFrame(self.frame()), polars.LazyFrame(self.frame())):
            assert as_table(frame).to_pydict() == want.to_pydict()
        frame = pandas.DataFrame({"t": ["x", None], "c": pandas.Categorical(["b", "a"]), "n": [1.0, np.nan]})
        table = as_table(frame)
        assert table.to_pydict() == {"t": ["x", None], "c": ["b", "a"], "n": [1.0, None]}
        levels = Schema.infer(pandas.concat([frame] * 3), columns=["c"]).column("c").levels
        assert levels == ["a", "b"]
        cats = polars.DataFrame({"c": polars.Series(["u", "v"] * 5, dtype=polars.Categorical)})
        schema = Schema.infer(cats)
        assert schema.decode(schema.encode(cats)[0])["c"].to_pylist() == ["u", "v"] * 5

    def test_arrays(self):
        x = np.array([[1.0, np.nan], [2.5, 3.0]])
        assert as_table(x).to_pydict() == {"x0": [1.0, 2.5], "x1": [None, 3.0]}
        assert as_table(x.astype(">f4")).column_names == ["x0", "x1"]
        assert as_table(np.array([["a", 1], ["b", 2]], dtype=object)).to_pydict() == {"x0": ["a", "b"], "x1": [1, 2]}
        with pytest.raises(ValueError, match="expected an array of shape"):
            as_table(np.zeros(3))

    def test_mixed_types_and_names_that_are_there_twice(self):
        frame = pandas.DataFrame({"a": [1, 2, 3], "b": pandas.Series([1, "x", None], dtype=object)})
        with pytest.raises(
            ValueError, match=r"column 'b' holds values of different types, int \(1 in row 0\) and str \('x' in row 1\)"
        ):
            as_table(frame)
        twice = pandas.DataFrame([[1, 2]], columns=["a", "a"])
        with pytest.raises(ValueError, match=r"column 'a' is there (twice|2 times)"):
            as_table(twice)


class TestRefusals:
    @pytest.mark.parametrize(
        ("values", "said"),
        [
            ([None, None], "'c' is empty"),
            ([math.nan, math.nan], "'c' is empty"),
            ([7.5, None, 7.5], "'c' is constant, it holds 7.5"),
            (["x", "x"], "'c' is constant, it holds 'x'"),
            ([True, True], "'c' is constant, it holds True"),
            ([1.0, math.inf, 2.0], "'c': expected finite numbers, got infinity in row 1"),
            ([-(2**62), 2**62, 0], "'c' holds whole numbers spread over more than 2"),
            (["1", "2", "3", "4", "5", "six"], r"'c' holds text \('six' in row 5\) among numbers"),
            ([f"id{i}" for i in range(2000)], "'c' holds 2,000 different texts in 2,000 rows"),
            ([[1], [2]], "'c' holds list<item: int64>, which is no kind of column"),
        ],
    )
    def test_what_is_no_column(self, values, said):
        with pytest.raises(ValueError, match=said) as caught:
            Schema.infer(pa.table({"c": values, "other": np.arange(len(values)) % 3}))
        assert "\n" not in str(caught.value)

    @pytest.mark.parametrize(
        ("column", "values", "said"),
        [
            (
                Categorical("c", ["a", "b"]),
                ["a", None, "z"],
                r"'c': 'z' in row 2 \(.*\) is none of the 2 values .*'a', 'b'",
            ),
            (Categorical("c", ["a", "b"]), [1, 2], "'c': expected values of type string, got int64"),
            (Ordinal("c", [1, 2]), [1, 3], "'c': 3 in row 1"),
            (Ordinal("c", [1, 2]), [1.0, 1.5], "'c': 1.5 in row 1"),
            (Boolean("c"), [0, 1], "'c': expected values of type bool, got int64"),
            (Integer("c", low=0), [3, -1], "'c': expected nothing below 0, got -1 in row 1"),
            (Integer("c"), [3.0, 1.5], "'c': expected whole numbers, got 1.5 in row 1"),
            (Rounded("c", 1), [0.1, 0.15], "'c': expected numbers of 1 decimal, got 0.15 in row 1"),
            (Positive("c", 0.0, 1.0), [2.0, 0.0], "'c': expected numbers above 0, got 0.0 in row 1"),
            (
                Positive("c", 0.0, 1.0, atoms=[0.0]),
                [0.0, -1.0],
                "'c': expected numbers above 0 or 0, got -1.0 in row 1",
            ),
            (Bounded("c", 0.0, 1.0), [0.5, 1.0], "'c': expected numbers between 0 and 1, got 1.0 in row 1"),
            (Continuous("c", 0.0, 1.0), ["x", "y"], r"'c' holds text \('x' in row 0\)"),
            (Time("c", type="date32"), ["x", "y"], "'c': expected date32, got string"),
        ],
    )
    def test_values_that_cannot_be(self, column, values, said):
        with pytest.raises(ValueError, match=said) as caught:
            column.encode(pa.array(values))
        assert "\n" not in str(caught.value)

    def test_dates_out_of_range(self):
        far = pa.array([0, 4_000_000], pa.int32()).cast(pa.date32())
        with pytest.raises(ValueError, match=r"column 'c': the date in row 1 .* is out of range"):
            Schema.infer(pa.table({"c": far}))

    def test_samples_of_times_and_integers_stay_within_their_types(self):
        far = np.array([-1e6, 1e6, 0.0])
        assert infer_column("c", EXACT["uint8"]).decode(far).to_pylist()[:2] == [0, 255]
        years = [value.year for value in infer_column("c", EXACT["dates"]).decode(far).to_pylist()]
        assert years[:2] == [1, 9999]
        infer_column("c", EXACT["nanoseconds of UTC"]).decode(far)

    def test_ten_thousand_categories(self):
        texts = [f"{i:05d}x" for i in range(10_000)] * 3
        column = infer_column("c", pa.array(texts))
        assert len(column.levels) == 10_000
        assert column.decode(column.encode(pa.array(texts))).to_pylist() == texts
        with pytest.raises(ValueError, match="'c' holds 21,000 different values, and as categories at most 20,000"):
            infer_column("c", pa.array([f"{i}x" for i in range(21_000)] * 2))

    def test_constructors(self):
        for make, said in (
            (lambda: Continuous("c", 0.0, 0.0), "scale"),
            (lambda: Continuous("c", 0.0, 1.0, type="int64"), "type"),
            (lambda: Continuous("c", 0.0, 1.0, atoms=[1.0, 1.0]), "atoms"),
            (lambda: Positive("c", 0.0, 1.0, atoms=[-1.0]), "atoms"),
            (lambda: Bounded("c", 1.0, 0.0), "low, high"),
            (lambda: Integer("c", type="string"), "type"),
            (lambda: Integer("c", low=2, high=1), "high"),
            (lambda: Rounded("c", 1, type="int8"), "type"),
            (lambda: Time("c", type="int64"), "type"),
            (lambda: Categorical("c", []), "levels"),
            (lambda: Categorical("c", ["a", "a"]), "levels"),
            (lambda: Ordinal("c", [2, 1]), "levels"),
            (lambda: Integer("c", type="thing"), "type"),
        ):
            with pytest.raises(ValueError, match=f"^{said}: expected"):
                make()


class TestSchema:
    def mixed(self, n=60):
        return pa.table({"f": RNG.normal(size=n), "n": RNG.integers(0, 100, n), "t": ["a", "b", "c"] * (n // 3)})

    def test_given_categories_are_one_number_each(self):
        table = self.mixed()
        schema = Schema.infer(table, ["f"], given=["t", "n"])
        x, context = schema.encode(table)
        assert schema.context_size == context.shape[1] == 4
        assert (context[:, :3].sum(axis=1) == 1).all()
        assert schema.decode(x, context)["t"].to_pylist() == table["t"].to_pylist()
        assert schema.decode(x, context)["n"].to_pylist() == table["n"].to_pylist()
        gap = table.set_column(2, "t", pa.array([None, *table["t"].to_pylist()[1:]]))
        with pytest.raises(ValueError, match=r"column 't': .* got a gap in row 0"):
            schema.encode(gap)

    def test_one_observation(self):
        schema = Schema.infer(self.mixed())
        x = schema.encode_row({"t": "b", "n": 7, "f": None})
        assert np.isnan(x[0])
        assert schema.decode(x[None]).to_pylist() == [{"f": None, "n": 7, "t": "b"}]
        assert schema.column("n").decode(x[1:2]).to_pylist() == [7]
        with pytest.raises(ValueError, match="expected one of the columns 'f', 'n', 't', got 'z'"):
            schema.encode_row({"z": 1})
        with pytest.raises(ValueError, match="column 't': 'z' is none of the 3 values"):
            schema.encode_row({"t": "z"})

    def test_files_hold_every_kind(self, tmp_path):
        arrays = {name: pa.array(values) for name, values in SMOOTH.items() if len(values) >= 200}
        table = pa.table({name: array.slice(0, 40) for name, array in (EXACT | arrays).items() if len(array) >= 40})
        schema = Schema.infer(table, kinds={"grades": "categorical"})
        model = TableModel(schema, ab.models.AnyOrder(schema.families(), hidden=8))
        ab.save(model, tmp_path / "m")
        again = ab.load(tmp_path / "m")
        assert repr(again.schema) == repr(schema)
        x, _ = schema.encode(table)
        np.testing.assert_array_equal(again.schema.encode(table)[0], x)
        assert again.schema.decode(x).equals(schema.decode(x))
        np.testing.assert_array_equal(again.log_prob(table), model.log_prob(table))


class TestAwkwardValues:
    def test_minus_zero_is_zero(self):
        for kind in (np.float64, np.float32, np.float16):
            column = infer_column("c", pa.array(np.array([0.0, -0.0, 1.0, 2.0] * 50, dtype=kind)))
            assert column.encode(pa.array(np.array([-0.0, 2.0], dtype=kind))).tolist() == [0.0, 2.0]

    def test_nan_is_a_gap_of_whole_levels(self):
        column = infer_column("rooms", pa.array([1, 2, 3] * 50))
        assert np.isnan(column.encode(pa.array([1.0, np.nan]))).tolist() == [False, True]

    def test_views_of_text(self):
        column = infer_column("c", pa.array(["u", "v"] * 30).cast(pa.string_view()))
        assert column.encode(pa.array(["v"]).cast(pa.string_view())).tolist() == [1.0]

    def test_times_of_other_zones_and_numbers_are_no_times(self):
        zoned = pa.array([0, 3600, 7200] * 20, pa.timestamp("s", "Europe/Berlin"))
        column = infer_column("at", zoned)
        assert column.encode(zoned.cast(pa.timestamp("s", "UTC")))[:3].tolist() == column.encode(zoned)[:3].tolist()
        with pytest.raises(
            TableError, match="'at': expected times with a zone, as in Europe/Berlin, got times without one"
        ):
            column.encode(pa.array([0], pa.timestamp("s")))
        naive = infer_column("at", zoned.cast(pa.timestamp("s")))
        with pytest.raises(
            TableError, match="'at': expected times without a zone, got times of the zone Europe/Berlin"
        ):
            naive.encode(zoned)
        with pytest.raises(TableError, match="convert the numbers to times"):
            naive.encode(pa.array([3600]))

    def test_an_hour_that_clocks_leap(self):
        column = infer_column("at", pa.array([0, 3600, 7200] * 20, pa.timestamp("s", "Europe/Berlin")))
        with pytest.raises(TableError, match="'2021-03-28 02:30' does not exist in Europe/Berlin"):
            column.read("2021-03-28 02:30")

    def test_a_time_within_a_day_divides_dates(self):
        column = infer_column("day", pa.array([0, 1, 2] * 20, pa.int32()).cast(pa.date32()))
        assert column.cut("1970-01-02 12:00", False) == column.cut("1970-01-02", True)

    def test_the_index_of_pandas_is_no_column_of_a_file(self, tmp_path):
        frame = pandas.DataFrame({"x": [1.5, 2.5, 3.5]}, index=[7, 3, 9])
        frame.to_parquet(tmp_path / "t.parquet")
        assert read_table(tmp_path / "t.parquet").column_names == ["x"]
        assert TableStream(tmp_path / "t.parquet").column_names == ["x"]

    def test_text_that_looks_like_a_gap_survives_csv(self, tmp_path):
        table = pa.table({"c": ["", "NA", "null", "x", None], "n": [1, 2, 3, 4, 5]})
        write_table(table, tmp_path / "t.csv")
        assert read_table(tmp_path / "t.csv")["c"].to_pylist() == table["c"].to_pylist()

    def test_files_of_a_folder_are_alike(self, tmp_path):
        write_table(pa.table({"x": [1.0], "n": [1]}), tmp_path / "a.parquet")
        for other in ({"x": [1.0]}, {"x": [1.0], "n": [1], "more": [2]}, {"x": [1], "n": [1]}):
            write_table(pa.table(other), tmp_path / "b.parquet")
            with pytest.raises(ValueError, match=r"b.parquet: expected the columns of the first file"):
                TableStream(tmp_path)


class TestEnds:
    """What cannot be has probability 0, is never drawn and is refused."""

    @staticmethod
    def draws(column, values, n=20_000):
        """Draws of a column's family where it starts, before any fit."""
        z = torch.from_numpy(column.encode(values)).float()
        family = column.family()
        torch.manual_seed(0)
        return column.decode(family.sample(family.start(z[~z.isnan()]).expand(n, -1)).double().numpy())

    @pytest.mark.parametrize(
        ("make", "low", "high"),
        [
            (lambda r: r.integers(1, 32, 3000), 1, 31),
            (lambda r: r.integers(0, 24, 3000), 0, 23),
            (lambda r: r.integers(0, 60, 3000), 0, 59),
            (lambda r: r.integers(0, 101, 300), 0, 100),
            (lambda r: np.round(100 * r.beta(1.5, 1, 3000), 1), 0, 100),
            (lambda r: np.clip(r.normal(45, 20, 3000).round(), 18, 90).astype(int), 18, 90),
            (lambda r: r.uniform(0, 360, 3000), 0, 360),
            (lambda r: r.uniform(0, 97.3, 50_000), 0, 97.3),
            (lambda r: r.uniform(0, 1, 3000).astype(np.float32), 0, 1),
            (lambda r: np.minimum(r.normal(size=3000), 0.7), None, 0.7),
            (lambda r: np.minimum(np.exp(r.normal(size=3000)), 5.00001), None, 5.00001),
            (lambda r: 1 + r.pareto(2.0, 3000), 1, None),
            (lambda r: r.poisson(4.0, 3000), 0, None),
            (lambda r: r.normal(size=3000), None, None),
            (lambda r: r.normal(0, 20, 3000).round(), None, None),
            (lambda r: r.standard_t(3, 3000), None, None),
            (lambda r: np.round(100 + r.normal(size=3000), 1), None, None),
        ],
    )
    def test_they_are_where_values_pile_up_or_stop(self, make, low, high):
        values = pa.array(make(np.random.default_rng(1)))
        column = infer_column("c", values)
        unit = 10.0 ** -getattr(column, "digits", 0)
        found = [None if end is None else end * unit for end in (column.low, column.high)]
        assert found == pytest.approx([low, high])
        drawn = self.draws(column, values).to_numpy(zero_copy_only=False)
        assert low is None or drawn.min() >= low
        assert high is None or drawn.max() <= high + 1e-6

    def test_nothing_is_beyond(self):
        values = np.random.default_rng(0).uniform(0, 360, 3000)
        for column in (
            infer_column("c", pa.array(values)),
            infer_column("c", pa.array(np.round(values).astype(int)), kind="integer 0..360"),
        ):
            assert column.cut(360, True) == (math.inf, True)
            assert column.cut(400, False) == (math.inf, True)
            assert column.cut(0, False) == (-math.inf, False)
            assert column.decode(np.array([-1e3, 1e3])).to_pylist() == [0, 360]
            with pytest.raises(
                TableError, match=r"'c': expected nothing above 360, got 361.* with kinds='\w+ \.\.' for it"
            ):
                column.encode(pa.array([1, 361]))
            family = column.family()
            beyond = torch.tensor(column.encode(pa.array([360]))[0] * 1.01).float()
            assert not bool(family.contains(beyond))

    @pytest.mark.parametrize(("unit", "last"), [("D", "2023-12-31"), ("s", "2023-12-31 23:59:59")])
    def test_dates_end_with_the_year_to_which_they_pile_up(self, unit, last):
        rng = np.random.default_rng(0)
        day = np.datetime64("2020-01-01", "D") + rng.integers(0, 1461, 5000)
        times = day if unit == "D" else day.astype("datetime64[s]") + rng.integers(0, 86_400, 5000)
        column = infer_column("c", pa.array(times))
        first = "2020-01-01" + ("" if unit == "D" else " 00:00:00")
        assert f"from {first}, to {last}" in column.description
        assert str(self.draws(column, pa.array(times)).to_numpy(zero_copy_only=False).max()).replace("T", " ") <= last
        with pytest.raises(TableError, match=f"expected nothing above {last}"):
            column.encode(pa.array([np.datetime64("2024-01-01", "s")]).cast(column.arrow_type))

    def test_they_can_be_told(self):
        x = pa.array(np.random.default_rng(0).integers(3, 20, 300))
        assert infer_column("c", x, kind="integer 0..23").description.endswith(
            "from 0, to 23, atoms at 3, 4, 5, 6, 7 and 12 more"
        )
        assert (infer_column("c", x, kind="integer ..").low, infer_column("c", x, kind="integer 0..").high) == (
            None,
            None,
        )
        column = infer_column("c", pa.array([0.25, 12.5, 7.75] * 5), kind="rounded 0..12.5")
        assert (column.low, column.high, column.digits) == (0, 1250, 2)
        column = infer_column("c", pa.array(RNG.normal(size=100)), kind="continuous -10..10")
        assert (column.low, column.high) == (-10, 10)
        dates = pa.array([datetime.date(2020, 5, 17), datetime.date(2021, 1, 1)] * 10)
        assert (
            "from 2020-01-01, to 2029-12-31" in infer_column("c", dates, kind="time 2020-01-01..2029-12-31").description
        )
        assert infer_column("c", pa.array([0.1, 0.7, 0.5] * 4), kind="bounded -1..1").low == -1
        with pytest.raises(TableError, match="'c': expected nothing above 10, got 17 in row 0"):
            infer_column("c", x, kind="integer 0..10").encode(x)
        with pytest.raises(TableError, match=r"'c': expected a least value below the largest, got 5\.\.1"):
            infer_column("c", x, kind="integer 5..1")
        for wrong in ("integer 5", "categorical 1..2", "ordinal 0..5"):
            with pytest.raises(ValueError, match=r"kinds\['c'\]: expected a kind, or one of continuous, positive"):
                infer_column("c", x, kind=wrong)

    def test_ends_are_read_off_all_rows(self):
        values = np.r_[np.random.default_rng(0).integers(0, 50, 1000), np.random.default_rng(1).integers(0, 101, 1000)]
        assert infer_column("c", pa.array(values), rows=np.arange(1000)).high == 100


class TestTails:
    @pytest.mark.parametrize("seed", range(40))
    def test_counts_are_not_bent_on_what_atoms_leave_over(self, seed):
        column = infer_column("c", pa.array(np.random.default_rng(seed).poisson(0.5, 3000)))
        assert column.bend == 0
        assert column.curve.numbers[5] * column.widest < 0.4

    def test_draws_of_counts_are_of_the_size_of_the_data(self):
        values = pa.array(np.random.default_rng(0).poisson(0.5, 3000))
        assert max(TestEnds.draws(infer_column("c", values), values).to_pylist()) < 20

    @pytest.mark.parametrize(
        ("draw", "index"),
        [
            (lambda r, n: r.normal(size=n), 0.0),
            (lambda r, n: r.exponential(size=n), 0.0),
            (lambda r, n: r.standard_t(3, n), 1 / 3),
            (lambda r, n: r.pareto(2, n), 1 / 2),
            (lambda r, n: r.pareto(3, n), 1 / 3),
        ],
    )
    def test_the_index_is_that_of_the_data_and_smaller_of_few(self, draw, index):
        for n, off in ((1000, 0.2), (50_000, 0.1)):
            found = []
            for seed in range(5):
                at, beyond = begins(draw(np.random.default_rng(seed), n))
                found.append(pareto(beyond - at)[0])
            assert float(np.mean(found)) == pytest.approx(index, abs=off)
            assert max(found) < 1

    @pytest.mark.parametrize(
        ("draw", "least", "most"),
        [
            (lambda r, n: r.normal(size=n), 0, 0),
            (lambda r, n: r.exponential(10, n), 0, 1),
            (lambda r, n: r.exponential(10, n).round(1), 0, 1),
            (lambda r, n: r.geometric(0.05, n), 0, 1),
            (lambda r, n: r.gamma(2, 3, n), 0, 1),
            (lambda r, n: r.standard_t(3, n), 7, 8),
            (lambda r, n: r.standard_t(3, n).round(2), 7, 8),
            (lambda r, n: 1 + r.pareto(2, n), 7, 8),
            (lambda r, n: r.pareto(2, n), 7, 8),
            (lambda r, n: (10 * r.pareto(2, n)).astype(int), 7, 8),
        ],
    )
    def test_heavy_tails_are_said_of_heavy_ones_alone(self, draw, least, most):
        columns = [infer_column("c", pa.array(draw(np.random.default_rng(seed), 3000))) for seed in range(8)]
        assert least <= sum("heavy tail" in column.description for column in columns) <= most

    @pytest.mark.parametrize("draw", [lambda r, n: r.standard_cauchy(n), lambda r, n: np.exp(3 * r.normal(size=n))])
    def test_no_component_has_a_tail_without_a_mean(self, draw):
        for seed in range(5):
            column = infer_column("c", pa.array(draw(np.random.default_rng(seed), 2000)))
            assert 0 < max(column.curve.numbers[2], column.curve.numbers[5]) * column.widest < 1

    def test_prices_of_nothing_are_not_drawn(self):
        price = 320 + np.random.default_rng(0).gamma(1.2, 2500, 5000).round()
        values = pa.array(price.astype(int))
        column = infer_column("c", values)
        assert TestEnds.draws(column, values).to_numpy().min() > 250

    def test_floats_of_32_bits_are_as_those_of_64(self):
        rng = np.random.default_rng(0)
        for values in (
            100 + rng.normal(size=3000).repeat(2),
            rng.integers(0, 30, 3000) / 7 + 20,
            np.round(100 + rng.normal(size=3000), 1),
            rng.choice([0.1, 12.7, 80.3], 300),
        ):
            one, other = (infer_column("c", pa.array(values.astype(kind))) for kind in (np.float32, np.float64))
            assert type(one) is type(other)
            assert getattr(one, "digits", None) == getattr(other, "digits", None)


class TestApart:
    def test_a_slip_is_named_and_spoils_nothing(self):
        x = np.r_[RNG.normal(size=900), 1e30]
        with pytest.warns(TableWarning, match=r"column 'x': the value 1e\+30 in row 900 .* is far from all others"):
            column = infer_column("x", pa.array(x))
        assert column.atoms == (1e30,)
        assert 0.8 < column.scale < 1.2
        assert column.decode(column.encode(pa.array(x))).to_pylist()[-1] == 1e30

    def test_of_whole_numbers_too(self):
        n = np.r_[RNG.integers(0, 90, 900), 999_999]
        with pytest.warns(TableWarning, match=r"column 'n': the value 999999 in row 900"):
            column = infer_column("n", pa.array(n))
        assert (column.high, column.atoms, column.bend) == (89, (999_999,), 0)
        assert column.decode(column.encode(pa.array(n))).to_pylist() == n.tolist()

    def test_fill_values_have_their_probability_at_any_distance(self):
        rng = np.random.default_rng(0)
        y = np.where(rng.random(600) < 0.03, 9.97e36, np.where(rng.random(600) < 0.03, 1e20, rng.normal(size=600)))
        table = pa.table({"y": y, "x": rng.normal(size=600)})
        schema = Schema.infer(table)
        assert schema.column("y").atoms == (1e20, 9.97e36)
        density = ab.models.AnyOrder(schema.families(), hidden=8)
        density.initialize(schema.tensor(schema.encode(table)[0], torch.float32))
        model = TableModel(schema, density)
        log_p = model.log_prob(table)
        assert np.isfinite(log_p).all()
        assert float(model.ask("P(y > 1e30)").lines[0].value) == pytest.approx((y > 1e30).mean(), abs=0.01)
        assert float(model.ask("P(y > 5)").lines[0].value) == pytest.approx((y > 5).mean(), abs=0.01)
        loss = density.loss(schema.tensor(schema.encode(table)[0], torch.float32)).mean()
        loss.backward()
        assert all(p.grad is None or bool(p.grad.isfinite().all()) for p in density.parameters())
        unseen = pa.table({"y": [3e25], "x": [0.0]})
        with pytest.warns(TableWarning, match="is so far from what the model was fitted to"):
            assert model.log_prob(unseen)[0] == -math.inf

    def test_heavy_tails_are_not_apart(self):
        for seed in range(20):
            assert not len(apart(np.random.default_rng(seed).pareto(1.5, 2000)))


class TestAngle:
    def test_values_come_around(self):
        column = Angle("c")
        x = pa.array([0.0, 359.5, 360.0, 720.5, -90.0, None])
        again = column.decode(column.encode(x))
        np.testing.assert_allclose(again.to_pylist()[:5], [0, 359.5, 0, 0.5, 270])
        assert again.null_count == 1

    def test_degrees_hours_and_radians(self):
        rng = np.random.default_rng(0)
        degrees = infer_column("c", pa.array(rng.integers(0, 36, 200) * 10), kind="angle")
        assert (degrees.step, degrees.discrete, degrees.count) == (10.0, True, 36)
        assert degrees.decode(degrees.encode(pa.array([370, 350]))).to_pylist() == [10, 350]
        hours = infer_column("c", pa.array(rng.integers(0, 96, 200) / 4), kind="angle 24")
        assert hours.step == 0.25
        assert hours.decode(hours.encode(pa.array([23.75, 24.25]))).to_pylist() == [23.75, 0.25]
        radians = infer_column("c", pa.array(rng.uniform(0, 6, 200)), kind="angle 6.283185307179586")
        assert radians.step is None
        assert radians.log_det(np.array([1.0, np.nan])).tolist() == [0.0, 0.0]
        with pytest.raises(TableError, match="'c': expected multiples of 10, got 15 in row 1"):
            degrees.encode(pa.array([10, 15]))
        with pytest.raises(TableError, match="expected a whole period for whole numbers"):
            infer_column("c", pa.array([1, 2, 3]), kind="angle 6.5")

    def test_probabilities_of_intervals(self):
        rng = np.random.default_rng(0)
        for x in (rng.normal(0, 25, 4000) % 360, (rng.normal(0, 25, 4000) % 360).round().astype(int) % 360):
            table = pa.table({"w": x})
            schema = Schema.infer(table, kinds={"w": "angle"})
            density = ab.models.AnyOrder(schema.families(), hidden=8)
            density.initialize(schema.tensor(schema.encode(table)[0], torch.float32))
            model = TableModel(schema, density)
            ask = {
                text: float(model.ask(text).lines[0].value)
                for text in ("P(w > 340)", "P(w <= 340)", "P(w > 360)", "P(w < 0)")
            }
            assert ask["P(w > 340)"] + ask["P(w <= 340)"] == pytest.approx(1, abs=1e-5)
            assert ask["P(w > 340)"] == pytest.approx((x > 340).mean(), abs=0.05)
            assert ask["P(w > 360)"] == ask["P(w < 0)"] == 0
            drawn = model.sample(1000, seed=0)["w"].to_numpy()
            assert drawn.min() >= 0
            assert drawn.max() < 360

    def test_the_best_of_a_gap_is_a_direction(self):
        part = Angle("c")
        z = torch.tensor([[0.1, 2 * math.pi - 0.1, 2 * math.pi - 0.3]], dtype=torch.float64)
        p = torch.tensor([[0.4, 0.4, 0.2]], dtype=torch.float64)
        assert float(middle_of(part, "mean")(z, p)) == pytest.approx(2 * math.pi - 0.0598, abs=1e-3)
        assert float(middle_of(part, "median")(z, p)) == pytest.approx(2 * math.pi - 0.1)

    def test_as_what_is_given(self):
        part = Angle("c", step=1.0, type="int64")
        z = part.encode(pa.array([0, 90, 359]))
        assert part.context(z).shape == (3, part.context_size)
        np.testing.assert_allclose(part.from_context(part.context(z)), z, atol=1e-12)


class TestDraws:
    """A column fitted by itself draws as far out as its values do."""

    @pytest.mark.parametrize(
        "draw",
        [
            lambda r, n: r.normal(size=n),
            lambda r, n: r.exponential(size=n),
            lambda r, n: np.exp(2 * r.normal(size=n)),
            lambda r, n: r.standard_t(3, n),
            lambda r, n: 1 + r.pareto(2, n),
            lambda r, n: r.negative_binomial(1, 0.02, n),
        ],
    )
    def test_seldom_beyond_the_largest_and_with_the_mean(self, draw):
        n = 4000
        x = draw(np.random.default_rng(1), n)
        column = infer_column("c", pa.array(x))
        density = Marginals([column.family()])
        z = torch.from_numpy(column.encode(pa.array(x))).float().unsqueeze(-1)
        density.initialize(z)
        ab.fit(density, z, epochs=8, batch_size=500, learning_rate=1e-2, seed=0, progress=False, compile=False)
        torch.manual_seed(0)
        with torch.no_grad():
            drawn = column.decode(density.sample((200_000,))[:, 0].double().numpy()).to_numpy(zero_copy_only=False)
        assert (drawn > x.max()).mean() < 8 / n
        assert (drawn < x.min()).mean() < 8 / n
        assert abs(drawn.mean() - x.mean()) < 0.25 * min(x.std(), abs(x.mean()) + 0.2)


def test_a_bounded_column_has_nothing_beyond_its_ends_and_all_upto_them():
    values = np.r_[np.random.default_rng(0).beta(2, 1, 300), np.ones(40)]
    column = Bounded.infer("share", pa.array(values))
    assert column.atoms == (1.0,)
    assert column.cut(1.0, included=True) == (np.inf, True)
    assert column.cut(1.0, included=False) != (np.inf, True)
    assert column.cut(0.0, included=False) == (-np.inf, False)
    assert column.cut(2.0, included=False) == (np.inf, True)
