"""Commands on images: what they do, and what they say to bad input."""

import math

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from typer.testing import CliRunner

import anabranch as ab
from anabranch.cli import app
from anabranch.images import ImageModel, Pixels, read_images
from anabranch.tables import read_table, write_table

OPTIONS = ["--hidden", "4", "--blocks", "1", "--epochs", "1"]


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def complains(result, *said):
    """Exit code 2 and one line."""
    assert result.exit_code == 2, result.output
    lines = result.stderr.splitlines()
    assert len(lines) == 1, result.stderr
    for text in said:
        assert str(text) in lines[0], lines[0]


def bars(n=60, size=(5, 6)):
    """Images of 0 and 1: a bright row, or a bright column."""
    rng = np.random.default_rng(0)
    x = np.zeros((n, *size), dtype=np.uint8)
    for i in range(n):
        x[(i, rng.integers(size[0])) if i % 2 else (i, slice(None), rng.integers(size[1]))] = 1
    return x


def save(folder, pictures, mode=None):
    folder.mkdir()
    for i, picture in enumerate(pictures):
        Image.fromarray(picture).convert(mode).save(folder / f"{i:03}.png")
    return folder


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder of images, and a model of it."""
    folder = tmp_path_factory.mktemp("made")
    save(folder / "bars", bars(60) * 255, "1")
    result = run("fit", folder / "bars", "-o", folder / "m", *OPTIONS)
    assert result.exit_code == 0, result.output
    return folder, result


def scores_of(result):
    """The log-likelihoods that `score` printed."""
    assert result.exit_code == 0, result.output
    return np.array([float(line.split(",")[1]) for line in result.stdout.splitlines()[1:]])


class TestCommands:
    def test_fit_reports_nats_and_bits(self, made):
        folder, result = made
        assert "PixelCNN of 1 layer of 4 units" in result.stdout
        for text in ("60 images", "48 fitted", "6 x 5 pixels, grey, black or white", "bits per dimension", "zstd -19"):
            assert text in result.stdout
        assert "independent pixels" in result.stdout
        assert result.stderr == f"anabranch: wrote {folder / 'm'}\n"
        assert isinstance(ab.load(folder / "m"), ImageModel)

    def test_info(self, made):
        folder, _ = made
        result = run("info", folder / "m")
        assert result.exit_code == 0, result.output
        assert "Images: 6 x 5 pixels, grey, black or white (stored as 0 and 255)." in result.stdout
        assert "nats per image, a probability" in result.stdout
        assert "bars, 60 images" in result.stdout

    def test_sample_writes_pictures_that_score_reads(self, made, tmp_path):
        folder, _ = made
        result = run("sample", folder / "m", "-n", "11", "-o", tmp_path / "new", "--seed", "1")
        assert result.exit_code == 0, result.output
        names = sorted(file.name for file in (tmp_path / "new").iterdir())
        assert names == ["contact-sheet.png", *(f"image-{i:02}.png" for i in range(1, 12))]
        assert [path.name for path in tmp_path.iterdir()] == ["new"]
        result = run("score", folder / "m", tmp_path / "new", "-o", tmp_path / "s.csv")
        assert result.exit_code == 0, result.output
        assert "scored 11 images, -" in result.stderr and f"; wrote {tmp_path / 's.csv'}" in result.stderr
        scores = read_table(tmp_path / "s.csv").to_pydict()
        assert scores["image"] == names[1:]
        model = ab.load(folder / "m")
        log_p = model.log_prob(model.sample(11, seed=1))
        assert scores["log_likelihood"] == pytest.approx(log_p.tolist())
        assert scores["bits_per_dimension"] == pytest.approx((-log_p / (30 * math.log(2))).tolist())

    def test_a_folder_that_holds_something_stays_as_it_is(self, made, tmp_path):
        folder, _ = made
        (tmp_path / "a.txt").write_text("mine")
        complains(run("sample", folder / "m", "-n", "2", "-o", tmp_path), "new or an empty folder", "a.txt")
        assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]
        (tmp_path / "empty").mkdir()
        assert run("sample", folder / "m", "-n", "2", "-o", tmp_path / "empty").exit_code == 0
        complains(run("sample", folder / "m", "-n", "2"), "expected a folder for the images")
        complains(run("sample", folder / "m", "-n", "2", "-o", tmp_path / "a.txt"), "got a file")
        complains(run("sample", folder / "m", "-n", "2", "-o", tmp_path / "no" / "f"), "does not exist")
        for name in ("a.png", "a.csv", "a.npy"):
            complains(run("sample", folder / "m", "-n", "2", "-o", tmp_path / name), "got the name of a file")
        assert run("sample", folder / "m", "-n", "2", "-o", tmp_path / "run-1.5").exit_code == 0

    def test_images_are_not_written_over(self, made, tmp_path):
        folder = save(tmp_path / "bars", bars(60) * 255, "1")
        image = folder / "007.png"
        before = image.read_bytes()
        for command in (
            ["fit", folder, "-o", image, *OPTIONS],
            ["fit", folder, "-o", tmp_path / "m", "--checkpoint", image, *OPTIONS],
            ["compress", folder, "-m", made[0] / "m", "-o", image],
        ):
            complains(run(*command), image, f"is read as a part of {folder}; write")
        assert image.read_bytes() == before and not (tmp_path / "m").exists()
        for _ in range(2):  # any other file may lie there
            assert run("fit", folder, "-o", folder / "m", *OPTIONS).exit_code == 0

    def test_labels(self, tmp_path):
        np.savez(tmp_path / "a.npz", x=bars(60), y=np.arange(60) % 2)
        assert run("fit", tmp_path / "a.npz", "-o", tmp_path / "m", "--labels", "y", *OPTIONS).exit_code == 0
        assert "Labels: 0, 1." in run("info", tmp_path / "m").stdout
        assert run("sample", tmp_path / "m", "-n", 3, "-o", tmp_path / "f", "--label", 1).exit_code == 0
        assert {file.name[-6:] for file in (tmp_path / "f").glob("image-*")} == {"-1.png"}
        complains(run("sample", tmp_path / "m", "-n", 3, "-o", tmp_path / "g", "--label", "x"), "some of 0, 1, got x")
        given, summed = (
            scores_of(run("score", tmp_path / "m", tmp_path / "a.npz", *more)) for more in (["--labels", "y"], [])
        )
        assert given.shape == summed.shape == (60,)
        assert (given != summed).any()

    def test_options_of_tables_and_of_images_are_told_apart(self, made, tmp_path):
        folder, _ = made
        images = ("fit", folder / "bars", "-o", tmp_path / "m")
        complains(run(*images, "--columns", "a"), "--columns: expected for tables alone, got images")
        complains(run(*images, "--sep", ";"), "--sep: expected for tables alone")
        complains(run(*images, "--steps-of", folder / "m"), "--steps-of")
        complains(run(*images, "--hidden", "8,8"), "one whole number for images")
        complains(run(*images, "--levels", "300"), "levels: expected at most 256, got 300")
        write_table(pa.table({"a": [1.0]}), tmp_path / "t.csv")
        complains(
            run("fit", tmp_path / "t.csv", "-o", tmp_path / "m", "--levels", "2"), "--levels: expected for images alone"
        )
        complains(run("detect", folder / "m", tmp_path / "t.csv"), "expected a model of a table, got one of images")
        complains(run("score", folder / "m", folder / "bars", "--unseen", "null"), "--unseen")
        assert not (tmp_path / "m").exists()

    def test_bad_images_are_one_line_and_nothing_is_written(self, tmp_path):
        save(tmp_path / "f", [bars(1)[0], bars(1, (5, 7))[0]])
        np.save(tmp_path / "floats.npy", np.random.default_rng(0).random((60, 4, 4)))
        np.save(tmp_path / "one.npy", bars(1))
        (tmp_path / "empty").mkdir()
        before = sorted(tmp_path.iterdir())
        for name, said in (
            ("f", "000.png of 6 x 5 and 001.png of 7 x 5"),
            ("floats.npy", "(255 * x).round().astype('uint8')"),
            ("one.npy", "at least 50"),
            ("empty", "got an empty one"),
        ):
            complains(run("fit", tmp_path / name, "-o", tmp_path / "m", *OPTIONS), tmp_path / name, said)
        assert sorted(tmp_path.iterdir()) == before

    def test_images_are_compressed_and_come_back(self, made, tmp_path):
        pytest.importorskip("constriction")
        folder, _ = made
        result = run("compress", folder / "bars", "-m", folder / "m", "-o", tmp_path / "c")
        assert result.exit_code == 0, result.output
        assert "bits, zstd -19" in result.stdout
        for output in ("back", "back.npy"):
            assert run("decompress", tmp_path / "c", "-m", folder / "m", "-o", tmp_path / output).exit_code == 0
        read = read_images(folder / "bars").x
        assert np.array_equal(read_images(tmp_path / "back").x, read)
        assert np.array_equal(np.load(tmp_path / "back.npy"), read)
        complains(
            run("decompress", tmp_path / "c", "-m", folder / "m", "-o", tmp_path / "back"), "new or an empty folder"
        )

    def test_images_of_another_model_of_equal_weights_are_refused(self, made, tmp_path):
        """What numbers mean is the model's to say too: levels stored otherwise are other images."""
        pytest.importorskip("constriction")
        folder = made[0]
        assert run("compress", folder / "bars", "-m", folder / "m", "-o", tmp_path / "c").exit_code == 0
        model = ab.load(folder / "m")
        pixels = Pixels(model.pixels.height, model.pixels.width, model.pixels.channels, model.pixels.count, 200)
        ab.save(ImageModel(pixels, model.density), tmp_path / "other")
        complains(
            run("decompress", tmp_path / "c", "-m", tmp_path / "other", "-o", tmp_path / "back"),
            "compressed with another model",
        )
        assert not (tmp_path / "back").exists()

    def test_options_of_what_is_compressed_are_told_apart(self, made, tmp_path):
        pytest.importorskip("constriction")
        folder, _ = made
        np.savez(tmp_path / "two.npz", a=bars(60)[:5] * 255, b=bars(60)[5:] * 255)
        wanted = ["compress", tmp_path / "two.npz", "-m", folder / "m", "-o", tmp_path / "c"]
        complains(run(*wanted), "name the array of the images")
        complains(run(*wanted, "--sep", ";"), "--sep: expected for tables alone, got images")
        complains(run(*wanted, "--precision", "a=1"), "--precision: expected for tables alone, got images")
        assert run(*wanted, "--array", "b").exit_code == 0
        assert run("decompress", tmp_path / "c", "-m", folder / "m", "-o", tmp_path / "b.npy").exit_code == 0
        assert np.array_equal(np.load(tmp_path / "b.npy"), bars(60)[5:] * 255)
        ab.save(ab.load(folder / "m").density, tmp_path / "density")
        np.save(tmp_path / "x.npy", bars(60))
        plain = ["compress", tmp_path / "x.npy", "-m", tmp_path / "density", "-o", tmp_path / "c"]
        complains(run(*plain, "--na", "x"), "--na: expected for tables alone, got an array")
        complains(run(*plain, "--array", "x"), "--array: expected for images alone, got an array")

    @pytest.mark.parametrize("of_images", [True, False])
    def test_what_is_read_is_not_written_over(self, made, tmp_path, of_images):
        pytest.importorskip("constriction")
        folder, _ = made
        file, model = tmp_path / "c.npz", tmp_path / "m.npy"
        ab.save(ab.load(folder / "m") if of_images else ab.load(folder / "m").density, model)
        np.save(tmp_path / "x.npy", bars(60))
        shown = folder / "bars" if of_images else tmp_path / "x.npy"
        assert run("compress", shown, "-m", model, "-o", file).exit_code == 0
        before = file.read_bytes(), model.read_bytes()
        complains(run("decompress", file, "-m", model, "-o", file), file, "is the compressed file itself")
        complains(run("decompress", file, "-m", model, "-o", model), model, "is the model itself")
        complains(run("decompress", file, "-m", model, "-o", tmp_path / "no" / "x.npy"), "does not exist; create it")
        assert (file.read_bytes(), model.read_bytes()) == before
