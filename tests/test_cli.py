"""The command line: what it does, and what it says to bad input."""

import errno
import itertools
import os
import pathlib
import signal
import subprocess
import sys
import tempfile

import numpy as np
import pyarrow as pa
import pytest
import torch
from typer.testing import CliRunner

import anabranch as ab
from anabranch.cli import app
from anabranch.tables import read_table, write_table

QUICK = ["--model", "depth", "--blocks", "1", "--hidden", "8", "--bins", "4", "--epochs", "2"]


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def numbers(rows=100, seed=0):
    rng = np.random.default_rng(seed)
    g = rng.normal(size=rows)
    return pa.table({"height": 170 + 10 * g, "weight": 60 + 5 * g + rng.normal(size=rows), "year": np.arange(rows)})


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A table, a model of it, and one of its conditional density."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("fitted")
    write_table(numbers(), folder / "table.parquet")
    assert run("fit", folder / "table.parquet", "-o", folder / "model.safetensors", *QUICK).exit_code == 0
    given = ["--given", "year", "-o", folder / "given.safetensors"]
    assert run("fit", folder / "table.parquet", *given, *QUICK).exit_code == 0
    torch.set_num_threads(before)
    return folder


def complains(result, *said):
    """Exit code 2 and one line."""
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    lines = result.stderr.splitlines()
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("anabranch: ")
    assert "Traceback" not in result.stderr
    for text in said:
        assert str(text) in lines[0]


class TestFit:
    def test_reports_and_writes(self, tmp_path):
        write_table(numbers(), tmp_path / "t.csv")
        result = run("fit", tmp_path / "t.csv", "-o", tmp_path / "m.safetensors", *QUICK)
        assert result.exit_code == 0
        for text in ("nats per row", "own units", "depth mixture", "Gaussian mixture", "80 fitted", "10 held out"):
            assert text in result.stdout
        assert f"wrote {tmp_path / 'm.safetensors'}" in result.stderr
        assert sorted(p.name for p in tmp_path.iterdir()) == ["m.safetensors", "t.csv"]
        model = ab.load(tmp_path / "m.safetensors")
        assert model.schema.columns == ("height", "weight", "year")

    def test_options_reach_the_model(self, tmp_path):
        write_table(numbers(), tmp_path / "t.npz")
        options = ["--model", "flow", "--structure", "coupling", "--columns", "year, height", "--given", "weight"]
        options += ["--blocks", "3", "--hidden", "8,6", "--bins", "5", "--epochs", "1", "--batch-size", "16"]
        result = run(
            "fit", tmp_path / "t.npz", "-o", tmp_path / "m", *options, "--learning-rate", "1e-3", "--seed", "7"
        )
        assert result.exit_code == 0, result.stderr
        model = ab.load(tmp_path / "m")
        assert type(model.density) is ab.Flow
        assert model.schema.columns == ("year", "height")
        assert model.schema.given == ("weight",)
        metadata = ab.storage.read_metadata(tmp_path / "m")["metadata"]
        assert metadata["table"] == "t.npz"
        assert metadata["report"]["seed"] == 7
        assert metadata["report"]["options"] == {
            "model": "flow",
            "structure": "coupling",
            "blocks": 3,
            "hidden": [8, 6],
            "bins": 5,
            "epochs": 1,
            "batch_size": 16,
            "learning_rate": 1e-3,
        }

    def test_the_same_seed_gives_the_same_file(self, tmp_path):
        write_table(numbers(), tmp_path / "t.parquet")
        for name in ("one", "two"):
            torch.manual_seed(len(name))
            run("fit", tmp_path / "t.parquet", "-o", tmp_path / name, *QUICK, "--seed", "3")
        one, two = (run("sample", tmp_path / name, "-n", "5", "--seed", "1").stdout for name in ("one", "two"))
        assert one == two != ""

    def test_warnings_are_one_line_and_no_failure(self, tmp_path):
        table = numbers().set_column(2, "year", pa.array([2007, 2008] * 50))
        write_table(table, tmp_path / "t.csv")
        result = run("fit", tmp_path / "t.csv", "-o", tmp_path / "m", *QUICK)
        assert result.exit_code == 0
        warning, wrote = result.stderr.splitlines()
        assert warning.startswith(f"anabranch: warning: {tmp_path / 't.csv'}: column 'year' holds the value 200")
        assert wrote.startswith("anabranch: wrote")


