"""Images: reading them, what they hold, and fits to them."""

import json
import math
import sys

import numpy as np
import pyarrow as pa
import pytest
import torch
from PIL import Image

import anabranch as ab
from anabranch.cli.array_files import read_array
from anabranch.families import Bernoulli, DiscretizedLogistics, Levels, SubPixels
from anabranch.images import (
    ImageModel,
    Images,
    ImageWarning,
    Pixels,
    as_images,
    contact_sheet,
    fit_images,
    holds_images,
    read_images,
    write_folder,
)
from anabranch.images.architecture import Architecture
from anabranch.images.baselines import independent_pixels, zstd_bytes
from anabranch.tables import read_table, write_table

QUICK = {"hidden": 4, "blocks": 1, "epochs": 1, "progress": False}


def bars(n=60, size=(5, 6), seed=0):
    """Images of 0 and 1: a bright row, or a bright column."""
    rng = np.random.default_rng(seed)
    x = np.zeros((n, *size), dtype=np.uint8)
    for i in range(n):
        if i % 2:
            x[i, rng.integers(size[0])] = 1
        else:
            x[i, :, rng.integers(size[1])] = 1
    return x


def save(folder, pictures, mode=None, names=None):
    folder.mkdir(exist_ok=True)
    for i, picture in enumerate(pictures):
        image = Image.fromarray(np.asarray(picture))
        image = image if mode is None else image.convert(mode)
        image.save(folder / (f"{i:03}.png" if names is None else names[i]))
    return folder


class TestArrays:
    def test_of_three_dimensions_are_grey(self):
        images = as_images(bars(3))
        assert (len(images), images.channels, images.size) == (3, 1, (5, 6))

    @pytest.mark.parametrize("shape", [(4, 5, 6, 3), (4, 3, 5, 6)])
    def test_channels_stand_last_or_second(self, shape):
        x = np.arange(np.prod(shape)).reshape(shape) % 256
        images = as_images(x)
        assert images.x.shape == (4, 3, 5, 6)
        assert np.array_equal(images.x, np.moveaxis(x, -1, 1) if shape[-1] == 3 else x)
        assert images.pictures.shape == (4, 5, 6, 3)

    @pytest.mark.parametrize("shape", [(4, 5, 6, 1), (4, 1, 5, 6)])
    def test_one_channel_is_grey(self, shape):
        assert as_images(np.zeros(shape)).x.shape == (4, 5, 6)

    def test_where_both_could_be_channels_the_last_are_and_it_is_said(self):
        with pytest.warns(ImageWarning, match="is read as \\(images, height, width, channels\\)"):
            assert as_images(np.zeros((4, 3, 6, 3))).x.shape == (4, 3, 3, 6)

    def test_one_image_in_colour_is_warned_of(self):
        with pytest.warns(ImageWarning, match="one image in colour would be \\(1, 9, 8, 3\\)"):
            as_images(np.zeros((9, 8, 3)))

    @pytest.mark.parametrize("kind", [bool, np.int64, np.float32, np.uint16])
    def test_whole_numbers_of_every_kind_are_levels(self, kind):
        assert np.array_equal(as_images(bars(4).astype(kind)).x, bars(4))
        assert np.array_equal(as_images(torch.from_numpy(bars(4))).x, bars(4))

    @pytest.mark.parametrize(
        ("x", "said"),
        [
            (np.full((3, 2, 2), 0.25), r"0.25 in image 0 .*3 of 3 images.*\(255 \* x\).round"),
            (np.full((3, 2, 2), 12.5), "scale them to 0 to 255 and round them"),
            (np.full((3, 2, 2), np.nan), "expected finite numbers, got nan in image 0"),
            (np.array([[[0, 1]], [[3, 256]]]), "0 to 255, got 256 in image 1 .*1 of 2 images"),
            (np.array([[[0, -1]]]), "got -1"),
            (np.zeros((0, 2, 2)), "expected some, got none"),
            (np.zeros((3, 0, 2)), "at least one pixel"),
            (np.zeros((3, 2)), "images, height, width"),
            (np.zeros((3, 4, 4, 4)), "1 channel .* or 3 .*such as opacity"),
            (np.array([[["a"]]]), "expected numbers"),
        ],
    )
    def test_others_are_refused(self, x, said):
        with pytest.raises(ValueError, match=said) as caught:
            as_images(x)
        assert "\n" not in str(caught.value)

    @pytest.mark.parametrize(
        ("labels", "said"), [([1, 2], "each of the 3 images"), ([0.5, 1, 2], "whole numbers or texts")]
    )
    def test_labels_that_are_none_are_refused(self, labels, said):
        with pytest.raises(ValueError, match=said):
            as_images(bars(3), labels)


