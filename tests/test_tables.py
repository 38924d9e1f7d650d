"""Tables: files, schemas, models of tables, and the fit of one."""

import csv
import gzip
import math
import subprocess
import sys
import warnings

import numpy as np
import pandas
import polars
import pyarrow as pa
import pytest
import torch
from scipy import stats

import anabranch as ab
from anabranch.storage import read_metadata
from anabranch.tables import Schema, TableModel, TableStream, TableWarning, as_table, fit_table, read_table, write_table
from anabranch.tables.columns import Continuous
from anabranch.tables.encoded_stream import EncodedStream


def numbers(rows=200, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, 2)) @ [[2.0, 1.0], [0.0, 0.5]] + [10.0, -3.0]
    return pa.table({"a": x[:, 0], "b": x[:, 1].astype(np.float32), "c": rng.integers(0, 10**6, rows)})


ENDINGS = [".csv", ".csv.gz", ".CSV", ".parquet", ".arrow", ".feather", ".ipc", ".npy", ".npz"]


class TestFiles:
    @pytest.mark.parametrize("ending", ENDINGS)
    def test_a_table_comes_back_from_every_format(self, tmp_path, ending):
        table = numbers(20)
        path = tmp_path / f"a.b c{ending}"
        write_table(table, path)
        again = read_table(path)
        names = ["column_0", "column_1", "column_2"] if ending == ".npy" else ["a", "b", "c"]
        assert again.column_names == names
        for name, other in zip(table.column_names, names, strict=True):
            # decimal text of a float32 is read as a float64: compared in the column's own type
            values = table[name].to_numpy()
            np.testing.assert_array_equal(again[other].to_numpy().astype(values.dtype), values)
        if ending in (".parquet", ".arrow", ".feather", ".ipc"):
            assert again.schema.types == table.schema.types
        assert list(tmp_path.iterdir()) == [path]

    def test_names_and_texts_that_need_quotes(self, tmp_path):
        table = pa.table({"mass, kg": [1.5, None], 'the "b"': ["x, y", "line\nbreak"]})
        write_table(table, tmp_path / "t.csv")
        assert read_table(tmp_path / "t.csv").to_pydict() == table.to_pydict()

    def test_an_arrow_stream(self, tmp_path):
        table = numbers(5)
        with pa.OSFile(str(tmp_path / "t.arrow"), "wb") as file, pa.ipc.new_stream(file, table.schema) as writer:
            writer.write_table(table)
        assert read_table(tmp_path / "t.arrow").equals(table)

    @pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
    def test_durations_are_text_in_csv(self, tmp_path, unit):
        ticks = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[unit]
        rows = [5400 * ticks, -62 * ticks, 0, None, 3 * 10**6 * ticks, 1]
        write_table(pa.table({"a": range(6), "took": pa.array(rows, pa.duration(unit))}), tmp_path / "t.csv")
        written = [row[1] for row in csv.reader((tmp_path / "t.csv").read_text().splitlines())]
        least = {"s": "0:00:01", "ms": "0:00:00.001", "us": "0:00:00.000001", "ns": "0:00:00.000000001"}[unit]
        assert written == ["took", "1:30:00", "-0:01:02", "0:00:00", "", "833:20:00", least]

    def test_gaps_in_csv(self, tmp_path):
        (tmp_path / "t.csv").write_text("a,b,s\n1,NA,x\n,2.5,NA\nnan,inf,\n")
        assert read_table(tmp_path / "t.csv").to_pydict() == {
            "a": [1, None, None],
            "b": [None, 2.5, math.inf],
            "s": ["x", None, None],
        }

    def test_an_empty_line_of_a_one_column_csv_is_a_row_with_a_gap(self, tmp_path):
        (tmp_path / "t.csv").write_text("a\n1\n\n3\n")
        assert read_table(tmp_path / "t.csv")["a"].to_pylist() == [1, None, 3]

    def test_fractions_after_megabytes_of_whole_numbers(self, tmp_path):
        # Arrow reads blocks of one megabyte, and the first has no fraction
        (tmp_path / "t.csv").write_text("a,b\n" + "1,2\n" * 400_000 + "1.5,2\n")
        assert read_table(tmp_path / "t.csv")["a"][-1].as_py() == 1.5

    @pytest.mark.parametrize("dtype", ["float16", ">f4", "int8", "uint64", "bool", "longdouble"])
    def test_numpy_types(self, tmp_path, dtype):
        np.save(tmp_path / "t.npy", np.eye(3).astype(dtype))
        table = read_table(tmp_path / "t.npy")
        np.testing.assert_array_equal(np.stack([c.to_numpy().astype(float) for c in table.columns], 1), np.eye(3))

    def broken(self, path, name):
        if name.startswith("pickle"):
            np.save(path, np.array([[{}]], dtype=object), allow_pickle=True)
        elif name.startswith("cube"):
            np.save(path, np.zeros((2, 2, 2)))
        elif name.startswith("without x"):
            np.savez(path, num=np.zeros((2, 2)))
        elif name.startswith("names"):
            np.savez(path, x=np.zeros((2, 2)), names=np.array(["a"]))
        elif name.startswith("cut"):
            write_table(numbers(), path)
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        elif name.startswith("text"):
            path.write_text("hello, world\n")
        else:
            path.write_bytes(
                {
                    "nothing.csv": b"",
                    "only names.csv": b"a,b\n",
                    "no names.csv": b"1.5,2\n3,4\n",
                    "twice.csv": b"a,b,a\n1,2,3\n",
                    "ragged.csv": b"a,b\n1,2\n3\n",
                    "table.xlsx": b"PK",
                }[name]
            )

    @pytest.mark.parametrize(
        ("name", "said"),
        [
            ("nothing.csv", "empty"),
            ("only names.csv", "no rows"),
            ("no names.csv", "first line looks like data"),
            ("twice.csv", "'a' is there twice"),
            ("ragged.csv", "Row #3"),
            ("table.xlsx", "ends in one of .csv"),
            ("pickle.npy", "damaged"),
            ("cube.npy", "2-D array"),
            ("without x.npz", "named num"),
            ("names.npz", "2 columns"),
            ("cut.parquet", "damaged"),
            ("cut.arrow", "damaged"),
            ("cut.npz", "damaged"),
            ("cut.npy", "damaged"),
            ("cut.csv.gz", "damaged"),
            ("text.parquet", "damaged"),
            ("text.feather", "damaged"),
            ("text.npz", "damaged"),
            ("text.csv.gz", "damaged"),
        ],
    )
    def test_what_is_no_table_is_said_in_one_line_that_names_the_file(self, tmp_path, name, said):
        path = tmp_path / name
        self.broken(path, name)
        with pytest.raises(ValueError, match=said) as caught:
            read_table(path)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)

    def test_no_file_and_a_folder(self, tmp_path):
        with pytest.raises(FileNotFoundError, match=r"none\.csv: no such file"):
            read_table(tmp_path / "none.csv")
        (tmp_path / "folder.csv").mkdir()
        with pytest.raises(ValueError, match="got a folder"):
            read_table(tmp_path / "folder.csv")

    def test_a_failure_while_writing_keeps_the_old_file(self, tmp_path):
        path = tmp_path / "t.npy"
        write_table(pa.table({"a": [1.0]}), path)
        with pytest.raises(ValueError, match="'s' holds no numbers"):
            write_table(pa.table({"s": ["x"]}), path)
        assert read_table(path).num_rows == 1
        assert list(tmp_path.iterdir()) == [path]

    def test_the_same_table_gives_the_same_compressed_bytes(self, tmp_path):
        for name in ("a.csv.gz", "b.csv.gz"):
            write_table(numbers(), tmp_path / name)
        assert (tmp_path / "a.csv.gz").read_bytes() == (tmp_path / "b.csv.gz").read_bytes()
        assert gzip.decompress((tmp_path / "a.csv.gz").read_bytes()).startswith(b"a,b,c\n")