class TestScore:
    def test_adds_a_column(self, folder, tmp_path):
        result = run("score", folder / "model.safetensors", folder / "table.parquet", "-o", tmp_path / "s.parquet")
        assert result.exit_code == 0
        scored = read_table(tmp_path / "s.parquet")
        assert scored.column_names == ["height", "weight", "year", "log_likelihood"]
        want = ab.load(folder / "model.safetensors").log_prob(numbers())
        np.testing.assert_array_equal(scored["log_likelihood"].to_numpy(), want)
        assert f"{want.mean():.3f} nats per row" in result.stderr

    def test_keeps_other_columns_and_writes_csv_to_standard_output(self, folder, tmp_path):
        table = numbers(1).append_column("name", pa.array(["a, b"]))
        write_table(table, tmp_path / "one.csv")
        result = run("score", folder / "model.safetensors", tmp_path / "one.csv")
        header, row = result.stdout.splitlines()
        assert header == "height,weight,year,name,log_likelihood"
        assert '"a, b"' in row

    def test_given_columns_come_from_the_table(self, folder, tmp_path):
        write_table(numbers(5), tmp_path / "t.arrow")
        result = run("score", folder / "given.safetensors", tmp_path / "t.arrow", "-o", tmp_path / "s.npz")
        assert result.exit_code == 0
        want = ab.load(folder / "given.safetensors").log_prob(numbers(5))
        np.testing.assert_allclose(read_table(tmp_path / "s.npz")["log_likelihood"].to_numpy(), want)


class TestSample:
    def test_writes_rows_with_the_names(self, folder, tmp_path):
        result = run("sample", folder / "model.safetensors", "-n", "7", "-o", tmp_path / "new.csv", "--seed", "0")
        assert result.exit_code == 0
        assert result.stdout == ""
        rows = read_table(tmp_path / "new.csv")
        assert rows.shape == (7, 3)
        assert rows.column_names == ["height", "weight", "year"]
        printed = run("sample", folder / "model.safetensors", "-n", "7", "--seed", "0").stdout
        assert printed == (tmp_path / "new.csv").read_text()
        assert printed != run("sample", folder / "model.safetensors", "-n", "7", "--seed", "1").stdout

    def test_given(self, folder, tmp_path):
        (tmp_path / "years.csv").write_text("what,year\nx,3\ny,90\n")
        result = run("sample", folder / "given.safetensors", "-n", "2", "--given", tmp_path / "years.csv")
        lines = result.stdout.splitlines()
        assert lines[0] == "year,height,weight"
        assert [line.split(",")[0] for line in lines[1:]] == ["3", "3", "90", "90"]


class TestInfo:
    def test_says_what_the_file_holds(self, folder):
        result = run("info", folder / "given.safetensors")
        assert result.exit_code == 0
        for text in ("anabranch.tables.TableModel", "height", "modelled", "year", "given", "table.parquet", "100 rows"):
            assert text in result.stdout
        fitted = run("fit", folder / "table.parquet", "--given", "year", "-o", folder / "again", *QUICK).stdout
        scores = [line for line in fitted.splitlines() if "│" in line]
        assert scores
        assert all(line in result.stdout for line in scores)

    def test_other_models(self, tmp_path):
        ab.save(ab.densities.Normal(torch.zeros(2)), tmp_path / "n", metadata={"note": "[bold]x"})
        result = run("info", tmp_path / "n")
        assert "anabranch.densities.Normal" in result.stdout
        assert "note: [bold]x" in result.stdout


