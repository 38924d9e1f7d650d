"""The gallery's autoencoders, on fits small enough for a test; their numbers are of no meaning."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from anabranch import vaes
from anabranch.cli import main
from anabranch.families import Levels
from anabranch.gallery import data, vae, vae_drawing
from anabranch.gallery.results import estimated
from anabranch.gallery.vae import Form, forms_of
from anabranch.images.baselines import gaussian_mixture


@pytest.fixture
def few(monkeypatch, tmp_path):
    small = replace(vae.SMALL, hidden=(8,), particles=5, scored=60)
    monkeypatch.setattr(vae, "SMALL", small)
    monkeypatch.setattr(vae_drawing, "_MAP", 4)
    digits = data.load_images()
    some = data.Images(digits.x[:100], digits.validation[:20], digits.test[:40], digits.test_classes[:40])
    monkeypatch.setattr(data, "load_images", lambda: some)
    numbers = np.random.default_rng(0)
    x, y = numbers.integers(0, 256, (150, 4, 4)).astype(np.uint8), numbers.integers(0, 3, 150)
    np.savez(tmp_path / "few.npz", x=x, y=y)
    return tmp_path / "few.npz"


# a model of one epoch may well have collapsed
@pytest.mark.filterwarnings("ignore::anabranch.densities.CollapseWarning")
@pytest.mark.parametrize("of", ["digits", "mnist"])
def test_vae_writes_results_and_pictures(of, few, tmp_path, monkeypatch, capsys):
    command = ["anabranch", "gallery", "vae", "--seeds", "1", "--epochs", "1", "-o", str(tmp_path / "out")]
    command += ["--data", "mnist", "--file", str(few)] if of == "mnist" else []
    monkeypatch.setattr("sys.argv", command)
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0
    rows = json.loads((tmp_path / "out" / "vae.json").read_text())
    of_bits = [f"bits: {method}" for method in ("independent pixels", *vae.PRIORS)]
    of_levels = [f"17 levels: {method}" for method in ("independent pixels", "Gaussian mixture", *vae.PRIORS)]
    assert [row["method"] for row in rows] == (of_bits if of == "mnist" else of_levels + of_bits)
    dimensions = 16 if of == "mnist" else 64
    for row in rows:
        assert row["bits_per_dimension"] == pytest.approx(-row["log_likelihood"] / (dimensions * np.log(2)))
        if not row["method"].endswith("pixels"):
            assert row["lower_bound"] < row["log_likelihood"] + 4 * row["standard_error"]
            assert 0 < row["standard_error"] < 1
    forms = {"bits"} if of == "mnist" else {"bits", "levels"}
    wanted = {f"vae-{kind}-{form}.png" for form in forms for kind in ("plane", "samples")}
    assert {path.name for path in (tmp_path / "out").glob("*.png")} == wanted | {"vae-map.png", "vae-ways.png"}
    assert "lower bound" in capsys.readouterr().out


def test_bits_are_as_frequent_as_the_grey_of_their_pixel():
    images = data.load_levelled("digits")
    levels, bits = forms_of(images)
    assert levels.levels == 17 and torch.equal(levels.x, images.x)
    assert bits.levels == 2 and set(bits.x.unique().tolist()) == {0, 1}
    grey, drawn = images.x / 16, bits.x.float()
    assert bool((drawn[images.x == 16] == 1).all()) and bool((drawn[images.x == 0] == 0).all())
    away = (drawn.mean(dim=0) - grey.mean(dim=0)).abs()
    assert float(away.max()) < 5 * 0.5 / len(grey) ** 0.5
    assert torch.equal(forms_of(images)[1].test, bits.test)
    assert [form.name for form in forms_of(replace(images, levels=256))] == ["bits"]


def test_the_mean_at_a_point_is_that_of_many_draws():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = vaes.vae((1, 2, 3), Levels(17), latent=2, hidden=(8,))
    form = Form("17 levels", Levels(17), 17, *3 * [torch.zeros(1, 1, 2, 3)])
    z = torch.tensor([[0.5, -1.0], [2.0, 0.0]])
    with torch.no_grad():
        drawn = model.decoder.sample((20_000,), context=z, generator=0)
    found = vae_drawing.mean_of(model, z, form)
    assert found.shape == (2, 2, 3)
    torch.testing.assert_close(found, drawn.float().mean(dim=(0, 2)) / 16, atol=0.02, rtol=0)


def test_the_map_rises_to_the_right_and_upwards(monkeypatch):
    at = []
    monkeypatch.setattr(vae_drawing, "mean_of", lambda model, z, form: at.append(z))
    monkeypatch.setattr(vae_drawing, "_MAP", 3)
    vae_drawing._map(None, None)
    (z,) = at
    line = 0.967421566  # the standard normal quantile of 5/6
    wanted = [(x, y) for y in (line, 0.0, -line) for x in (-line, 0.0, line)]
    torch.testing.assert_close(z, torch.tensor(wanted), atol=1e-5, rtol=0)


def test_an_estimate_is_above_its_bound_and_says_how_far_it_scatters():
    images = data.load_levelled("digits")
    mixture = gaussian_mixture(images.x[:200], images.validation[:50], 17, seed=0)
    few, many = (estimated("a", 0, mixture, images.test[:20], samples) for samples in (5, 200))
    assert few.lower_bound < few.log_likelihood <= many.log_likelihood + 5 * few.standard_error
    assert 0 < many.standard_error < few.standard_error


def test_classes_of_a_file_are_those_of_its_test_images(few, tmp_path):
    images = data.load_levelled("mnist", few)
    with np.load(few) as arrays:
        assert images.test_classes.tolist() == arrays["y"][-25:].tolist()
        x = arrays["x"]
    np.savez(tmp_path / "two.npz", x=x, xt=x[:7], y=np.zeros(150, int), yt=np.arange(7))
    assert data.load_levelled("mnist", tmp_path / "two.npz").test_classes.tolist() == list(range(7))
    np.savez(tmp_path / "none.npz", x=x)
    assert data.load_levelled("mnist", tmp_path / "none.npz").test_classes is None
    np.savez(tmp_path / "short.npz", x=x, y=np.zeros(4, int))
    with pytest.raises(ValueError, match=r"short\.npz: expected y with a class for each image, got shape \(4,\)"):
        data.load_levelled("mnist", tmp_path / "short.npz")