class TestFolder:
    @pytest.mark.parametrize(
        ("mode", "channels", "top"), [("1", 1, 255), ("L", 1, 255), ("RGB", 3, 255), ("P", 1, 255)]
    )
    def test_every_kind_of_png_is_read(self, tmp_path, mode, channels, top):
        x = bars(4) * 255
        images = read_images(save(tmp_path / "f", x, mode))
        assert (images.channels, len(images), images.names[2]) == (channels, 4, "002.png")
        assert np.array_equal(images.x if channels == 1 else images.x[:, 1], x)

    def test_a_palette_of_colours_is_colour(self, tmp_path):
        x = np.zeros((2, 3, 3, 3), dtype=np.uint8)
        x[:, 0, 0] = 0, 204, 51  # of Pillow's palette
        folder = save(tmp_path / "f", x, "P")
        assert np.array_equal(read_images(folder).pictures, x)
        Image.fromarray(x[0, ..., 0]).convert("P").save(folder / "grey.png")  # could be in colour too, and is
        assert read_images(folder).x.shape == (3, 3, 3, 3)

    def test_names_are_in_order_and_what_is_hidden_or_a_contact_sheet_is_left_out(self, tmp_path):
        folder = save(tmp_path / "f", bars(3), names=["b.PNG", "a.png", ".hidden.png"])
        (folder / "contact-sheet.png").write_bytes(b"no matter")
        assert read_images(folder).names == ("a.png", "b.PNG")

    def test_other_files_are_left_out_and_it_is_said(self, tmp_path):
        (save(tmp_path / "f", bars(2)) / "notes.txt").write_text("x")
        with pytest.warns(ImageWarning, match="one file that is no image was left out: notes.txt"):
            assert len(read_images(tmp_path / "f")) == 2

    def test_images_of_two_sizes_are_named(self, tmp_path):
        folder = save(tmp_path / "f", [bars(1)[0], bars(1, (5, 7))[0]])
        with pytest.raises(ValueError, match=r"000.png of 6 x 5 and 001.png of 7 x 5 pixels"):
            read_images(folder)

    def test_grey_beside_colour_is_named(self, tmp_path):
        folder = save(tmp_path / "f", bars(1))
        Image.fromarray(bars(1)[0]).convert("RGB").save(folder / "c.png")
        with pytest.raises(ValueError, match=r"got 000.png in grey and c.png in colour"):
            read_images(folder)

    @pytest.mark.parametrize("mode", ["LA", "RGBA"])
    def test_opacity_is_refused(self, tmp_path, mode):
        with pytest.raises(ValueError, match=rf"000.png: .*opacity too \(mode {mode}\)"):
            read_images(save(tmp_path / "f", bars(1), mode))

    def test_transparency_of_a_palette_is_refused(self, tmp_path):
        (tmp_path / "f").mkdir()
        Image.fromarray(bars(1)[0]).convert("P").save(tmp_path / "f" / "a.png", transparency=0)
        with pytest.raises(ValueError, match="opacity"):
            read_images(tmp_path / "f")

    @pytest.mark.parametrize(
        ("content", "said"),
        [
            (lambda whole: b"", "the file is empty"),
            (lambda whole: b"GIF89a" + bytes(50), "begins like none"),
            (lambda whole: whole[:45], "damaged"),
            (lambda whole: whole[:24] + b"\x10" + whole[25:], "got 16"),
            (lambda whole: whole[:16] + b"\x00\x01\x00\x00" * 2 + whole[24:], "65536 x 65536"),
        ],
    )
    def test_a_file_that_is_no_image_is_named(self, tmp_path, content, said):
        folder = save(tmp_path / "f", bars(2))
        file = folder / "001.png"
        file.write_bytes(content(file.read_bytes()))
        with pytest.raises(ValueError, match=said) as caught:
            read_images(folder)
        assert str(file) in str(caught.value)
        assert "\n" not in str(caught.value)

    def test_other_formats_are_refused(self, tmp_path):
        Image.fromarray(bars(1)[0]).save(save(tmp_path / "f", bars(1)) / "x.jpg")
        with pytest.raises(ValueError, match=r"expected PNG images alone, got x.jpg too"):
            read_images(tmp_path / "f")

    def test_images_one_folder_further_down_are_pointed_to(self, tmp_path):
        (tmp_path / "f").mkdir()
        save(tmp_path / "f" / "cats", bars(1))
        assert holds_images(tmp_path / "f")
        with pytest.raises(ValueError, match="cats inside it has some; name that folder"):
            read_images(tmp_path / "f")

    def test_without_pillow_what_to_install_is_said(self, tmp_path, monkeypatch):
        folder = save(tmp_path / "f", bars(1))
        monkeypatch.setitem(sys.modules, "PIL.Image", None)
        with pytest.raises(ValueError, match=r'pip install "anabranch\[images\]"'):
            read_images(folder)

    @pytest.mark.parametrize("pictures", [bars(3) * 255, np.arange(3 * 5 * 6 * 3, dtype=np.uint8).reshape(3, 5, 6, 3)])
    def test_what_is_written_is_read_again(self, tmp_path, pictures):
        write_folder(pictures, tmp_path / "f", labels=["cat", "../x", 3])
        assert sorted(file.name for file in (tmp_path / "f").iterdir()) == [
            "contact-sheet.png",
            "image-1-cat.png",
            "image-2-.._x.png",
            "image-3-3.png",
        ]
        assert np.array_equal(read_images(tmp_path / "f").pictures, pictures)
        with Image.open(tmp_path / "f" / "image-1-cat.png") as image:
            assert image.mode == ("1" if pictures.ndim == 3 else "RGB")

    def test_no_images_are_written_nowhere(self, tmp_path):
        with pytest.raises(ValueError, match="expected at least one, got none"):
            write_folder(np.zeros((0, 5, 6), np.uint8), tmp_path / "f")
        assert not list(tmp_path.iterdir())

    def test_a_contact_sheet_holds_every_image(self):
        pictures = np.arange(5 * 2 * 3, dtype=np.uint8).reshape(5, 2, 3)
        sheet = contact_sheet(pictures)  # each pixel is 18 x 18
        assert sheet.shape == (2 * (36 + 4) + 4, 3 * (54 + 4) + 4)
        second_row = sheet[4 + 40 : 4 + 40 + 36 : 18, 4 + 58 : 4 + 58 + 54 : 18]
        assert np.array_equal(second_row, pictures[4])
        assert (sheet[:4] == 128).all()
        assert (sheet[-10, -10]) == 128  # no sixth image