def bad_tables(folder):
    """Tables that no command takes, with what is said."""
    good = numbers()
    height = good["height"].to_numpy()

    def with_height(name, values):
        write_table(good.set_column(0, "height", pa.array(values)), folder / name)
        return folder / name

    (folder / "empty.csv").write_text("")
    (folder / "names.csv").write_text("height,weight,year\n")
    (folder / "numbers.csv").write_text("1,2,3\n4,5,6\n")
    (folder / "foreign.parquet").write_text("hello")
    (folder / "table.txt").write_text("a\n1\n")
    return {
        folder / "missing.csv": ["no such file"],
        folder / "empty.csv": ["empty"],
        folder / "names.csv": ["no rows"],
        folder / "numbers.csv": ["first line looks like data"],
        folder / "foreign.parquet": ["not a readable parquet file"],
        folder / "table.txt": ["ends in one of"],
        with_height("text.csv", ["tall", *height[1:].astype(str)]): ["'height' holds text", "'tall' in row 0"],
        with_height("gap.csv", [*height[:3], None, *height[4:]]): ["'height'", "a gap in row 3"],
        with_height("nan.parquet", [*height[:4], np.nan, *height[5:]]): ["'height'", "in row 4"],
        with_height("inf.parquet", [*height[:5], np.inf, *height[6:]]): ["'height'", "infinity in row 5"],
    }