class TestFrames:
    def test_pandas_and_polars(self):
        table = numbers(5)
        assert as_table(table.to_pandas()).to_pydict() == table.to_pydict()
        assert as_table(polars.from_arrow(table)).to_pydict() == table.to_pydict()

    def test_an_index_is_no_column(self):
        frame = pandas.DataFrame({"a": [1.0, 2.0]}, index=[7, 9])
        assert as_table(frame).column_names == ["a"]

    def test_others_are_refused(self):
        with pytest.raises(ValueError, match="got list"):
            as_table([[1.0]])
        with pytest.raises(ValueError, match="'a' is there twice"):
            as_table(pa.Table.from_arrays([pa.array([1.0])] * 2, names=["a", "a"]))


class TestSchema:
    def test_standardises(self):
        table = numbers()
        schema = Schema.standardised(table, ["b", "a"], given=["c"])
        x, context = schema.encode(table)
        assert x.dtype == context.dtype == np.float64
        for z in (x, context):
            np.testing.assert_allclose(z.mean(axis=0), 0, atol=1e-12)
            np.testing.assert_allclose(z.std(axis=0), 1)
        want = -np.log([table["a"].to_numpy().std(), table["b"].to_numpy().std()]).sum()
        np.testing.assert_allclose(schema.log_det(x), want)

    def test_decode_gives_back_names_values_and_floating_types(self):
        table = numbers()
        schema = Schema.standardised(table)
        again = schema.decode(schema.encode(table)[0])
        assert again.schema == pa.schema({"a": pa.float64(), "b": pa.float32(), "c": pa.float64()})
        for name in "abc":
            np.testing.assert_allclose(again[name].to_numpy(), table[name].to_numpy(), rtol=1e-7)
        schema = Schema.standardised(table, ["a"], given=["c"])
        x, context = schema.encode(table)
        assert schema.decode(x, context).column_names == ["c", "a"]
        np.testing.assert_allclose(schema.decode(x, context)["c"].to_numpy(), table["c"].to_numpy())

    def test_statistics_come_from_the_rows_named(self):
        table = pa.table({"a": [0.0, 2.0, 100.0]})
        schema = Schema.standardised(table, rows=np.array([0, 1]))
        assert (schema.column("a").loc, schema.column("a").scale) == (1.0, 1.0)

    @pytest.mark.parametrize(
        ("loc", "scale"), [(1.7e9, 1e-3), (0.0, 1e300), (0.0, 1e-300), (1e300, 1e290), (-1e-300, 1e-302), (0.0, 5e307)]
    )
    def test_huge_tiny_and_narrow_values_keep_their_digits(self, loc, scale):
        z = np.linspace(-1.7, 1.7, 101)
        values = loc + scale * z
        x, _ = Schema.standardised(table := pa.table({"t": values})).encode(table)
        # what is lost was lost when the values themselves were rounded
        rounding = 1e-12 + 4 * np.spacing(abs(loc) + scale) / scale
        np.testing.assert_allclose(x[:, 0], z / z.std(), atol=rounding)
        assert np.isfinite(x).all()

    def test_types_that_are_numbers(self):
        from decimal import Decimal

        table = pa.table(
            {
                "half": pa.array(np.arange(3, dtype=np.float16)),
                "decimal": pa.array([Decimal("1.50"), Decimal("2.50"), Decimal("3.50")]),
                "yes": [True, False, True],
            }
        )
        x, context = Schema.standardised(table, given=["yes"]).encode(table)
        np.testing.assert_allclose(x[:, 0], x[:, 1])
        np.testing.assert_allclose(context[:, 0] > 0, [True, False, True])

    @pytest.mark.parametrize(
        ("column", "said"),
        [
            (["1.5", "x", "2"], r"'z' holds text \('x' in row 1\).*--columns.*: a"),
            ([None, "1", "2"], r"'z' holds text \('1' in row 1\)"),
            ([True, False, True], "'z' holds true and false"),
            ([None, None, None], "'z' is empty"),
            ([np.datetime64("2020-01-01", "s")] * 3, "'z' holds no numbers but timestamp"),
            ([7, 7, 7], "'z' is constant, it holds 7"),
            ([1.0, 2.0, None], r"'z': .* got a gap in row 2 .*1 of 3 rows holds one"),
            ([1.0, np.nan, None], "got a gap in row 2"),
            ([1.0, np.nan, np.nan], r"got NaN in row 1 .*2 of 3 rows hold one"),
            ([1.0, 2.0, -np.inf], "got infinity in row 2"),
            ([2**60, 2**60 + 1, 3], "'z' holds whole numbers beyond 2\\^53"),
            ([0.0, 5e-324, 0.0], "'z' spreads over less than the smallest"),
        ],
    )
    def test_columns_that_cannot_be_modelled_are_named(self, column, said):
        with pytest.raises(ValueError, match=said) as caught:
            Schema.standardised(pa.table({"a": [1.0, 2.0, 3.0], "z": column}))
        assert "\n" not in str(caught.value)

    def test_columns_that_are_missing_or_named_twice(self):
        table = numbers()
        with pytest.raises(ValueError, match=r"no column 'd'.* it has 'a', 'b', 'c'"):
            Schema.standardised(table, ["a", "d"])
        with pytest.raises(ValueError, match="no columns 'd', 'e'"):
            Schema.standardised(table, ["a", "d"], given=["e"])
        with pytest.raises(ValueError, match="'a' is named twice"):
            Schema.standardised(table, ["a", "a"])
        with pytest.raises(ValueError, match="'a' is in both"):
            Schema.standardised(table, ["a"], given=["a"])
        with pytest.raises(ValueError, match="some column to model"):
            Schema.standardised(table, given=["a", "b", "c"])

    def test_other_columns_than_at_fitting(self):
        table = numbers()
        schema = Schema.standardised(table, ["a"], given=["c"])
        more = table.append_column("text", pa.array(["x"] * len(table))).select(["text", "c", "b", "a"])
        np.testing.assert_array_equal(schema.encode(more)[0], schema.encode(table)[0])
        with pytest.raises(ValueError, match="no column 'c', which the model has; it has 'a', 'b'"):
            schema.encode(table.drop_columns("c"))
        with pytest.raises(ValueError, match="'a' holds text"):
            schema.encode(pa.table({"a": ["x"], "c": [1]}))

    def test_a_value_in_many_rows_is_warned_of(self):
        values = np.arange(100.0)
        values[:12] = 3.0
        with pytest.warns(TableWarning, match="column 'a' holds the value 3 in 12% of its rows"):
            Schema.standardised(pa.table({"a": values}))
        Schema.standardised(pa.table({"a": [0.0, 0.0, 1.0]}))  # few rows prove nothing
        Schema.standardised(pa.table({"g": values, "b": np.arange(100.0)}), given=["g"])

    def test_the_constructor_checks(self):
        a, b = Continuous("a", 0.0, 1.0), Continuous("b", 0.0, 1.0)
        for columns, given in (([], []), ([a, a], []), ([a], [a]), ([], [a]), (["a"], [])):
            with pytest.raises(ValueError, match="expected"):
                Schema(columns, given)
        with pytest.raises(ValueError, match="expected one of the columns 'a', 'b', got 'c'"):
            Schema([a], [b]).column("c")


