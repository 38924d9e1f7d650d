"""The gallery's diffusions, on fits small enough for a test; their numbers are of no meaning."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from anabranch import diffusions
from anabranch.cli import main
from anabranch.gallery import data, diffusion, diffusion_drawing
from anabranch.gallery.diffusion import Diffusions
from anabranch.models.denoising import signal_and_noise


@pytest.fixture
def small(monkeypatch):
    digits = data.load_images()
    some = data.Images(digits.x[:100], digits.validation[:20], digits.test[:40], digits.test_classes[:40])
    monkeypatch.setattr(data, "load_images", lambda: some)
    monkeypatch.setattr(
        diffusion, "OF_DIGITS", replace(diffusion.OF_DIGITS, model={"hidden": 4, "blocks": 1, "steps": 12})
    )
    monkeypatch.setattr(
        diffusion,
        "OF_PLANE",
        replace(diffusion.OF_PLANE, model={"hidden": 8, "blocks": 1, "low": -6.0, "steps": 12}, epochs=2),
    )
    monkeypatch.setattr(diffusion, "OF_SPLINES", replace(diffusion.OF_SPLINES, epochs=1))
    monkeypatch.setattr(diffusion, "TOLERANCE", 1e-2)
    monkeypatch.setattr(diffusion_drawing, "TOLERANCE", 1e-2)
    monkeypatch.setattr(diffusion_drawing, "_ROWS", 20)
    monkeypatch.setattr(diffusion_drawing, "_WITHOUT_NOISE", (("second order", 5, 2), ("first order", 5, 1)))
    monkeypatch.setattr(diffusion_drawing, "_CELLS", 8)


def test_diffusion_writes_results_and_pictures(small, tmp_path, monkeypatch, capsys):
    command = ["anabranch", "gallery", "diffusion", "--seeds", "1", "--epochs", "1", "-o", str(tmp_path / "out")]
    monkeypatch.setattr("sys.argv", command)
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0
    rows = {row["method"]: row for row in json.loads((tmp_path / "out" / "diffusion.json").read_text())}
    bounds = [f"digits: diffusion{steps}" for steps in ("", ", 250 steps", ", 50 steps")]
    of_plane = [f"pinwheel-5: {method}" for method in ("optimum", "spline flow", "diffusion")]
    assert list(rows) == ["digits: independent pixels", "digits: Gaussian mixture", *bounds, *of_plane]
    for name in bounds:
        assert rows[name]["log_likelihood"] is None
        assert rows[name]["bits_per_dimension"] == pytest.approx(-rows[name]["lower_bound"] / (64 * np.log(2)))
    assert rows["pinwheel-5: diffusion"]["log_likelihood"] < rows["pinwheel-5: optimum"]["log_likelihood"]
    assert rows["pinwheel-5: diffusion"]["lower_bound"] is not None
    pictures = {f"diffusion-{kind}.png" for kind in ("chain", "samples", "plane", "schedule")}
    assert {path.name for path in (tmp_path / "out").glob("*.png")} == pictures
    assert "lower bound" in capsys.readouterr().out


def test_noise_is_added_by_the_schedule_and_is_the_same_at_all_times():
    model = diffusions.vectors(2, hidden=4, blocks=1)
    x, times = torch.tensor([[1.0, -2.0], [0.5, 0.0]]), torch.tensor([0.0, 0.4, 1.0])
    noises = []
    for z, gamma in zip(diffusion_drawing.states_of(model, x, times), model.schedule(times)[0], strict=True):
        alpha, sigma = signal_and_noise(gamma)
        noises.append((z - alpha * x) / sigma)
    torch.testing.assert_close(noises[1], noises[2], atol=1e-4, rtol=0)
    torch.testing.assert_close(noises[0], noises[2], atol=1e-3, rtol=0)
    assert float(noises[2].abs().min()) > 0


def test_a_sampled_chain_ends_where_its_draw_of_x_is():
    model = diffusions.vectors(2, hidden=4, blocks=1, steps=10).eval()
    with torch.no_grad():
        states = diffusion_drawing.sampled_states(model, 5, 4)
    assert len(states) == 5
    # x is z_0 / alpha_0 with noise of deviation e^-5, and alpha_0 is nearly 1
    torch.testing.assert_close(states[-2], states[-1], atol=0.05, rtol=0)
    assert float((states[0] - states[-1]).abs().max()) > 0.1


def test_epochs_are_at_most_those_of_the_setting(monkeypatch):
    asked = []
    monkeypatch.setattr(diffusion, "fit", lambda density, x, epochs, **options: asked.append(epochs))
    for epochs in (None, 3, 10_000):
        Diffusions(epochs)._fit(diffusions.vectors(2, hidden=4), diffusion.OF_SPLINES, 0, torch.zeros(2, 2))
    assert asked == [diffusion.OF_SPLINES.epochs, 3, diffusion.OF_SPLINES.epochs]