class TestBadInput:
    def test_tables(self, folder, tmp_path):
        for path, said in bad_tables(tmp_path).items():
            for output in (tmp_path / "new.csv", tmp_path / "new"):
                before = sorted(tmp_path.iterdir())
                if output.suffix:
                    result = run("score", folder / "model.safetensors", path, "-o", output)
                else:
                    result = run("fit", path, "-o", output, *QUICK)
                complains(result, path, *said)
                assert sorted(tmp_path.iterdir()) == before

    def test_tables_that_cannot_be_fitted(self, tmp_path):
        table = numbers()
        write_table(table.set_column(0, "height", pa.array([1.5] * 100)), tmp_path / "constant.csv")
        complains(run("fit", tmp_path / "constant.csv", "-o", tmp_path / "m"), "constant.csv", "'height' is constant")
        write_table(table.slice(0, 30), tmp_path / "short.csv")
        complains(run("fit", tmp_path / "short.csv", "-o", tmp_path / "m"), "short.csv", "30 rows", "at least 50")
        write_table(table, tmp_path / "t.csv")
        for option in ("--columns", "--given"):
            complains(run("fit", tmp_path / "t.csv", "-o", tmp_path / "m", option, "width"), "t.csv", "'width'")
        assert not (tmp_path / "m").exists()

    def test_options(self, folder, tmp_path):
        table = folder / "table.parquet"
        for options, said in (
            (["--hidden", "a"], "anabranch: --hidden"),
            (["--hidden", "0"], "anabranch: hidden"),
            (["--epochs", "0"], "anabranch: epochs"),
            (["--blocks", "-1"], "anabranch: blocks"),
            (["--device", "abacus"], "anabranch: device"),
            (["--columns", ","], "names of columns"),
        ):
            complains(run("fit", table, "-o", tmp_path / "m", *options), said)
        complains(run("sample", folder / "model.safetensors", "-n", "0"), "n: expected a whole number of at least 1")
        assert not list(tmp_path.iterdir())

    def test_outputs_that_cannot_be_written_are_found_before_the_work(self, folder, tmp_path, monkeypatch):
        # with these gone, a command that gets as far as the work fails otherwise
        for work in ("tables.fit_table", "cli.score.load_table_model", "cli.sample.load_table_model"):
            monkeypatch.setattr(f"anabranch.{work}", None)
        table, model = folder / "table.parquet", folder / "model.safetensors"
        complains(run("fit", table, "-o", tmp_path / "no" / "m"), tmp_path / "no", "does not exist")
        complains(run("fit", table, "-o", tmp_path), tmp_path, "got a folder")
        complains(run("fit", table, "-o", "/proc/m"), "/proc", "cannot be written to")
        complains(run("fit", table, "-o", table), "is the table itself")
        complains(run("score", model, table, "-o", tmp_path / "s.txt"), "s.txt", "ends in one of")
        complains(run("sample", model, "-n", "2", "-o", tmp_path / "no" / "s.csv"), "does not exist")
        assert not list(tmp_path.iterdir())

    def test_models(self, folder, tmp_path):
        table = folder / "table.parquet"
        whole = (folder / "model.safetensors").read_bytes()
        (tmp_path / "cut").write_bytes(whole[: len(whole) // 2])
        (tmp_path / "foreign").write_text("hello, world")
        ab.save(ab.densities.Normal(torch.zeros(2)), tmp_path / "normal")
        for name, said in (("none", "no such file"), ("cut", "truncated"), ("foreign", "not a safetensors file")):
            for command in (["score", tmp_path / name, table], ["sample", tmp_path / name, "-n", "1"]):
                complains(run(*command), tmp_path / name, said)
            complains(run("info", tmp_path / name), tmp_path / name, said)
        complains(run("score", tmp_path / "normal", table), "holds a Normal", "anabranch fit")

    def test_other_columns_than_at_fitting(self, folder, tmp_path):
        model = folder / "model.safetensors"
        write_table(numbers().drop_columns(["height", "year"]), tmp_path / "t.csv")
        complains(run("score", model, tmp_path / "t.csv"), "t.csv", "no columns 'height', 'year'", "it has 'weight'")
        write_table(numbers().append_column("log_likelihood", pa.array(np.zeros(100))), tmp_path / "scored.csv")
        complains(run("score", model, tmp_path / "scored.csv"), "scored.csv", "has a column 'log_likelihood' already")

    def test_given_columns_where_they_are_needed_and_only_there(self, folder):
        table = folder / "table.parquet"
        complains(run("sample", folder / "given.safetensors", "-n", "1"), "conditioned on 'year'", "--given")
        complains(run("sample", folder / "model.safetensors", "-n", "1", "--given", table), "leave out --given")

    def test_an_old_output_stays(self, folder, tmp_path, monkeypatch):
        output = tmp_path / "out.csv"
        output.write_text("old")

        def fails(table, stream, *more):
            stream.write(b"half of it")
            raise OSError(28, "No space left on device")

        monkeypatch.setattr("anabranch.tables.write.write_csv", fails)
        complains(run("score", folder / "model.safetensors", folder / "table.parquet", "-o", output), "No space left")
        assert output.read_text() == "old"
        assert list(tmp_path.iterdir()) == [output]

    def test_interrupted(self, folder, tmp_path, monkeypatch):
        def interrupted(*arguments, **options):
            raise KeyboardInterrupt

        monkeypatch.setattr("anabranch.tables.fit_table", interrupted)
        result = run("fit", folder / "table.parquet", "-o", tmp_path / "m")
        assert result.exit_code == 130
        assert result.stderr == "anabranch: interrupted; nothing was written\n"
        assert not list(tmp_path.iterdir())


def no_room(*arguments, **options):
    raise OSError(errno.ENOSPC, "No space left on device")


class TestBudget:
    def test_a_budget_is_said_and_its_steps_can_be_taken_again(self, folder, tmp_path, monkeypatch):
        # a clock that goes on by a second each time it is read
        monkeypatch.setattr(sys.modules["anabranch.training.fit"], "perf_counter", itertools.count().__next__)
        table, quick = folder / "table.parquet", QUICK[:-2]
        result = run("fit", table, "-o", tmp_path / "m", *quick, "--minutes", "3", "--learning-rate", "1e-4")
        assert result.exit_code == 0, result.stderr
        said = " ".join(result.stdout.split())
        assert "its budget of 3 minutes while it still improved, by" in said and "more minutes, such as 9, give" in said
        assert "its budget of 3 minutes" in " ".join(run("info", tmp_path / "m").stdout.split())
        again = run("fit", table, "-o", tmp_path / "n", *quick, "--learning-rate", "1e-4", "--steps-of", tmp_path / "m")
        assert again.exit_code == 0, again.stderr
        one, two = (run("score", tmp_path / name, table).stdout for name in ("m", "n"))
        assert one == two != ""

    def test_what_does_not_go_together(self, folder, tmp_path):
        arguments = ["fit", folder / "table.parquet", "-o", tmp_path / "m"]
        complains(run(*arguments, "--minutes", "0"), "minutes: expected a number above 0")
        complains(
            run(*arguments, "--steps-of", folder / "model.safetensors"), "was fitted within no budget", "--epochs 2"
        )
        complains(run(*arguments, "--steps-of", folder / "no"), "no such file")


class TestNothingIsLost:
    """A fit whose model cannot be written, or that does not come to its end."""

    def refusing(self, monkeypatch, *folders):
        """Writing models into some folders fails, as on a full disk."""
        save = ab.save

        def refused(model, path, metadata=None):
            if pathlib.Path(path).parent in folders:
                no_room()
            save(model, path, metadata=metadata)

        monkeypatch.setattr(ab, "save", refused)

    def test_a_full_disk(self, folder, tmp_path, monkeypatch):
        elsewhere = tmp_path / "temporary"
        elsewhere.mkdir()
        monkeypatch.setattr(tempfile, "tempdir", str(elsewhere))
        output = tmp_path / "m.safetensors"
        self.refusing(monkeypatch, tmp_path)
        result = run("fit", folder / "table.parquet", "-o", output, *QUICK)
        assert result.exit_code == 1
        assert "depth mixture" in result.stdout
        (kept,) = elsewhere.iterdir()
        assert result.stderr == (
            f"anabranch: {output} cannot be written (No space left on device); the model is in {kept}: move it from there\n"
        )
        assert "depth mixture" in run("info", kept).stdout
        assert not output.exists()

    def test_full_disks_everywhere(self, folder, tmp_path, monkeypatch):
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
        self.refusing(monkeypatch, tmp_path)
        result = run("fit", folder / "table.parquet", "-o", tmp_path / "m.safetensors", *QUICK)
        assert result.exit_code == 1 and "depth mixture" in result.stdout
        assert "nor can the folder" in result.stderr and len(result.stderr.splitlines()) == 1
        assert not list(tmp_path.iterdir())

    def test_the_folder_goes_while_it_is_fitted(self, folder, tmp_path, monkeypatch):
        gone, elsewhere = tmp_path / "gone", tmp_path / "temporary"
        gone.mkdir()
        elsewhere.mkdir()
        monkeypatch.setattr(tempfile, "tempdir", str(elsewhere))
        fit_table = ab.tables.fit_table

        def removing(*arguments, **options):
            gone.rmdir()
            return fit_table(*arguments, **options)

        monkeypatch.setattr(ab.tables, "fit_table", removing)
        result = run("fit", folder / "table.parquet", "-o", gone / "m", *QUICK)
        assert result.exit_code == 1 and "depth mixture" in result.stdout
        (kept,) = elsewhere.iterdir()
        assert str(kept) in result.stderr and "does not exist" in result.stderr
        assert ab.load(kept).schema.columns == ("height", "weight", "year")

    def test_a_report_that_cannot_be_printed(self, folder, tmp_path, monkeypatch):
        monkeypatch.setattr("anabranch.cli.fit.show_report", no_room)
        result = run("fit", folder / "table.parquet", "-o", tmp_path / "m", *QUICK)
        assert result.exit_code == 2 and "No space left" in result.stderr
        assert ab.load(tmp_path / "m").schema.columns == ("height", "weight", "year")

    def test_no_room_is_told_before_the_fit(self, folder, tmp_path, monkeypatch):
        class Full:
            def __enter__(self):
                return self

            def __exit__(self, *error):
                pass

            write = no_room

        monkeypatch.setattr(tempfile, "TemporaryFile", lambda dir: Full())
        complains(run("fit", folder / "table.parquet", "-o", tmp_path / "m"), "cannot be written to", "No space left")

    def test_a_loss_that_is_not_finite(self, folder, tmp_path, monkeypatch):
        explained = ab.training.diagnosis.explain_loss

        def breaks(loop, *arguments):
            if len(loop.history.epochs) == 1:
                batch = loop.training.first(100)
                raise explained(loop.density, batch, batch.x.sum(-1), 9)
            return steps(loop, *arguments)

        steps = ab.training.loop.Loop._steps
        monkeypatch.setattr(ab.training.loop.Loop, "_steps", breaks)
        arguments = ["fit", folder / "table.parquet", "-o", tmp_path / "m.safetensors", *QUICK]
        kept = tmp_path / "m.interrupted.safetensors"
        complains(run(*arguments), "infinite or NaN at step 9", "lower the learning rate", kept)
        assert ab.load(kept).schema.columns == ("height", "weight", "year")
        result = run(*arguments, "--keep")
        assert result.exit_code == 0
        assert "ended because the loss became infinite or NaN" in " ".join(result.stdout.split())
        assert ab.load(tmp_path / "m.safetensors").schema.columns == ("height", "weight", "year")

    @pytest.mark.parametrize("keep", [False, True])
    def test_a_model_whose_baselines_fail_or_take_too_long(self, folder, tmp_path, monkeypatch, keep):
        def interrupted(*arguments, **options):
            raise KeyboardInterrupt

        monkeypatch.setattr(sys.modules["anabranch.tables.fit_table"], "gaussian_baselines", interrupted)
        arguments = ["fit", folder / "table.parquet", "-o", tmp_path / "m", *QUICK, *(["--keep"] * keep)]
        assert run(*arguments).exit_code == 130
        assert ab.load(tmp_path / "m.interrupted").schema.columns == ("height", "weight", "year")

    def test_a_link_stays_and_a_device_too(self, folder, tmp_path):
        table, link = folder / "table.parquet", tmp_path / "link"
        link.symlink_to("model.safetensors")
        assert run("fit", table, "-o", link, *QUICK).exit_code == 0
        assert link.is_symlink() and ab.load(tmp_path / "model.safetensors").schema.columns[0] == "height"
        link.unlink()
        link.symlink_to(tmp_path / "no" / "m")
        complains(run("fit", table, "-o", link, *QUICK), "symbolic link into", "does not exist")
        complains(run("fit", table, "-o", "/dev/null", *QUICK), "got a device or a pipe")
        assert pathlib.Path("/dev/null").is_char_device()


PROGRAM = (sys.executable, "-m", "anabranch")
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}

# the same program, which waits in its fit, after so many epochs, to be interrupted
WAITING = """
import time
from anabranch.cli import main
from anabranch.training.loop import Loop

steps = Loop._steps

def waiting(loop, *arguments):
    if len(loop.history.epochs) == {epochs}:
        print("waiting", flush=True)
        time.sleep(60)
    return steps(loop, *arguments)

Loop._steps = waiting
main()
"""


class TestProgram:
    """The installed program, in a process of its own."""

    def call(self, *arguments):
        command = [*PROGRAM, *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT, check=False)

    def test_bad_input_and_bad_usage(self, tmp_path):
        done = self.call("fit", tmp_path / "none.csv", "-o", tmp_path / "m")
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr == f"anabranch: {tmp_path / 'none.csv'}: no such file\n"
        done = self.call("fit", tmp_path / "none.csv")
        assert done.returncode == 2
        assert done.stderr.startswith("anabranch: Missing option '--output'")
        assert done.stderr.endswith("see 'anabranch fit --help'\n")
        assert len(done.stderr.splitlines()) == 1

    def interrupted(self, number, epochs, *arguments):
        command = [sys.executable, "-c", WAITING.format(epochs=epochs), *map(str, arguments)]
        pipe = subprocess.PIPE
        process = subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=ENVIRONMENT)
        assert process.stdout.readline() == "waiting\n"
        process.send_signal(number)
        shown, told = process.communicate(timeout=60)
        assert "Traceback" not in told
        return process.returncode, shown, told

    @pytest.mark.parametrize(
        ("number", "code", "epochs"),
        [
            (signal.SIGINT, 130, 2),
            pytest.param(signal.SIGTERM, 143, 0, marks=pytest.mark.slow),
            pytest.param(signal.SIGINT, 130, 0, marks=pytest.mark.slow),
            pytest.param(signal.SIGTERM, 143, 2, marks=pytest.mark.slow),
        ],
    )
    def test_interrupted_in_a_fit(self, folder, tmp_path, number, code, epochs):
        output, kept = tmp_path / "m.safetensors", tmp_path / "m.interrupted.safetensors"
        output.write_text("old")
        arguments = ["fit", folder / "table.parquet", "-o", output, *QUICK[:-1], "5"]
        ended, _, told = self.interrupted(number, epochs, *arguments)
        assert ended == code
        assert output.read_text() == "old"
        if epochs:
            assert f"the best weights so far are in {kept}" in told and len(told.splitlines()) == 1
            assert sorted(tmp_path.iterdir()) == [kept, output]
            assert ab.load(kept).schema.columns == ("height", "weight", "year")
            for command in (["score", kept, folder / "table.parquet"], ["info", kept]):
                assert run(*command).exit_code == 0
        else:
            assert list(tmp_path.iterdir()) == [output]

    @pytest.mark.slow
    def test_an_interrupted_fit_is_kept_if_asked_for(self, folder, tmp_path):
        output = tmp_path / "m.safetensors"
        arguments = ["fit", folder / "table.parquet", "-o", output, *QUICK[:-1], "5", "--keep"]
        code, shown, told = self.interrupted(signal.SIGINT, 2, *arguments)
        assert (code, told) == (0, f"anabranch: wrote {output}\n")
        assert "6 steps (2 epochs)" in shown and "interrupted" in shown and "Gaussian mixture" in shown
        assert list(tmp_path.iterdir()) == [output]
        assert ab.storage.read_metadata(output)["metadata"]["report"]["stopped"] == "interrupted"

    @pytest.mark.slow
    def test_a_reader_that_stops_early(self, folder):
        program = f"'{sys.executable}' -m anabranch"
        shell = f"{program} sample {folder / 'model.safetensors'} -n 20000 | head -n 1"
        done = subprocess.run(["bash", "-c", shell], capture_output=True, text=True, env=ENVIRONMENT, check=False)
        assert done.stdout == "height,weight,year\n"
        assert done.stderr == ""