def normal_model(table, given=()):
    schema = Schema.standardised(table, given=given)
    d = len(schema.columns)
    if given:
        return TableModel(schema, ab.densities.Normal(torch.zeros(d), context=len(given)))
    return TableModel(schema, ab.densities.Normal.standard(d))


class TestTableModel:
    def test_log_prob_is_that_of_the_data_in_its_own_units(self):
        table = numbers()
        want = sum(stats.norm.logpdf(v, v.mean(), v.std()) for v in (table[n].to_numpy().astype(float) for n in "abc"))
        np.testing.assert_allclose(normal_model(table).log_prob(table), want, rtol=1e-5)

    @pytest.mark.parametrize("factor", [1e-300, 1e-3, 1e300])
    def test_another_unit_shifts_log_prob_by_its_logarithm(self, factor):
        table = numbers().select(["a"])
        scaled = pa.table({"a": factor * table["a"].to_numpy()})
        shift = normal_model(scaled).log_prob(scaled) - normal_model(table).log_prob(table)
        np.testing.assert_allclose(shift, -math.log(factor), rtol=1e-5)

    def test_integrates_to_one_in_own_units(self):
        model, _ = fit_table(numbers().select(["a"]), blocks=2, hidden=(8,), epochs=2)
        grid = np.linspace(-10, 30, 20_001)
        density = np.exp(model.log_prob(pa.table({"a": grid})))
        assert np.trapezoid(density, grid) == pytest.approx(1, abs=2e-3)

    def test_batches_of_any_size_and_one_row(self, monkeypatch):
        table = numbers()
        model = normal_model(table)
        whole = model.log_prob(table)
        monkeypatch.setattr("anabranch.tables.encoded_density._BATCH_NUMBERS", 3 * 7)
        np.testing.assert_allclose(model.log_prob(table), whole, rtol=1e-6)
        np.testing.assert_allclose(model.log_prob(table.slice(5, 1)), whole[5:6], rtol=1e-6)
        assert model.sample(20, seed=0).num_rows == 20

    def test_batches_of_contexts(self, monkeypatch):
        table = numbers()
        model = normal_model(table, given=["c"])
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.normal_(generator=torch.Generator().manual_seed(0))
        whole = model.log_prob(table)
        monkeypatch.setattr("anabranch.tables.encoded_density._BATCH_NUMBERS", 2 * 7)
        np.testing.assert_allclose(model.log_prob(table), whole, rtol=1e-4)
        drawn = model.sample(3, given=table.slice(0, 9), seed=0)
        assert drawn["c"].to_pylist() == np.repeat(table["c"].to_numpy()[:9], 3).tolist()

    def test_frames(self):
        table = numbers()
        model = normal_model(table)
        np.testing.assert_array_equal(model.log_prob(table.to_pandas()), model.log_prob(table))
        np.testing.assert_array_equal(model.log_prob(polars.from_arrow(table)), model.log_prob(table))

    def test_samples_have_the_data_names_types_and_moments(self):
        table = numbers(2000)
        drawn = normal_model(table).sample(20_000, seed=0)
        assert drawn.schema == pa.schema({"a": pa.float64(), "b": pa.float32(), "c": pa.float64()})
        for name in "abc":
            values, data = drawn[name].to_numpy(), table[name].to_numpy()
            assert abs(values.mean() - data.mean()) < 0.05 * data.std()
            assert abs(values.std() / data.std() - 1) < 0.05

    def test_seeds(self):
        model = normal_model(numbers())
        state = torch.get_rng_state()
        assert model.sample(5, seed=1).equals(model.sample(5, seed=1))
        assert not model.sample(5, seed=1).equals(model.sample(5, seed=2))
        assert torch.equal(torch.get_rng_state(), state)
        assert not model.sample(5).equals(model.sample(5))

    def test_given_columns(self):
        table = numbers()
        model = normal_model(table, given=["c"])
        given = pa.table({"other": [0.5, 0.5], "c": [10, 900_000]})
        drawn = model.sample(3, given=given, seed=0)
        assert drawn.column_names == ["c", "a", "b"]
        assert drawn["c"].to_pylist() == [10] * 3 + [900_000] * 3
        assert drawn.schema.field("c").type == pa.int64()
        assert model.log_prob(table).shape == (200,)
        with pytest.raises(ValueError, match="given: expected a table with the column 'c'"):
            model.sample(3)
        with pytest.raises(ValueError, match="no column 'c', on which"):
            model.sample(3, given=pa.table({"other": [1.0]}))
        with pytest.raises(ValueError, match="no column 'c', which"):
            model.log_prob(table.drop_columns("c"))
        with pytest.raises(ValueError, match="not conditioned"):
            normal_model(table).sample(3, given=given)

    def test_context_reaches_the_density(self):
        # a density whose mean is its context: p(y | g) = N(y; loc_y + scale_y (g - loc_g) / scale_g, scale_y)
        class Centred(ab.densities.Density):
            def __init__(self):
                super().__init__((1,), (1,))
                self.register_buffer("zero", torch.zeros(()))

            def _log_prob(self, x, context):
                return torch.distributions.Normal(context, 1.0).log_prob(x).sum(-1)

            def _sample(self, shape, context):
                return context.expand(*shape, *context.shape) + torch.zeros(())

            def _sample_and_log_prob(self, shape, context):
                raise NotImplementedError

        schema = Schema([Continuous("y", 5.0, 2.0)], [Continuous("g", 100.0, 10.0)])
        model = TableModel(schema, Centred())
        got = model.log_prob(pa.table({"y": [6.0, 9.0], "g": [110.0, 90.0]}))
        np.testing.assert_allclose(got, stats.norm.logpdf([6.0, 9.0], [7.0, 3.0], 2.0), rtol=1e-5)
        drawn = model.sample(2, given=pa.table({"g": [110.0, 90.0]}))
        np.testing.assert_allclose(drawn["y"].to_numpy(), [7.0, 7.0, 3.0, 3.0])

    def test_rows_far_out_have_minus_infinity_and_a_warning(self):
        table = numbers().select(["a", "b"])
        flow = ab.DepthMixture(ab.flows.nsf(2, blocks=2, hidden=(8,)))
        with torch.no_grad():
            for parameter in flow.parameters():
                parameter.normal_(std=0.3, generator=torch.Generator().manual_seed(0))
        # within the networks of a flow, infinities of both signs meet, which makes NaN
        for density in (ab.densities.Normal.standard(2), flow):
            model = TableModel(Schema.standardised(table), density)
            far = pa.table({"a": [10.0, 1e300, 1e38, -1.7e308, 10.5], "b": [-3.0, -3.0, 1e38, 1.7e308, -2.9]})
            with pytest.warns(TableWarning, match=r"row 1 .*3 of 5 rows"):
                log_p = model.log_prob(far)
            assert np.isneginf(log_p[1:4]).all()
            assert np.isfinite(log_p[[0, 4]]).all()

    def test_nan_from_the_density_is_an_error_that_names_the_row(self):
        table = numbers().select(["a"])
        model = TableModel(Schema.standardised(table), ab.densities.Normal(torch.zeros(1), learnable=True))
        with torch.no_grad():
            model.density.theta.loc.fill_(math.nan)
        with pytest.raises(ValueError, match=r"row 0 .*the model gives nan"):
            model.log_prob(table)

    def test_shapes_are_checked(self):
        schema = Schema([Continuous("a", 0.0, 1.0)])
        with pytest.raises(ValueError, match=r"expected event shape \(1,\), got \(2,\)"):
            TableModel(schema, ab.densities.Normal.standard(2))
        with pytest.raises(ValueError, match="expected context shape None"):
            TableModel(schema, ab.densities.Normal(torch.zeros(1), context=2))

    def test_save_and_load(self, tmp_path):
        table = pa.table({"größe, m": [1.7e9 + 0.1, 1.7e9 + 0.2, 1.7e9 + 0.4], "n": [1, 2, 4]})
        model = normal_model(table)
        ab.save(model, tmp_path / "m.safetensors")
        again = ab.load(tmp_path / "m.safetensors")
        assert again.schema.column("größe, m").loc == model.schema.column("größe, m").loc  # every bit of the float64
        assert again.schema.columns == model.schema.columns
        np.testing.assert_array_equal(again.log_prob(table), model.log_prob(table))
        assert again.double().schema.column("n").scale == model.schema.column("n").scale

    def test_load_needs_no_import_of_tables(self, tmp_path):
        ab.save(normal_model(numbers()), tmp_path / "m.safetensors")
        code = (
            "import sys, anabranch as ab\n"
            "lazy = [name for name in ('pyarrow', 'sklearn', 'typer') if name in sys.modules]\n"
            f"print(lazy, type(ab.load({str(tmp_path / 'm.safetensors')!r})).__name__)"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert done.stdout.split() == ["[]", "TableModel"]


QUICK = {"model": "depth", "blocks": 2, "hidden": (16,), "bins": 4, "epochs": 3, "progress": False}


class TestFitTable:
    def test_report(self, tmp_path):
        table = numbers(300)
        model, report = fit_table(table, **QUICK)
        assert report.rows == {"all": 300, "training": 240, "validation": 30, "test": 30}
        assert report.columns == ["a", "b", "c"]
        ab.save(model, tmp_path / "m.safetensors", metadata=report.to_dict())
        assert read_metadata(tmp_path / "m.safetensors")["metadata"] == report.to_dict()

    def test_held_out_scores_are_of_the_test_rows_in_own_units(self):
        table = numbers(300)
        model, report = fit_table(table, seed=3, **QUICK)
        order = np.random.default_rng(3).permutation(300)
        test, train = table.take(order[30:60]), table.take(order[60:])
        log_p = model.log_prob(test)
        assert report.scores[0].mean == pytest.approx(log_p.mean())
        assert report.scores[0].standard_error == pytest.approx(log_p.std(ddof=1) / math.sqrt(30))
        # column c spreads a million times wider than b: scipy would call the covariance singular in these units
        units = np.array([1.0, 1.0, 1e5])
        data = [np.stack([t[n].to_numpy().astype(float) for n in "abc"], axis=1) / units for t in (train, test)]
        gaussian = stats.multivariate_normal(data[0].mean(0), np.cov(data[0], rowvar=False, ddof=0)).logpdf(data[1])
        gaussian -= np.log(units).sum()
        assert report.scores[-1].name == "Gaussian"
        assert report.scores[-1].mean == pytest.approx(gaussian.mean(), rel=1e-4)
        assert report.scores[-1].gain == pytest.approx((log_p - gaussian).mean(), abs=1e-3)

    def test_statistics_are_of_the_training_rows_alone(self):
        table = numbers(300)
        model, _ = fit_table(table, seed=3, **QUICK)
        train = table["a"].to_numpy()[np.random.default_rng(3).permutation(300)[60:]]
        assert model.schema.column("a").loc == pytest.approx(train.mean(), rel=1e-12)

    def test_the_seed_repeats_everything(self):
        table = numbers(100)
        torch.manual_seed(0)
        first, one = fit_table(table, seed=5, **QUICK)
        torch.manual_seed(1)
        second, two = fit_table(table, seed=5, **QUICK)
        np.testing.assert_array_equal(first.log_prob(table), second.log_prob(table))
        assert one.scores == two.scores
        third, _ = fit_table(table, seed=6, **QUICK)
        assert not np.array_equal(first.log_prob(table), third.log_prob(table))

    def test_finds_a_shape_that_a_gaussian_cannot(self):
        rng = np.random.default_rng(0)
        angle = rng.uniform(0, 2 * np.pi, 1500)
        x = 100 * np.stack([np.cos(angle), np.sin(angle)], 1) + 5 * rng.normal(size=(1500, 2))
        _, report = fit_table(pa.table({"x": x[:, 0], "y": x[:, 1]}), blocks=2, hidden=(32,), epochs=25)
        depth, mixture, gaussian = report.scores
        assert gaussian.gain > 0.8
        assert mixture.mean > gaussian.mean + 0.5
        assert depth.mean > -10.2  # the truth is near -9.47: log(2 pi 100) + log(5 sqrt(2 pi e))

    def test_conditional(self):
        rng = np.random.default_rng(0)
        g = rng.normal(size=600)
        table = pa.table({"g": 1000 * g, "k": g > 0.5, "y": 3 * g + 0.1 * rng.normal(size=600)})
        model, report = fit_table(table, given=["g", "k"], model="depth", blocks=2, hidden=(16,), epochs=2)
        assert report.columns == ["y"]
        assert report.given == ["g", "k"]
        truth = -0.5 * math.log(2 * math.pi * math.e * 0.01)
        # regression is exactly Gaussian here: the joint Gaussian minus its marginal finds it
        assert report.scores[-1].mean == pytest.approx(truth, abs=0.25)
        assert model.sample(2, given=table.slice(0, 3)).num_rows == 6

    @pytest.mark.parametrize("options", [{"model": "flow"}, {"structure": "coupling"}, {"columns": ["b"]}])
    def test_options(self, options):
        model, report = fit_table(numbers(100), **(QUICK | options))
        assert type(model.density).__name__ == ("Flow" if "model" in options else "DepthMixture")
        assert np.isfinite(report.scores[0].mean)
        assert model.sample(4, seed=0).column_names == options.get("columns", ["a", "b", "c"])

    @pytest.mark.parametrize(
        ("rows", "batch", "expected"),
        [(80_000, 512, (16, 512)), (10_000_000, 512, (4, 512)), (2000, 512, (50, 250)), (240, 512, (50, 32))],
    )
    def test_default_length(self, rows, batch, expected):
        from anabranch.training.pace import FLOWS

        pace = FLOWS.options(rows, batch_size=batch)
        assert (pace["epochs"], pace["batch_size"]) == expected

    def test_bad_input(self):
        table = numbers(100)
        for options, said in (
            ({"model": "gan"}, "model: expected one of 'any-order', 'depth', 'flow', 'vae', got 'gan'"),
            ({"structure": "x"}, "structure: expected one of"),
            ({"columns": ["a"], "structure": "coupling"}, "features: expected at least 2"),
            ({"blocks": 0}, "blocks: expected a whole number of at least 1"),
            ({"epochs": 0}, "epochs: expected"),
            ({"batch_size": 0}, "batch_size: expected"),
            ({"learning_rate": -1.0}, "learning_rate: expected"),
            ({"seed": -1}, "seed: expected"),
            ({"device": "abacus"}, "device: expected one that torch has here"),
        ):
            with pytest.raises(ValueError, match=said):
                fit_table(table, **({"model": "depth"} | options))
        with pytest.raises(ValueError, match="has 49 rows, and it takes at least 50"):
            fit_table(table.slice(0, 49), **QUICK)
        wide = pa.table({f"c{i}": np.random.default_rng(i).normal(size=60) for i in range(31)})
        with pytest.raises(ValueError, match="has 60 rows, and it takes at least 62"):
            fit_table(wide, **QUICK)

    def test_an_absurd_value_outside_the_training_rows_is_named(self):
        values = np.random.default_rng(0).normal(size=100)
        row = int(np.random.default_rng(0).permutation(100)[0])
        values[row] = 1e200
        with pytest.warns(TableWarning, match=f"column 'a' holds 1e.200 in row {row} .*set apart"):
            _, report = fit_table(pa.table({"a": values}), **QUICK)
        assert report.set_apart == [row]
        # as many as are no accident are refused
        values[np.random.default_rng(0).permutation(100)[:6]] = 1e200
        with pytest.raises(ValueError, match=f"column 'a': the value in row {row} "):
            fit_table(pa.table({"a": values}), **QUICK)

    def test_columns_that_determine_each_other_are_warned_of(self):
        x = np.random.default_rng(0).normal(size=(100, 2))
        table = pa.table({"a": x[:, 0], "other": x[:, 1], "twice": 2 * x[:, 0] + 1})
        with pytest.warns(TableWarning, match="'a', 'twice' are a linear function"):
            fit_table(table, **QUICK)

    def test_a_loss_that_explodes(self):
        with pytest.raises(ab.NonFiniteError, match="lower the learning rate"):
            fit_table(numbers(100), **(QUICK | {"learning_rate": 1e30}))


@pytest.mark.usefixtures("no_baselines")
class TestIdentifiers:
    columns = {  # noqa: RUF012
        "code": [f"{i:04d}" for i in range(60)],
        "twice": [f"{i // 2:04d}" for i in range(60)],
        "kind": ["a", "b", "c"] * 20,
        "few": [str(i) for i in range(20)] + [None] * 40,
    }

    @pytest.mark.parametrize("given", [[], ["code"]])
    def test_are_pointed_out(self, given):
        with pytest.warns(TableWarning, match="'code': 60 of 60 rows have a value that no other row has") as told:
            fit_table(pa.table(self.columns), given=given, epochs=1, hidden=8, progress=False)
        assert len(told) == 1

    def test_not_what_was_declared_and_not_what_comes_again(self):
        with warnings.catch_warnings():
            warnings.simplefilter("error", TableWarning)
            fit_table(pa.table(self.columns), kinds={"code": "categorical"}, epochs=1, hidden=8, progress=False)


def test_the_named_index_of_a_pandas_frame_is_no_column():
    frame = pandas.DataFrame({"id": [3, 1], "a": [1.0, 2.0]}).set_index("id")
    assert as_table(frame).column_names == ["a"]
    assert as_table(frame.set_index("a", append=True).assign(b=1.0)).column_names == ["b"]
    assert as_table(frame.reset_index()).column_names == ["id", "a"]


@pytest.mark.parametrize("argument", ["columns", "given"])
def test_one_name_is_no_list_of_names(argument):
    for call in (Schema.infer, Schema.standardised, fit_table):
        with pytest.raises(
            ValueError, match=rf"{argument}: expected a list of names, got the string 'ab'; give \['ab'\]"
        ):
            call(numbers(), **{argument: "ab"})


def test_a_given_value_for_which_nothing_finite_is_drawn_is_named():
    schema = Schema([Continuous("h", 0.0, 1.0)], [Continuous("g", 0.0, 1.0)])
    model = TableModel(schema, ab.densities.Normal(torch.zeros(1), context=1))
    with pytest.raises(ValueError, match=r"draws for row 1 of given \(rows count from 0\) \(2 of 4 draws\)"):
        model.sample(2, pa.table({"g": [0.0, 1e39]}))


def test_a_fit_in_double_precision():
    torch.set_default_dtype(torch.float64)
    try:
        model, _ = fit_table(
            numbers(), columns=["a", "b"], given=["c"], model="depth", blocks=1, hidden=(4,), epochs=1, progress=False
        )
    finally:
        torch.set_default_dtype(torch.float32)
    assert {p.dtype for p in model.parameters()} == {torch.float64}
    assert np.isfinite(model.log_prob(numbers())).all()


def mixed(rows=400, seed=0, gaps=0.2):
    """A colour that decides a mean, a count, a capped measurement with gaps, and a flag."""
    rng = np.random.default_rng(seed)
    colour = rng.integers(0, 3, rows)
    size = np.minimum(3 * colour + rng.normal(size=rows), 6.5)
    count = rng.poisson(2 + 4 * colour)
    size[rng.random(rows) < gaps] = np.nan
    return pa.table(
        {
            "size": pa.array(size, from_pandas=True),
            "count": pa.array(count, pa.int16()),
            "colour": pa.array(np.array(["green", "red", "blue"])[colour]),
            "dark": pa.array(colour + rng.random(rows) > 1.5),
        }
    )


@pytest.fixture(scope="module")
def any_order():
    options = {"hidden": 48, "blocks": 1, "epochs": 25, "batch_size": 100, "learning_rate": 5e-3, "progress": False}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("anabranch.tables.baselines._STEPS", 100)
        return fit_table(mixed(1500), **options)


class TestAnyOrder:
    def test_is_the_default_where_it_is_needed(self, any_order):
        model, report = any_order
        assert type(model.density).__name__ == "AnyOrder"
        assert [score.name for score in report.scores] == ["any order", "Gaussian copula", "independent columns"]
        assert report.unit == "nats per row; density in size (at 6.5 a probability); probability of count, colour, dark"
        real = pa.table({"a": np.random.default_rng(0).normal(size=100)})
        gap = pa.table({"a": pa.array([None, *real["a"].to_pylist()[1:]])})
        quick = {"epochs": 1, "blocks": 1, "hidden": 8, "progress": False}
        assert fit_table(real, **quick)[1].options["model"] == "depth"
        assert fit_table(gap, **quick)[1].options["model"] == "any-order"

    def test_several_orders_are_averaged(self):
        quick = {"epochs": 1, "blocks": 1, "hidden": 8, "progress": False}
        table = mixed(60, gaps=0.0)
        model, report = fit_table(table, orders=3, **quick)
        x = model.schema.tensor(model.schema.encode(table)[0], torch.float32)
        with torch.no_grad():
            each = model.density.log_prob_of_orders(x)
            want = each.logsumexp(dim=-1) - np.log(3)
        assert each.shape == (60, 3)
        torch.testing.assert_close(model.density.log_prob(x), want)
        assert report.options["orders"] == 3
        with pytest.raises(ValueError, match="orders: expected 1 with model='flow', which has no orders, got 2"):
            fit_table(numbers(), model="flow", orders=2, epochs=1, progress=False)

    def test_is_ahead_of_both_baselines(self, any_order):
        any_, copula, independent = any_order[1].scores
        assert any_.mean > copula.mean > independent.mean
        assert any_.gain == 0
        assert independent.gain > 1

    def test_log_prob_is_that_of_the_density_and_the_units(self, any_order):
        model, _ = any_order
        table = mixed(50, seed=3)
        x, _ = model.schema.encode(table)
        with torch.no_grad():
            want = model.density.log_prob(model.schema.tensor(x, torch.float32)).numpy() + model.schema.log_det(x)
        np.testing.assert_allclose(model.log_prob(table), want, rtol=1e-5)

    def test_probabilities_and_densities_come_to_one_in_own_units(self, any_order):
        model, _ = any_order
        colours = model.marginal(["colour"])
        p = np.exp(colours.log_prob(pa.table({"colour": ["red", "green", "blue"]})))
        # integrals over the other columns have an error, which all values share
        assert p.sum() == pytest.approx(1, abs=0.03)
        grid = np.linspace(-20, 6.5 - 1e-9, 502)  # where the column ends
        sizes = model.marginal(["size"])
        density = np.exp(sizes.log_prob(pa.table({"size": grid})))
        atom = np.exp(sizes.log_prob(pa.table({"size": [6.5]})))[0]
        assert np.trapezoid(density, grid) + atom == pytest.approx(1, abs=0.03)
        assert atom > 0.05
        counts = model.marginal(["count"]).log_prob(pa.table({"count": pa.array(range(200), pa.int16())}))
        assert np.exp(counts).sum() == pytest.approx(1, abs=0.03)

    def test_gaps_come_near_to_the_marginal(self, any_order):
        model, _ = any_order
        table = mixed(20, gaps=0.0)
        gap = table.set_column(2, "colour", pa.nulls(20, pa.string()))
        want = model.marginal(["size", "count", "dark"]).log_prob(table)
        difference = model.log_prob(gap) - want
        assert abs(difference.mean()) < 0.1
        # near, and no more: what the network says without a column is not its integral over the column
        assert np.abs(difference).mean() < 0.25

    def test_conditional_times_marginal_is_the_joint(self, any_order):
        model, _ = any_order
        row = {"size": 5.5, "count": 7, "colour": "blue", "dark": True}
        table = pa.Table.from_pylist([row])
        given = model.conditional({"size": 5.5})
        assert given.schema.columns == ("count", "colour", "dark")
        joint = model.log_prob(table)
        np.testing.assert_allclose(given.log_prob(table) + model.marginal(["size"]).log_prob(table), joint, atol=1e-4)
        drawn = given.sample(500, seed=0)
        assert drawn["colour"].to_pylist().count("blue") > 400

    def test_samples_have_the_types_and_no_gaps(self, any_order):
        model, _ = any_order
        table = mixed(3000, seed=1)
        drawn = model.sample(3000, seed=0)
        assert drawn.schema == table.schema
        assert all(column.null_count == 0 for column in drawn.columns)
        size, want = drawn["size"].to_numpy(), table["size"].drop_null().to_numpy()
        assert abs((size == 6.5).mean() - (want == 6.5).mean()) < 0.05
        shares = [np.mean([c == "blue" for c in t["colour"].to_pylist()]) for t in (drawn, table)]
        assert shares[0] == pytest.approx(shares[1], abs=0.06)

    def test_surprise_finds_the_cell_that_does_not_fit(self, any_order):
        model, _ = any_order
        rows = [
            {"size": 6.2, "count": 9, "colour": "blue", "dark": True},
            {"size": 6.2, "count": 9, "colour": "green", "dark": True},
            {"size": None, "count": 0, "colour": "green", "dark": False},
        ]
        table = pa.Table.from_pylist(rows, schema=mixed(5).schema)
        surprise = model.surprise(table)
        assert surprise.shape == (3, 4)
        assert np.isnan(surprise[2, 0])
        assert surprise[1].argmax() == 2
        assert surprise[1, 2] > surprise[0, 2] + 3
        # in own units: the same cell by the definition
        others = {name: value for name, value in rows[0].items() if name != "size"}
        want = -model.conditional(others).log_prob(table.slice(0, 1))
        assert surprise[0, 0] == pytest.approx(float(want[0]), abs=1e-4)

    def test_given_columns(self):
        model, report = fit_table(mixed(300), given=["colour", "count"], hidden=8, blocks=1, epochs=2, progress=False)
        assert report.given == ["colour", "count"]
        assert model.density.context_shape == (4,)
        assert all(np.isfinite(score.mean) for score in report.scores)
        drawn = model.sample(2, given=mixed(3))
        assert drawn.column_names == ["colour", "count", "size", "dark"]

    def test_other_models_that_are_conditioned_say_what_comes_first(self):
        model, _ = fit_table(numbers(100), given=["a"], **QUICK)
        with pytest.raises(ValueError, match="take conditional of a first"):
            model.marginal(["b"])
        with pytest.raises(ValueError, match="without a context, or an AnyOrder"):
            model.surprise(numbers(5))
        with pytest.raises(ValueError, match="'a': expected its value, since the model's density is conditioned on it"):
            model.conditional({"b": 1.0})

    def test_models_of_real_numbers_say_what_they_do_not_take(self):
        with pytest.raises(ValueError, match=r"'colour' holds text .* which only the model 'any-order' takes"):
            fit_table(mixed(100), model="flow")
        with pytest.raises(ValueError, match="'size': expected finite numbers, got a gap in row"):
            fit_table(mixed(100), ["size"], model="flow")
        with pytest.raises(ValueError, match="kinds: expected none with model='flow'"):
            fit_table(numbers(100), model="flow", kinds={"a": "positive"})
        with pytest.raises(ValueError, match=r"hidden: expected one width for a model of any order, got \[4, 8\]"):
            fit_table(mixed(100), hidden=(8, 4))

    def test_a_density_without_gaps_refuses_them_by_name(self):
        model, _ = fit_table(numbers(100), **QUICK)
        with pytest.raises(ValueError, match="column 'b': expected finite numbers, got a gap in row 0"):
            model.log_prob(pa.table({"a": [1.0], "b": pa.array([None], pa.float32()), "c": [1]}))


@pytest.fixture
def no_baselines(monkeypatch):
    """Fits without the densities beside which they are reported, which take most of the time of a short one."""
    monkeypatch.setattr(sys.modules["anabranch.tables.fit_table"], "mixed_baselines", lambda *args: {})


@pytest.mark.usefixtures("no_baselines")
def test_nothing_lies_beyond_natural_ends_after_a_fit():
    rng = np.random.default_rng(1)
    ends = {"day": (1, 31), "hour": (0, 23), "minute": (0, 59), "percent": (0, 100), "age": (18, 90)}
    columns = {name: rng.integers(low, high + 1, 3000) for name, (low, high) in ends.items()}
    columns["age"] = np.clip(rng.normal(45, 20, 3000).round(), 18, 90).astype(int)
    table = pa.table(columns)
    schema = Schema.infer(table)
    assert {part.name: (part.low, part.high) for part in schema.parts} == ends
    model, _ = fit_table(table, epochs=2, blocks=1, hidden=16, batch_size=256, progress=False)
    drawn = model.sample(5000, seed=0)
    for name, (low, high) in ends.items():
        column = drawn[name].to_numpy()
        assert low <= column.min() and column.max() <= high
        for beyond in (f"{name} > {high}", f"{name} >= {high + 0.5}", f"{name} < {low}"):
            assert float(model.ask(f"P({beyond})")) == 0
        assert float(model.ask(f"P({name} <= {high})")) == 1


@pytest.mark.usefixtures("no_baselines")
@pytest.mark.slow
def test_a_regression_trained_on_drawn_rows_predicts_real_ones():
    def real(seed):
        rng = np.random.default_rng(seed)
        a, noise, other = rng.normal(size=(3, 2000))
        b = 0.8 * a + 0.6 * noise
        return pa.table({"a": 10 + 3 * a, "b": b, "y": 2 * a - 1.5 * b + 3 + 0.7 * other})

    def explained(table, test):
        """R^2 on the test rows of y given a and b, by least squares on a table."""
        x, y = ({n: t[n].to_numpy() for n in "aby"} for t in (table, test))
        design = [np.stack([t["a"], t["b"], np.ones(len(t["a"]))], axis=1) for t in (x, y)]
        weights = np.linalg.lstsq(design[0], x["y"], rcond=None)[0]
        return 1 - np.square(y["y"] - design[1] @ weights).mean() / y["y"].var()

    train, test = real(0), real(1)
    model, _ = fit_table(train, model="any-order", epochs=20, blocks=1, hidden=32, batch_size=64, progress=False)
    apart = pa.table(
        {name: np.random.default_rng(i).permutation(train[name].to_numpy()) for i, name in enumerate("aby")}
    )
    best = explained(train, test)
    assert best - explained(model.sample(2000, seed=0), test) < 0.1 < best - explained(apart, test)


class TestStreams:
    @pytest.fixture
    def folder(self, tmp_path):
        table = mixed(1000)
        (tmp_path / "rows").mkdir()
        for part in range(4):
            write_table(table.slice(250 * part, 250), tmp_path / "rows" / f"{part}.parquet")
        return tmp_path / "rows"

    def test_every_row_is_met_once_an_epoch(self, folder, monkeypatch):
        monkeypatch.setattr("anabranch.tables.stream._READ", 60)
        stream = TableStream(folder, sample=100, buffer=200)
        assert stream.rows == 1000
        schema = Schema.infer(mixed(1000))
        encoded = EncodedStream(stream, schema, np.array([3, 400, 999]), torch.float32)
        assert len(encoded) == 997
        generator = torch.Generator().manual_seed(0)
        batches = list(encoded.batches_of(32, generator))
        numbers = torch.cat([batch.numbers for batch in batches])
        assert sorted(numbers.tolist()) == [i for i in range(1000) if i not in (3, 400, 999)]
        assert [len(batch) for batch in batches[:-1]] == [32] * (len(batches) - 1)
        assert not torch.equal(numbers[:200].sort().values, numbers[:200])
        x, _ = schema.encode(mixed(1000))
        for batch in batches[:3]:
            want = schema.tensor(x[batch.numbers.numpy()], torch.float32)
            torch.testing.assert_close(batch.x, want, equal_nan=True)

    def test_the_sample_has_what_is_rare(self, tmp_path):
        table = mixed(5000).to_pydict()
        table["colour"][4321] = "ultraviolet"
        table["count"][77] = 300
        write_table(pa.table(table), tmp_path / "t.parquet")
        sample, numbers = TableStream(tmp_path / "t.parquet", sample=300).sample(seed=0)
        assert len(set(numbers.tolist())) == 300
        assert sample.slice(0, 300).to_pydict()["count"] == [table["count"][i] for i in numbers]
        schema = Schema.infer(sample, rows=np.arange(300))
        assert "ultraviolet" in schema.column("colour").levels
        schema.encode(pa.table(table))

    def test_a_fit(self, folder):
        model, report = fit_table(
            TableStream(folder, sample=300, buffer=200), hidden=8, blocks=1, epochs=2, progress=False
        )
        assert report.rows == {"all": 1000, "training": 940, "validation": 30, "test": 30}
        assert np.isfinite(model.log_prob(mixed(50))).all()

    def test_bad_files(self, tmp_path):
        with pytest.raises(FileNotFoundError, match="no such file or folder"):
            TableStream(tmp_path / "none.parquet")
        (tmp_path / "text.parquet").write_text("hello")
        with pytest.raises(ValueError, match=r"text\.parquet: not readable as Parquet, or damaged"):
            TableStream(tmp_path / "text.parquet")
        write_table(mixed(20_000), tmp_path / "t.parquet")
        whole = bytearray((tmp_path / "t.parquet").read_bytes())
        half = len(whole) // 2
        whole[4:half] = np.random.default_rng(0).bytes(half - 4)  # the pages, not the footer
        (tmp_path / "t.parquet").write_bytes(bytes(whole))
        with pytest.raises(ValueError, match=r"t\.parquet: not readable as Parquet, or damaged") as caught:
            TableStream(tmp_path / "t.parquet").sample(0)
        assert "\n" not in str(caught.value)