class TestWhatIsWhat:
    def test_folders(self, tmp_path):
        save(tmp_path / "png", bars(1))
        (tmp_path / "parquet").mkdir()
        write_table(pa.table({"a": [1.0]}), tmp_path / "parquet" / "t.parquet")
        assert holds_images(tmp_path / "png")
        assert not holds_images(tmp_path / "parquet")
        write_table(pa.table({"a": [1.0]}), tmp_path / "png" / "t.parquet")
        with pytest.raises(ValueError, match="got both; separate them"):
            holds_images(tmp_path / "png")
        (tmp_path / "empty").mkdir()
        with pytest.raises(ValueError, match="got an empty one"):
            holds_images(tmp_path / "empty")

    def test_arrays(self, tmp_path):
        np.save(tmp_path / "two.npy", np.zeros((5, 2)))
        np.save(tmp_path / "three.npy", np.zeros((5, 2, 2)))
        np.savez(tmp_path / "table.npz", x=np.zeros((5, 2)), other=np.zeros((5, 2, 2)))
        np.savez(tmp_path / "images.npz", bits=np.zeros((5, 2, 2)), y=np.zeros(5))
        (tmp_path / "damaged.npz").write_bytes(b"PK")
        found = {file.name: holds_images(file) for file in tmp_path.iterdir()}
        assert [name for name, images in found.items() if images] == [
            name for name in found if name in ("three.npy", "images.npz")
        ]
        assert not holds_images(tmp_path / "nothing.npz")

    @pytest.mark.parametrize("name", ["x.npz", "x.npy"])
    def test_damage_anywhere_is_one_line_or_other_numbers(self, tmp_path, name):
        rng, file = np.random.default_rng(0), tmp_path / name
        images = rng.integers(0, 16, (5, 4, 4), dtype=np.uint8)
        if name == "x.npy":
            np.save(file, images)
        else:
            np.savez_compressed(file, x=images, y=np.arange(5))
        whole, said = file.read_bytes(), set()
        for place in range(0, 8 * len(whole), 3):
            torn = bytearray(whole)
            torn[place // 8] ^= 1 << place % 8
            file.write_bytes(torn)
            holds_images(file)
            for read in (read_images, read_table, read_array):
                try:
                    read(file)
                except ValueError as error:
                    assert str(file) in str(error) and len(str(error).splitlines()) == 1
                    said.add("damaged" in str(error))
        assert said == {True, False}

    def test_files_of_other_kinds_are_refused_with_what_to_do(self, tmp_path):
        for name, said in (("a.png", "'a.png'; name the folder that holds it"), ("a.csv", "got 'a.csv'")):
            (tmp_path / name).write_text("a,b\n1,2\n")
            with pytest.raises(ValueError, match="a folder of PNG files or an array in a") as caught:
                read_images(tmp_path / name)
            assert said in str(caught.value)
        assert holds_images(tmp_path / "a.png") and not holds_images(tmp_path / "a.csv")
        np.save(tmp_path / "a.npy", np.array([{}]), allow_pickle=True)
        with pytest.raises(ValueError, match="pickled objects, or no array"):
            read_images(tmp_path / "a.npy")

    def test_an_archive_names_its_arrays(self, tmp_path):
        file = tmp_path / "a.npz"
        np.savez(file, one=bars(5), two=bars(5), y=np.arange(5))
        with pytest.raises(ValueError, match="got one, two; name the array"):
            read_images(file)
        assert read_images(file, "two", "y").labels.tolist() == list(range(5))
        for wrong in ({"array": "three"}, {"array": "one", "labels": "z"}):
            with pytest.raises(ValueError, match="expected one of its arrays, one, two, y"):
                read_images(file, **wrong)
        np.save(tmp_path / "a.npy", bars(5))
        with pytest.raises(ValueError, match=r"labels: expected for .npz files alone, got a .npy file"):
            read_images(tmp_path / "a.npy", labels="y")
        with pytest.raises(ValueError, match=r"a.npy: not a readable .npy file"):
            (tmp_path / "a.npy").write_bytes(b"\x93NUMPY")
            read_images(tmp_path / "a.npy")


class TestPixels:
    @pytest.mark.parametrize(
        ("seen", "count", "top", "family"),
        [
            ([0, 1], 2, 1, Bernoulli),
            ([0, 255], 2, 255, Bernoulli),
            ([0, 3, 16], 17, 16, Levels),
            ([0, 85, 255], 4, 255, Levels),
            ([0, 17, 255], 16, 255, Levels),
            ([0, 100, 255], 256, 255, DiscretizedLogistics),
            ([3, 200], 256, 255, DiscretizedLogistics),
        ],
    )
    def test_levels_are_what_the_images_show(self, seen, count, top, family):
        x = np.array(seen, dtype=np.uint8)[None, None].repeat(3, axis=0)
        pixels = Pixels.of(as_images(x))
        assert (pixels.count, pixels.top) == (count, top)
        assert type(pixels.family()) is family
        levels = pixels.levels(x)
        assert levels.max() < count
        assert np.array_equal(pixels.stored(levels), x)
        assert pixels.shown(levels).max() == (255 if seen[-1] in (1, 16, 255) else 200)

    def test_colours_of_256_levels_know_of_each_other(self):
        assert type(Pixels(4, 4, 3).family()) is SubPixels
        assert Pixels(4, 4, 3).event_shape == (3, 4, 4)

    def test_a_number_of_levels_can_be_said(self):
        x = as_images(np.array([[[0, 3]]] * 3))
        assert str(Pixels.of(x, 64)) == "2 x 1 pixels, grey, 64 levels (stored as 0 to 63)"
        for count, said in ((3, "expected 3 levels"), (300, "at most 256"), (1, "at least 2")):
            with pytest.raises(ValueError, match=said):
                Pixels.of(x, count)

    def test_images_that_are_all_equal_are_refused(self):
        with pytest.raises(ValueError, match="pixels that differ, got 7 everywhere"):
            Pixels.of(as_images(np.full((3, 2, 2), 7)))

    def test_what_the_model_does_not_know_is_refused_by_name(self):
        pixels = Pixels(1, 2, count=17, top=16)
        files = Images(np.array([[[0, 16]], [[0, 17]]], dtype=np.uint8), ("a.png", "b.png"))
        with pytest.raises(ValueError, match=r"17 levels \(stored as 0 to 16\), got 17 in b.png"):
            pixels.levels(files)
        with pytest.raises(ValueError, match="2 x 1 pixels, grey, got 6 x 5 pixels, grey"):
            pixels.levels(bars(3))
        spread = Images(np.array([[[0, 255]]], dtype=np.uint8))
        assert pixels.levels(spread, spread=True).tolist() == [[[0, 16]]]


class TestBaselines:
    def test_independent_pixels_are_a_distribution(self):
        rng = np.random.default_rng(0)
        train, validate = (rng.integers(3, size=(n, 1, 2)).astype(np.uint8) for n in (7, 5))
        every = np.array([[[i, j]] for i in range(3) for j in range(3)], dtype=np.uint8)
        assert np.exp(independent_pixels(train, validate, every, 3)).sum() == pytest.approx(1, abs=1e-12)

    def test_independent_pixels_come_near_to_the_entropy(self):
        rng = np.random.default_rng(1)
        p = rng.uniform(0.05, 0.95, size=(4, 4))
        x = (rng.random((20_000, 4, 4)) < p).astype(np.uint8)
        entropy = -(p * np.log(p) + (1 - p) * np.log(1 - p)).sum()
        assert -independent_pixels(x[:9000], x[9000:10_000], x[10_000:], 2).mean() == pytest.approx(entropy, rel=0.01)

    def test_zstd_compresses_all_images_together(self):
        x = np.random.default_rng(0).integers(2, size=(100, 8, 8)).astype(np.uint8)
        assert 800 <= zstd_bytes(x, 2) < 900  # a bit for each pixel, and a head
        assert zstd_bytes(np.zeros_like(x), 2) < 40


class TestArchitecture:
    def test_it_grows_with_time_and_shrinks_with_work(self):
        def units(images=30_000, minutes=5.0, size=28, device=None):
            return Architecture.chosen(Pixels(size, size), images, minutes, device).units

        assert units() < units(minutes=60.0)
        assert units() < units(size=8)
        assert units(images=60_000, size=8) <= units(images=30_000, size=8)
        assert units(images=1_000, size=8) == 32
        assert units() < units(device=torch.device("cuda"))
        assert units(size=200) == 16

    def test_few_images_are_fitted_with_dropout(self):
        assert [Architecture.chosen(Pixels(8, 8), n, 5.0).dropout for n in (1_000, 10_000, 50_000)] == [0.2, 0.1, 0.0]

    def test_what_is_said_is_taken(self):
        chosen = Architecture.chosen(Pixels(8, 8), 1_000, 5.0, hidden=5, blocks=3)
        assert chosen.options == {"hidden": 5, "blocks": 3}
        assert chosen.words == "PixelCNN of 3 layers of 5 units"

    @pytest.mark.parametrize("pixels", [Pixels(4, 5, 3, 2), Pixels(4, 5, 3, 256), Pixels(1, 1, 1, 17)])
    def test_it_is_a_density_of_the_images(self, pixels):
        density = Architecture.chosen(pixels, 100, 1.0, hidden=3, blocks=1).build(pixels, 2, seed=0)
        assert density.event_shape == pixels.event_shape
        assert density.context_shape == (2,)


@pytest.fixture(scope="module")
def fitted():
    """A model of images of 2 x 2 with labels, and its report."""
    rng = np.random.default_rng(0)
    y = rng.integers(3, size=300)
    x = (rng.random((300, 2, 2)) < (y[:, None, None] + 0.5) / 4).astype(np.uint8)
    return fit_images(x, np.array(["a", "b", "c"])[y], hidden=6, blocks=1, epochs=8, learning_rate=0.05, progress=False)


EVERY = np.array([[[a, b], [c, d]] for a in (0, 1) for b in (0, 1) for c in (0, 1) for d in (0, 1)])


class TestModel:
    @pytest.mark.parametrize("label", ["a", "c", None])
    def test_it_is_a_distribution_of_images(self, fitted, label):
        model, _ = fitted
        labels = None if label is None else [label] * 16
        assert np.exp(model.log_prob(EVERY, labels)).sum() == pytest.approx(1, abs=1e-5)

    def test_labels_say_something(self, fitted):
        model, _ = fitted
        bright = model.log_prob(np.ones((2, 2, 2)), ["a", "c"])
        assert bright[0] < bright[1]
        drawn = {label: model.sample(300, label, seed=0) for label in "ac"}
        assert drawn["a"].x.mean() < drawn["c"].x.mean()
        assert set(drawn["a"].labels) == {"a"}

    def test_drawn_labels_are_as_frequent_as_they_were(self, fitted):
        model, _ = fitted
        labels = model.sample(2_000, seed=0).labels
        assert [np.mean(labels == one) for one in model.classes] == pytest.approx(model.shares, abs=0.04)

    def test_draws_are_as_frequent_as_they_are_probable(self, fitted):
        model, _ = fitted
        drawn = model.sample(4_000, seed=1).x.reshape(-1, 4) @ [8, 4, 2, 1]
        share = np.bincount(drawn, minlength=16) / 4_000
        assert share == pytest.approx(np.exp(model.log_prob(EVERY)), abs=0.04)

    def test_draws_are_repeatable(self, fitted):
        model, _ = fitted
        assert np.array_equal(model.sample(9, seed=3).x, model.sample(9, seed=3).x)

    def test_a_file_gives_the_same_numbers(self, fitted, tmp_path):
        model, _ = fitted
        ab.save(model, tmp_path / "m")
        again = ab.load(tmp_path / "m")
        assert np.array_equal(again.log_prob(EVERY), model.log_prob(EVERY))
        assert (again.classes, again.shares, str(again.pixels)) == (model.classes, model.shares, str(model.pixels))

    def test_bits_per_dimension(self, fitted):
        model, _ = fitted
        assert model.bits_per_dimension(EVERY) == pytest.approx(-model.log_prob(EVERY) / (4 * math.log(2)))

    def test_unknown_labels_are_refused(self, fitted):
        model, _ = fitted
        for call in (lambda: model.sample(1, "d"), lambda: model.log_prob(EVERY[:1], ["d"])):
            with pytest.raises(ValueError, match="labels: expected some of a, b, c, got d"):
                call()
        plain = ImageModel(Pixels(2, 2, count=2), _plain())
        with pytest.raises(ValueError, match="fitted without labels"):
            plain.log_prob(EVERY[:1], ["a"])
        with pytest.raises(ValueError, match="fitted without labels"):
            plain.sample(1, "a")

    def test_parts_that_do_not_fit_are_refused(self):
        with pytest.raises(ValueError, match=r"event shape \(3, 3\), got \(2, 2\)"):
            ImageModel(Pixels(3, 3), _plain())
        with pytest.raises(ValueError, match=r"context shape \(2,\), got None"):
            ImageModel(Pixels(2, 2), _plain(), classes=[0, 1])


def _plain():
    return ab.models.Autoregressive(Bernoulli(), ab.networks.MaskedMLP((2, 2), outputs=1, hidden=(4,)))


# of the 60 images one has another label, which is held out by seed 1
HELD_OUT = (np.arange(60) == np.random.default_rng(1).permutation(60)[0]).astype(int)


class TestFit:
    def test_the_report_is_of_the_held_out_images(self):
        x = bars(60)
        model, report = fit_images(x, **QUICK)
        assert report.rows == {"all": 60, "training": 48, "validation": 6, "test": 6}
        order = np.random.default_rng(0).permutation(60)
        assert report.scores[0].mean == pytest.approx(model.log_prob(x[order[6:12]]).mean())
        assert [score.name for score in report.scores] == ["PixelCNN", "independent pixels", "zstd -19"]
        for score in report.scores:
            assert report.bits_per_dimension[score.name] == pytest.approx(-score.mean / (30 * math.log(2)))
        assert report.scores[2].mean == pytest.approx(-zstd_bytes(x[order[6:12]], 2) * 8 * math.log(2) / 6)
        plain = json.loads(json.dumps(report.to_dict(), allow_nan=False))
        assert plain["scores"][2]["standard_error"] is None

    def test_it_learns_what_independent_pixels_do_not(self):
        _, report = fit_images(bars(300), hidden=8, blocks=1, epochs=10, learning_rate=0.02, progress=False)
        assert report.scores[1].gain > 2

    def test_the_same_seed_gives_the_same_model(self):
        one, two = (fit_images(bars(60), **QUICK, seed=5)[0].log_prob(bars(3)) for _ in range(2))
        assert np.array_equal(one, two)

    @pytest.mark.parametrize("count", [2, 256])
    def test_images_in_colour(self, count):
        x = np.random.default_rng(0).integers(count, size=(50, 4, 5, 3))
        model, report = fit_images(x, **QUICK)
        assert "in colour" in report.pixels
        assert report.dimensions == 60
        assert np.isfinite(report.scores[0].mean)
        drawn = model.sample(3, seed=0)
        assert drawn.x.shape == (3, 3, 4, 5)
        assert model.shown(drawn).shape == (3, 4, 5, 3)
        assert np.isfinite(model.log_prob(drawn)).all()

    def test_colours_that_are_all_grey_are_warned_of(self):
        with pytest.warns(ImageWarning, match="three channels are equal"):
            fit_images(np.repeat(bars(50)[..., None], 3, axis=-1), **QUICK)

    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            ({"images": bars(1)}, "at least 50, .* got 1 image;"),
            ({"images": bars(49)}, "got 49 images"),
            ({"images": bars(60), "labels": [0] * 60}, "expected 2 to 1,000 different ones, got 1"),
            ({"images": bars(60), "labels": HELD_OUT}, "got none of 1, which 1 of all images have"),
            ({"images": bars(60), "minutes": 0}, "minutes"),
            ({"images": bars(60), "hidden": 0}, "hidden"),
        ],
    )
    def test_what_cannot_be_fitted_is_refused(self, arguments, said):
        with pytest.raises(ValueError, match=said):
            fit_images(**arguments, seed=1)

    def test_an_interrupt_takes_the_model_along(self):
        def interrupt(record):
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt) as caught:
            fit_images(bars(60), **QUICK, callback=interrupt)
        assert np.isfinite(caught.value.model.log_prob(bars(3))).all()

    def test_a_fit_goes_on_from_its_checkpoint(self, tmp_path):
        options = {**QUICK, "epochs": 3, "checkpoint": tmp_path / "c", "checkpoint_seconds": 1e-9}
        whole, _ = fit_images(bars(60), **{**QUICK, "epochs": 3})
        with pytest.raises(KeyboardInterrupt):
            fit_images(bars(60), **options, callback=_interrupted_in_the_second)
        again, report = fit_images(bars(60), **options)
        assert report.epochs == 3
        assert np.array_equal(again.log_prob(bars(5)), whole.log_prob(bars(5)))


def _interrupted_in_the_second(record):
    if record.epoch == 2:
        raise KeyboardInterrupt