def test_mixed_columns_with_gaps(tmp_path):
    rng = np.random.default_rng(0)
    colour = rng.integers(0, 2, 120)
    size = np.where(rng.random(120) < 0.2, np.nan, 3.0 * colour + rng.normal(size=120))
    words = np.array(["red", "blue"])[colour]
    table = pa.table({"size, cm": pa.array(size, from_pandas=True), "colour": words, "n": rng.integers(0, 90, 120)})
    write_table(table, tmp_path / "t.parquet")
    quick = ["--epochs", "2", "--hidden", "8", "--blocks", "1"]
    result = run(
        "fit", tmp_path / "t.parquet", "-o", tmp_path / "m", *quick, "--kinds", "size, cm=continuous,n=integer"
    )
    assert result.exit_code == 0, result.stderr
    for text in (
        "any order",
        "Gaussian copula",
        "independent columns",
        "density in size, cm; probability of colour, n",
    ):
        assert text in result.stdout
    for text in ("categorical", "2 texts: 'blue', 'red'", "density in size, cm; probability of colour, n"):
        assert text in run("info", tmp_path / "m").stdout
    scored = run("score", tmp_path / "m", tmp_path / "t.parquet", "-o", tmp_path / "s.csv")
    assert scored.exit_code == 0, scored.stderr
    assert np.isfinite(read_table(tmp_path / "s.csv")["log_likelihood"].to_numpy()).all()
    drawn = run("sample", tmp_path / "m", "-n", "5", "-o", tmp_path / "n.parquet")
    assert drawn.exit_code == 0, drawn.stderr
    assert read_table(tmp_path / "n.parquet").schema.equals(table.schema)
    strange = table.set_column(1, "colour", pa.array(["green", *words[1:]]))
    write_table(strange, tmp_path / "u.csv")
    complains(
        run("score", tmp_path / "m", tmp_path / "u.csv"), "u.csv", "column 'colour': 'green' in row 0", "leave a gap"
    )
    complains(
        run("fit", tmp_path / "t.parquet", "-o", tmp_path / "m", "--kinds", "width=integer"),
        "--kinds",
        "'width=integer'",
    )


def test_a_folder_is_streamed(tmp_path):
    (tmp_path / "rows").mkdir()
    for part in range(2):
        write_table(numbers(100, seed=part), tmp_path / "rows" / f"{part}.parquet")
    result = run("fit", tmp_path / "rows", "-o", tmp_path / "m", *QUICK)
    assert result.exit_code == 0, result.stderr
    assert "200 rows" in result.stdout
    (tmp_path / "rows" / "1.parquet").write_text("damaged")
    complains(run("fit", tmp_path / "rows", "-o", tmp_path / "m", *QUICK), tmp_path / "rows", "Parquet")
