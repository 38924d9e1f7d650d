"""The Python of the README and of the pages in docs/ runs as it stands."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import anabranch as ab
from anabranch.densities import Density

ROOT = Path(__file__).parent.parent


def blocks_of(page):
    return re.findall(r"```python\n(.*?)```", page.read_text(), flags=re.DOTALL)


def test_the_python_blocks_run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    blocks = blocks_of(ROOT / "README.md")
    assert len(blocks) == 7
    torch.manual_seed(0)
    x = torch.randn(400, 7)
    names = {"x": x}
    for block in blocks:
        exec(block, names)
    model = names["model"]
    assert isinstance(model, ab.DepthMixture)
    assert model.log_prob(x).shape == (400,)
    assert model.sample((1000,)).shape == (1000, 7)
    assert model.responsibilities(x).shape == (400, 5)
    assert 1 <= model.expected_depth() <= 5
    assert (tmp_path / "model.safetensors").exists()
    assert names["flow"].log_prob(names["flow"].sample((3,))).shape == (3,)
    assert names["density"].score_samples(x.numpy()).shape == (400,)
    assert (names["outliers"] == -1).sum() == 4
    rings, mixture = names["rings"], names["mixture"]
    assert mixture.log_prob(rings).shape == mixture.gap(rings).shape == (400,)
    assert names["latent"].likelihood == "bound" and names["latent"].estimate(rings, samples=2)[1].shape == (400,)


@pytest.mark.filterwarnings("ignore:values that the model was not fitted to")  # which docs/tables.md shows
@pytest.mark.parametrize(
    "page",
    [
        "mixtures",
        "images",
        "flows",
        "image_flows",
        "variational",
        *(pytest.param(page, marks=pytest.mark.slow) for page in ("compression", "queries", "tables")),
    ],
)
def test_the_python_blocks_of_a_page_run_on_rows_of_two_features(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    x = torch.cat(
        [torch.randn(20, 2) + torch.tensor(mean) for mean in ((-9.0, 0.0), (9.0, 0.0), (0.0, 9.0), (0.0, -9.0))]
    )
    names = {"ab": ab, "x": x}
    for block in blocks_of(ROOT / "docs" / f"{page}.md"):
        exec(block, names)
        made = [value for value in names.values() if isinstance(value, Density) and value.event_shape == (2,)]
        assert all(bool(torch.isfinite(density.log_prob(x)).all()) for density in made if density.context_shape is None)


@pytest.mark.slow
@pytest.mark.parametrize(
    "page", [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))], ids=lambda page: page.name
)
def test_a_page_imports_what_it_names(page):
    """In a process where no test has imported it: `ab.tables` is there once a part of it was imported."""
    blocks = "\n".join(blocks_of(page))
    lines = [line for line in blocks.splitlines() if re.match(r"(import|from) ", line)]
    named = sorted(set(re.findall(r"\bab\.\w+", blocks)))
    code = "\n".join(["import anabranch as ab", *lines, *named])
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_all_pages_with_blocks_are_run():
    assert {page.name for page in (ROOT / "docs").glob("*.md") if blocks_of(page)} == {
        "autoencoders.md",
        "autoregressive.md",
        "compression.md",
        "continuous.md",
        "diffusion.md",
        "discrete_latents.md",
        "estimators.md",
        "flows.md",
        "hierarchical.md",
        "image_flows.md",
        "images.md",
        "mixtures.md",
        "queries.md",
        "tables.md",
        "variational.md",
    }
    assert len(blocks_of(ROOT / "docs" / "mixtures.md")) == 6


def test_the_page_on_autoregressive_models_runs():
    names = {}
    for block in blocks_of(ROOT / "docs" / "autoregressive.md"):
        exec(block, names)
    assert names["words"].complete(names["x"][:, :6], (3,)).shape == (3, 20, 12)
    assert names["early"].depth_of(names["images"]).shape == (10, 8, 8)


def test_the_page_on_autoencoders_runs():
    names = {}
    for block in blocks_of(ROOT / "docs" / "autoencoders.md"):
        exec(block, names)
    assert names["better"].decoder is names["model"].decoder and names["refined"].mean.shape == (50, 2)
    assert bool((names["above"] > -20).all()) and names["error"].shape == (5,)


def test_the_page_on_flows_in_continuous_time_runs():
    names = {}
    for block in blocks_of(ROOT / "docs" / "continuous.md"):
        exec(block, names)
    assert names["flow"].sample((3,)).shape == (3, 2)
    assert names["needed"].forward(names["x"], torch.zeros(3))[1].shape == (200,)
    assert names["error"].shape == (200,) and torch.allclose(names["back"], names["x"], atol=1e-4)


def test_the_page_on_hierarchies_runs():
    names = {}
    for block in blocks_of(ROOT / "docs" / "hierarchical.md"):
        exec(block, names)
    assert names["vectors"].sample((3,)).shape == (3, 3)
    assert names["divergence"].shape == (20, 3) and names["mixture"].log_posterior(names["digits"]).shape == (20, 3)


def test_the_page_on_discrete_hidden_variables_runs():
    names = {}
    torch.manual_seed(0)
    for block in blocks_of(ROOT / "docs" / "discrete_latents.md"):
        exec(block, names)
    assert names["value"].shape == (500,) and names["log_p"].shape == (400, 2)


def test_the_page_on_diffusion_runs():
    names = {}
    for block in blocks_of(ROOT / "docs" / "diffusion.md"):
        exec(block, names)
    x = names["x"]
    assert names["vectors"].continuous_bound(x).shape == names["mixture"].lower_bound(x).shape == (100,)
    assert bool(names["flow"].log_prob(x[:3]).isfinite().all())
    assert [chain.steps for chain in names["depths"].chains] == [50, 125, 250]
    assert names["model"].sample((2,)).shape == (2, 1, 8, 8)


@pytest.mark.slow
def test_the_page_on_estimators_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    blocks = blocks_of(ROOT / "docs" / "estimators.md")
    assert len(blocks) == 4
    names = {}
    for block in blocks:
        exec(block, names)
    assert names["bayes"].score(names["new"], names["sorts_new"]) > 0.9
    assert names["model"].score_samples(names["new"]).shape == (len(names["new"]),)
    assert (names["m2"].estimate(names["new"], samples=10)[1] > 0).all()
    assert not names["imputer"].transform(names["gaps"]).isna().any(axis=None)
    assert names["mixed"].unit_ == "nats per row; density in price, carat; probability of cut, laser, sold"
    assert not names["filled"].isna().any(axis=None)
    assert names["filled"].dtypes.equals(names["stones"].dtypes)
