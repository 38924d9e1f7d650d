"""The commands that ask a fitted model: impute, query, detect; and cluster."""

import io
import json

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pytest
import torch
from typer.testing import CliRunner

import anabranch as ab
from anabranch.cli import app
from anabranch.estimators import MixtureClusterer
from anabranch.models import AnyOrder
from anabranch.tables import Schema, TableModel, read_table, write_table


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def complains(result, *said):
    """Exit code 2 and one line."""
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    lines = result.stderr.splitlines()
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("anabranch: ")
    for text in said:
        assert str(text) in lines[0], lines[0]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Cuts and carats with gaps, a number for each row, and a model of the first two."""
    folder = tmp_path_factory.mktemp("asked")
    rng = np.random.default_rng(0)
    cut = rng.choice(["Fair", "Very, Good"], 200)
    carat = np.where(cut == "Fair", 1.0, 4.0) + rng.normal(size=200)
    carat[7] = 60.0
    columns = {"cut": pa.array(cut, mask=rng.random(200) < 0.1), "carat": pa.array(carat, mask=rng.random(200) < 0.1)}
    table = pa.table({**columns, "number": np.arange(200)})
    table = table.set_column(
        1, "carat", pa.array([60.0 if i == 7 else v.as_py() for i, v in enumerate(table["carat"])])
    )
    write_table(table, folder / "table.parquet")
    schema = Schema.infer(table, ["cut", "carat"])
    torch.manual_seed(0)
    density = AnyOrder(schema.families(), hidden=16, blocks=1)
    x = schema.tensor(schema.encode(table)[0], torch.float32)
    ab.fit(density, x, epochs=10, batch_size=50, learning_rate=1e-2, seed=0, progress=False)
    ab.save(TableModel(schema, density), folder / "model.safetensors")
    write_table(pa.table({"a": carat, "b": rng.normal(size=200)}), folder / "numbers.parquet")
    return folder


class TestImpute:
    def test_fills_what_is_missing_alone(self, folder, tmp_path):
        result = run("impute", folder / "model.safetensors", folder / "table.parquet", "-o", tmp_path / "full.parquet")
        assert result.exit_code == 0, result.output
        before, after = read_table(folder / "table.parquet"), read_table(tmp_path / "full.parquet")
        gaps = before["cut"].null_count + before["carat"].null_count
        assert f"filled {gaps} gaps in 200 rows" in result.stderr
        assert after.column_names == before.column_names
        assert after["cut"].null_count == after["carat"].null_count == 0
        known = before["carat"].is_valid()
        assert after["carat"].filter(known).equals(before["carat"].filter(known))

    def test_draws_are_told_apart_and_repeatable(self, folder):
        arguments = ("impute", folder / "model.safetensors", folder / "table.parquet", "--draws", 2, "--seed", 1)
        result = run(*arguments)
        table = pa.csv.read_csv(io.BytesIO(result.stdout.encode()))
        assert table["draw"].to_pylist() == [0] * 200 + [1] * 200
        assert run(*arguments).stdout == result.stdout

    def test_the_best(self, folder):
        arguments = ("impute", folder / "model.safetensors", folder / "table.parquet", "--best", "median")
        assert run(*arguments).stdout == run(*arguments).stdout != ""

    def test_bad_input(self, folder):
        model, table = folder / "model.safetensors", folder / "table.parquet"
        complains(run("impute", model, table, "--draws", 2, "--best", "mean"), "expected one of both")
        complains(run("impute", model, table, "--draws", 0), "draws", "0")
        complains(run("impute", model, folder / "numbers.parquet"), "numbers.parquet", "'cut'")


class TestQuery:
    def test_answers_each_question(self, folder):
        asked = ["P(carat > 2 | cut = Fair)", "marginal(cut)", "Q[0.5](carat | cut='Very, Good')"]
        result = run("query", folder / "model.safetensors", *asked)
        assert result.exit_code == 0, result.output
        names = [line.rsplit("  ", 1)[0] for line in result.stdout.splitlines()]
        assert names == [
            "P(carat > 2 | cut = Fair)",
            "P(cut = Fair)",
            'P(cut = "Very, Good")',
            'Q[0.5](carat | cut = "Very, Good")',
        ]
        shares = [float(line.rsplit("  ", 1)[1].split()[0]) for line in result.stdout.splitlines()]
        assert shares[1] + shares[2] == pytest.approx(1, abs=1e-4)
        assert shares[0] < 0.5
        assert shares[3] > 2

    def test_json_is_one_object_for_each_question(self, folder):
        asked = ["p(carat = 2.5 | cut in (Fair, 'Very, Good'))", "P(carat > 1e9)", "E[carat | 0 < carat < 2]"]
        result = run("query", folder / "model.safetensors", "--json", *asked)
        assert result.exit_code == 0, result.output
        found = [json.loads(line) for line in result.stdout.splitlines()]
        assert [one["question"] for one in found] == asked
        assert found[0]["given"] == ['cut in (Fair, "Very, Good")']
        density, log_density = found[0]["lines"]
        assert log_density["value"] == pytest.approx(np.log(density["value"]))
        assert {"standard_error", "between_orders", "effective_samples", "exact", "note"} <= set(density)
        assert 0 < found[2]["lines"][0]["value"] < 2
        assert "NaN" not in result.stdout
        assert "Infinity" not in result.stdout

    def test_errors_are_one_line_that_says_where(self, folder):
        model = folder / "model.safetensors"
        complains(run("query", model, "E[karat]"), "no column 'karat'; did you mean 'carat'", "at 'karat]'")
        complains(run("query", model, "E[carat | cut = fair]"), "did you mean 'Fair'")
        complains(run("query", model, "E[carat"), "at its end")
        complains(run("query", model, "E[cut]"), "no mean")


class TestDetect:
    def test_the_odd_row_comes_first_with_its_reason(self, folder, tmp_path):
        table = folder / "table.parquet"
        result = run("detect", folder / "model.safetensors", table, "-n", 3, "-o", tmp_path / "odd.parquet")
        assert result.exit_code == 0, result.output
        odd = read_table(tmp_path / "odd.parquet")
        assert odd.column_names == ["row", "log_likelihood", "surprise", "because", "cut", "carat", "number"]
        assert odd["row"][0].as_py() == odd["number"][0].as_py() == 7
        assert odd["because"][0].as_py().startswith("carat = 60.0 (+")
        assert odd["surprise"].to_pylist() == sorted(odd["surprise"].to_pylist(), reverse=True)

    def test_bad_input(self, folder, tmp_path):
        table = read_table(folder / "table.parquet").append_column("because", pa.array(["x"] * 200))
        write_table(table, tmp_path / "taken.parquet")
        complains(run("detect", folder / "model.safetensors", tmp_path / "taken.parquet"), "column 'because' already")
        complains(run("detect", folder / "model.safetensors", folder / "table.parquet", "-n", 0), "top", "0")


class TestCluster:
    def test_adds_columns_and_saves_what_found_them(self, folder, tmp_path):
        out, saved = tmp_path / "clusters.parquet", tmp_path / "clusterer.safetensors"
        result = run("cluster", folder / "numbers.parquet", "-k", 2, "--epochs", 2, "-o", out, "--save", saved)
        assert result.exit_code == 0, result.output
        table = read_table(out)
        assert table.column_names == ["a", "b", "cluster", "cluster_probability"]
        x = np.stack([table["a"].to_numpy(), table["b"].to_numpy()], axis=1)
        assert MixtureClusterer.load(saved).predict(x).tolist() == table["cluster"].to_pylist()
        assert 0.5 <= min(table["cluster_probability"].to_pylist()) <= 1

    def test_bad_input(self, folder):
        table = folder / "table.parquet"
        complains(run("cluster", table, "-k", 2), "'cut' holds string", "--columns: carat,number")
        complains(run("cluster", table, "-k", 2, "--columns", "carat"), "'carat'", "a gap in row", "anabranch impute")
        complains(run("cluster", table, "-k", 2, "--columns", "weight"), "no column 'weight'")
        complains(run("cluster", folder / "numbers.parquet", "-k", 0), "n_clusters", "0")


class TestOutputs:
    @pytest.mark.parametrize("command", ["detect", "impute", "score"])
    def test_the_table_is_not_written_over(self, folder, tmp_path, command):
        table = tmp_path / "t.parquet"
        table.write_bytes((folder / "table.parquet").read_bytes())
        (tmp_path / "link.parquet").symlink_to(table)
        for output in (table, tmp_path / "link.parquet"):
            complains(run(command, folder / "model.safetensors", table, "-o", output), output, "is the table itself")
        assert table.read_bytes() == (folder / "table.parquet").read_bytes()

    def test_nor_by_clusters(self, folder, tmp_path):
        table = tmp_path / "t.parquet"
        table.write_bytes((folder / "numbers.parquet").read_bytes())
        complains(run("cluster", table, "-k", 2, "-o", table), "is the table itself")
        complains(run("cluster", table, "-k", 2, "--save", table), "write the clusterer to another file")
        both = tmp_path / "both.parquet"
        complains(run("cluster", table, "-k", 2, "-o", both, "--save", both), "two files")
        assert table.read_bytes() == (folder / "numbers.parquet").read_bytes()
