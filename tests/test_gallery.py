"""The gallery's commands, on toys small enough for a test; their numbers are of no meaning."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from anabranch.cli import main
from anabranch.datasets import Circles
from anabranch.families import Levels
from anabranch.gallery import (
    NAMES,
    arm,
    arm_drawing,
    clusters,
    data,
    drawing,
    image_flows,
    naive,
    results,
    run_experiment,
    toys,
)
from anabranch.gallery.influence import influence
from anabranch.gallery.results import Result, scores, summary
from anabranch.gallery.warps import Warps
from anabranch.models import Autoregressive
from anabranch.networks import CausalTransformer, FiniteMemory, PixelCNN

KEYS = [
    "method",
    "seed",
    "log_likelihood",
    "accuracy",
    "adjusted_rand",
    "normalized_mutual_information",
    "parameters",
    "seconds",
]


def test_scores_are_those_of_the_best_assignment():
    classes = torch.tensor([0, 0, 0, 1, 1, 2])
    renamed = torch.tensor([2, 2, 2, 0, 0, 1])
    assert scores(classes, renamed) == {
        "accuracy": 1.0,
        "adjusted_rand": 1.0,
        "normalized_mutual_information": pytest.approx(1.0),
    }
    one_wrong = torch.tensor([2, 2, 0, 0, 0, 1])
    assert scores(classes, one_wrong)["accuracy"] == pytest.approx(5 / 6)
    assert scores(classes, torch.zeros(6, dtype=torch.long))["accuracy"] == pytest.approx(3 / 6)


def test_summary_is_of_the_seeds_that_have_a_number():
    rows = [Result("a", 0, 1.0), Result("a", 1, 3.0), Result("b", 0, None, accuracy=0.5)]
    assert summary(rows) == [("method", "log-likelihood", "accuracy"), ("a", "2.000 ± 1.414", ""), ("b", "", "0.500")]


def test_what_is_not_finite_is_null_in_the_file(tmp_path):
    results.write_results(tmp_path / "x.json", [Result("a", 0, float("-inf"))])
    (row,) = json.loads((tmp_path / "x.json").read_text())
    assert list(row) == KEYS and row["log_likelihood"] is None


@pytest.fixture
def small(monkeypatch):
    def toy(labels):
        return lambda: toys.Toy(Circles(), 100, splines=True, hold=0.5, epochs=2, labels=labels, members=1, rows=60)

    monkeypatch.setitem(toys.TOYS, "circles", toy(0))
    monkeypatch.setitem(toys.TOYS, "circles-32-labels", toy(8))
    monkeypatch.setattr(toys, "_SIZES", (1, 2))
    monkeypatch.setattr(drawing, "integral", lambda density, x: 1.0)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "seeds"), [("circles", 1), ("circles-32-labels", 2)])
def test_a_toy_writes_results_and_pictures(name, seeds, small, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["anabranch", "gallery", name, "--seeds", str(seeds), "-o", str(tmp_path / "out")])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0
    rows = json.loads((tmp_path / "out" / f"{name}.json").read_text())
    assert all(list(row) == KEYS for row in rows)
    assert {row["seed"] for row in rows} == set(range(seeds))
    methods = {row["method"] for row in rows}
    assert {"optimum", "k-means", "mixture of flows, one fit"} <= methods
    assert ("label spreading" in methods) == (name == "circles-32-labels")
    best = {row["method"]: row["log_likelihood"] for row in rows if row["seed"] == 0}
    assert best["mixture of flows, one fit"] < best["optimum"]
    assert list((tmp_path / "out").glob("*.png"))
    assert "mixture of flows" in capsys.readouterr().out


@pytest.mark.parametrize("stopped", [0, 1])
def test_what_was_done_before_an_interruption_is_kept_and_said(stopped, small, tmp_path, monkeypatch, capsys):
    def run(name, seed):
        if seed == stopped:
            raise KeyboardInterrupt
        yield Result("a", seed, 1.0), None

    monkeypatch.setattr(toys, "run", run)
    monkeypatch.setattr("anabranch.gallery.experiments.draw", lambda *arguments: None)
    monkeypatch.setattr("sys.argv", ["anabranch", "gallery", "circles", "-o", str(tmp_path)])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 130
    last = capsys.readouterr().err.splitlines()[-1]
    file = tmp_path / "circles.json"
    if stopped == 0:
        assert last == "anabranch: interrupted; nothing was written" and not file.exists()
    else:
        assert last == f"anabranch: interrupted; {file} has the seeds that were done"
        assert [row["seed"] for row in json.loads(file.read_text())] == [0]


def test_an_unknown_name_is_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["anabranch", "gallery", "pinwheel-7", "-o", str(tmp_path)])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "pinwheel-7" in error and all(name in error for name in NAMES)


def test_labels_come_beside_the_rows_without(small):
    rows = toys.Rows(toys.TOYS["circles-32-labels"](), seed=0)
    assert rows.labels is not None and int((rows.labels >= 0).sum()) == 8 and len(rows.x) == 128
    known = rows.labels >= 0
    assert bool((rows.labels[known] == rows.classes[known]).all())


def test_data_that_are_not_there_are_replaced_by_those_of_scikit_learn(tmp_path):
    digits = data.load_digits_0_to_4(tmp_path)
    assert digits.shape == (8, 8) and digits.x.shape[1] == 64
    assert set(digits.classes.tolist()) == set(digits.test_classes.tolist()) == set(range(5))
    assert [table.name for table in data.load_tables(tmp_path)] == ["scikit-learn's digits", "scikit-learn's wines"]
    np.savez(tmp_path / "satimage.npz", x=np.arange(12.0).reshape(6, 2), y=np.array([1, 1, 7, 7, 3, 3]))
    (table,) = data.load_tables(tmp_path)
    assert table.name == "satimage" and table.classes.tolist() == [0, 0, 2, 2, 1, 1]
    np.savez(tmp_path / "penbased.npz", values=np.zeros(3))
    with pytest.raises(ValueError, match=r"penbased\.npz: expected arrays x and y, got values"):
        data.load_tables(tmp_path)


def test_a_warp_of_coordinates_is_the_warp_of_the_image():
    from scipy.ndimage import affine_transform

    generator = np.random.default_rng(0)
    image = generator.random((6, 6))
    mean = generator.random(36)
    warps = Warps((6, 6), mean, np.eye(36), seed=3, count=1)
    again = np.random.default_rng(3)
    angle = np.deg2rad(again.uniform(-12, 12))
    turned = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    matrix = turned @ np.array([[1, again.uniform(-0.1, 0.1)], [0, 1]]) * again.uniform(0.9, 1.1)
    offset = np.array([2.5, 2.5]) - matrix @ np.array([2.5, 2.5]) + again.uniform(-2, 2, 2) * 6 / 28
    wanted = affine_transform(image, matrix, offset, order=1).ravel()
    found = warps(torch.tensor(image.ravel() - mean, dtype=torch.float32).unsqueeze(0))[0].numpy() + mean
    np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_the_clusters_of_two_far_blobs_are_found():
    generator = torch.Generator().manual_seed(0)
    x = torch.cat([torch.randn(80, 3, generator=generator) - 4, torch.randn(80, 3, generator=generator) + 4])
    from anabranch.objectives import Consistency, Information, Likelihood

    objective = Likelihood() + 3 * Consistency("neighbours") + 3 * Information()
    mixture = clusters.fit_clusters(x, 2, objective, starts=1, seed=0)
    found = results.clusters_of(mixture, x)
    assert scores(torch.arange(160) // 80, found)["accuracy"] == 1.0


def test_depth_against_naive_yields_every_method(monkeypatch):
    monkeypatch.setattr(naive, "_EPOCHS", 1)
    monkeypatch.setattr(naive, "NAMES", ("pinwheel-3",))
    monkeypatch.setattr(naive, "_PRICES", (0.1,))
    rows = [result for result, _ in naive.run(0)]
    assert [row.method.split(": ")[1].split(",")[0] for row in rows] == [
        "optimum",
        "flow",
        "depth mixture",
        "4 separate flows",
        "4 separate flows",
        "4 separate flows",
        "depth mixture at a price of 0.1 a block",
    ]
    assert rows[-1].blocks_a_sample is not None and rows[-1].sampling_seconds is not None
    counts = {row.method: row.parameters for row in rows}
    flow, few = counts["pinwheel-3: flow"], counts["pinwheel-3: 4 separate flows, equal parameters"]
    assert few == pytest.approx(flow, rel=0.2)


@pytest.fixture
def small_images(monkeypatch):
    few = {"memory": 2, "hidden": 8, "layers": 2}
    monkeypatch.setattr(arm, "STACK", arm.Recipe(FiniteMemory, few, 9))
    monkeypatch.setattr(arm, "PRICES", (0.1,))
    recipes = {
        "finite memory": arm.Recipe(FiniteMemory, few, 9),
        arm.TRANSFORMER: arm.Recipe(CausalTransformer, {"hidden": 8, "layers": 1, "heads": 2, "dropout": 0.5}, 9),
    }
    monkeypatch.setattr(arm, "NETWORKS", recipes)
    images = data.load_images()
    some = data.Images(images.x[:64], images.validation[:20], images.test[:50], images.test_classes[:50])
    for module in (arm, arm_drawing):
        monkeypatch.setattr(module, "load_images", lambda: some)
    return some


def test_arm_writes_results_and_pictures(small_images, tmp_path, monkeypatch, capsys):
    command = ["anabranch", "gallery", "arm", "--seeds", "2", "--epochs", "2", "-o", str(tmp_path / "out")]
    monkeypatch.setattr("sys.argv", command)
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0
    rows = json.loads((tmp_path / "out" / "arm.json").read_text())
    assert all([key for key in row if key != "layers_a_position"] == KEYS for row in rows)
    of_one = [
        "independent pixels",
        "finite memory",
        "transformer",
        "stack of 2 layers, all",
        "stack of 2 layers, mixture over depths",
        "stack of 2 layers, 1 alone",
        "stack of 2 layers, 2 alone",
        "stack of 2 layers, left early at a price of 0.1",
    ]
    assert [row["method"] for row in rows] == [*of_one, *of_one, "mean of the 2 transformers"]
    score = {(row["method"], row["seed"]): row["log_likelihood"] for row in rows}
    single = [score["transformer", seed] for seed in (0, 1)]
    assert single[0] != single[1]
    assert score["mean of the 2 transformers", 1] > sum(single) / 2  # the logarithm is concave
    alone = [score[f"stack of 2 layers, {depth} alone", 0] for depth in (1, 2)]
    assert max(alone) + np.log(0.5) < score["stack of 2 layers, mixture over depths", 0] <= max(alone)
    layers = {row["method"]: row.get("layers_a_position") for row in rows}
    assert layers["transformer"] is None and layers["stack of 2 layers, all"] == 2
    assert 1 < layers["stack of 2 layers, left early at a price of 0.1"] < 2
    pictures = {path.name for path in (tmp_path / "out").glob("*.png")}
    assert pictures == {"arm-samples.png", "arm-fields.png", "arm-completions.png", "arm-depth.png"}
    table = capsys.readouterr().out
    assert "layers a position" in table and "accuracy" not in table


def test_densities_of_arm_are_scored_without_dropout(small_images, monkeypatch):
    monkeypatch.setattr(arm, "STACK", arm.NETWORKS[arm.TRANSFORMER])
    fitted = [(row, density) for row, density in arm.Arm(1, epochs=1)(0) if density is not None]
    assert len(fitted) == 6 and not any(density.training for _, density in fitted)
    for row, density in fitted:
        assert results.mean_log_prob(density, small_images.test) == pytest.approx(row.log_likelihood, rel=1e-9)


def test_independent_pixels_are_as_likely_as_they_were_seen(small_images):
    density = arm.independent_pixels(small_images.x)
    x, row = small_images.x.numpy(), small_images.test[0].numpy()
    seen = (x == row).sum(axis=0)
    wanted = np.log((seen + 0.5) / (len(x) + 0.5 * 17)).sum()
    assert float(density.log_prob(small_images.test[0])) == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize("kind", [FiniteMemory, PixelCNN])
def test_influence_is_where_the_receptive_field_is(kind, small_images):
    options = {"memory": (1, 2)} if kind is FiniteMemory else {"layers": 1, "first_kernel_size": 5}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = kind((8, 8), 17, channels=17, hidden=8, **options)
    felt = influence(Autoregressive(Levels(arm.LEVELS), network), small_images.test, position=4 * 8 + 3)
    assert torch.equal((felt > 0).flatten(), network.receptive_field[4 * 8 + 3])


def test_curves_are_means_over_the_seeds():
    rows = [Result("transformer", 0, -7.0)]
    for seed, (layers, nats) in enumerate([(1.5, -4.0), (2.5, -6.0)]):
        rows.append(Result("stack of 3 layers, 1 alone", seed, nats - 1, layers_a_position=1))
        rows.append(Result("stack of 3 layers, left early at a price of 0.1", seed, nats, layers_a_position=layers))
    spread = pytest.approx(2**0.5)
    assert arm_drawing.curves(rows) == {
        "one layer for all pixels": [(1, -6.0, spread)],
        "mixture, a depth for each pixel": [(2.0, -5.0, spread)],
    }


def test_a_run_that_is_stopped_keeps_each_result(tmp_path, monkeypatch):
    monkeypatch.setattr(
        toys, "run", lambda name, seed: ((Result(f"method {i}", seed, float(i)), None) for i in range(3))
    )

    def stop_at_the_second(result):
        if result.method == "method 1":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_experiment("circles", tmp_path, seeds=2, report=stop_at_the_second)
    assert [row["method"] for row in json.loads((tmp_path / "circles.json").read_text())] == ["method 0", "method 1"]


def test_options_are_those_of_experiments_that_take_them(tmp_path):
    with pytest.raises(
        ValueError, match=r"epochs: expected None for circles, since arm, images, vae, diffusion alone take it, got 3"
    ):
        run_experiment("circles", tmp_path, epochs=3)
    with pytest.raises(ValueError, match="epochs: expected"):
        run_experiment("arm", tmp_path, epochs=0)
    with pytest.raises(ValueError, match=r"minutes: expected None for arm, since images alone takes it, got 2"):
        run_experiment("arm", tmp_path, minutes=2)
    with pytest.raises(ValueError, match=r"file: expected the \.npz file of fashion, .* got None"):
        run_experiment("images", tmp_path, images="fashion")
    with pytest.raises(ValueError, match="file: expected None for digits, which come with scikit-learn, got x"):
        run_experiment("images", tmp_path, file=Path("x.npz"))
    with pytest.raises(ValueError, match="minutes: expected"):
        run_experiment("images", tmp_path, minutes=0)
    with pytest.raises(ValueError, match="data: expected"):
        run_experiment("images", tmp_path, images="letters")


@pytest.fixture
def few_images(monkeypatch, tmp_path):
    options = {
        "RealNVP": {"levels": 1, "couplings": 1, "hidden": 4, "blocks": 1, "dropout": 0.2},
        "Glow": {"levels": 2, "steps": 1, "hidden": 4, "blocks": 1},
        "TarFlow": {"patch": 4, "blocks": 2, "hidden": 4, "layers": 1, "heads": 1},
    }
    few = image_flows.Setting(options, {"couplings": 1, "hidden": 4}, image_flows.SMALL.fit, 0.01, samples=3, scored=20)
    monkeypatch.setattr(image_flows, "SMALL", few)
    x = np.random.default_rng(0).integers(0, 256, (120, 8, 8)).astype(np.uint8)
    np.savez(tmp_path / "few.npz", x=x)
    return tmp_path / "few.npz"


def test_images_writes_results_and_pictures(few_images, tmp_path, monkeypatch, capsys):
    command = ["anabranch", "gallery", "images", "--data", "mnist", "--file", str(few_images), "--epochs", "1"]
    monkeypatch.setattr("sys.argv", [*command, "--seeds", "1", "-o", str(tmp_path / "out")])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0
    rows = json.loads((tmp_path / "out" / "images.json").read_text())
    assert [row["method"] for row in rows] == ["independent pixels", "Gaussian mixture", *image_flows.METHODS]
    for row in rows:
        assert row["bits_per_dimension"] == pytest.approx(-row["log_likelihood"] / (64 * np.log(2)))
        # the pixels are uniform on 256 levels: no model has fewer than 8 bits, and after one epoch none has many more
        assert 7.9 < row["bits_per_dimension"] < 16
    assert all(0 <= row["reconstruction_error"] < 0.1 and row["standard_error"] > 0 for row in rows[2:])
    assert all(row["lower_bound"] < row["log_likelihood"] for row in rows[1:])
    pictures = {path.name for path in (tmp_path / "out").glob("*.png")}
    assert pictures == {"images-samples.png", "images-temperatures.png", "images-ways.png"}
    assert "bits per dimension" in capsys.readouterr().out


def test_the_test_set_of_a_file_is_its_own_or_the_last_sixth(few_images, tmp_path):
    images = data.load_levelled("mnist", few_images)
    assert [len(part) for part in (images.x, images.validation, images.test)] == [96, 4, 20]
    with np.load(few_images) as arrays:
        assert torch.equal(images.test[:, 0], torch.from_numpy(arrays["x"][100:]))
        np.savez(tmp_path / "more.npz", x=arrays["x"], xt=arrays["x"][:7])
    images = data.load_levelled("fashion", tmp_path / "more.npz")
    assert [len(part) for part in (images.x, images.validation, images.test)] == [116, 4, 7]
    np.savez(tmp_path / "scaled.npz", x=np.zeros((5, 8, 8)))
    np.save(tmp_path / "one.npy", np.zeros((5, 8, 8), np.uint8))
    with pytest.raises(ValueError, match=r"one\.npy: expected an \.npz file with x, got one array"):
        data.load_levelled("mnist", tmp_path / "one.npy")
    np.savez(tmp_path / "too_few.npz", x=np.zeros((24, 8, 8), np.uint8))
    with pytest.raises(ValueError, match=r"at least 25 images to fit and 1 to score, got 20 and 4"):
        data.load_levelled("mnist", tmp_path / "too_few.npz")
    with pytest.raises(ValueError, match=r"scaled\.npz: expected x \(rows, height, width\) in uint8, got .* float64"):
        data.load_levelled("mnist", tmp_path / "scaled.npz")
